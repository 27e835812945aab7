//! Counters of everything that reached or left the simulator.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Counts by some name.
pub type Counts = BTreeMap<String, u64>;

/// Everything counted since the simulator started.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SimStats {
    /// Creates, in both generations.
    pub creates: CreateStats,
    /// Reads.
    pub queries: QueryStats,
    /// Callbacks.
    pub callbacks: CallbackStats,
    /// CDN requests.
    pub downloads: DownloadStats,
    /// API requests that failed to authenticate.
    pub unauthorized: u64,
    /// Tasks by status, in the new standard's words.
    pub tasks: Counts,
    /// The most slots ever taken at once, by pool (`video:kling-2.6`).
    pub max_slots: BTreeMap<String, u32>,
    /// Deducted so far, by pack type in units and `cash` in US dollars; exact.
    pub deductions: BTreeMap<String, Decimal>,
}

/// Creates.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CreateStats {
    /// Requests that reached a create endpoint.
    pub requests: u64,
    /// Tasks created.
    pub accepted: u64,
    /// Tasks created, by product.
    pub by_product: Counts,
    /// Tasks created, by generation (`new`, `legacy`).
    pub by_generation: Counts,
    /// Creates answered with a code, by code.
    pub refused_by_code: Counts,
    /// Creates refused because their external id exists.
    pub duplicate_external_ids: u64,
    /// Creates answered by a fault of the line, by kind; the task may exist.
    pub faulted: Counts,
}

/// Reads.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct QueryStats {
    /// `GET /tasks` requests.
    pub tasks_by_id: u64,
    /// Ids in them, all together.
    pub ids: u64,
    /// The most ids in one of them.
    pub max_ids: u64,
    /// `POST /tasks` requests.
    pub tasks_by_cursor: u64,
    /// Legacy look-ups of one task.
    pub legacy_single: u64,
    /// Legacy lists.
    pub legacy_list: u64,
    /// Requests to `/account/*`.
    pub account: u64,
}

impl QueryStats {
    /// All task reads together (not `/account/*`).
    pub fn total(&self) -> u64 {
        self.tasks_by_id + self.tasks_by_cursor + self.legacy_single + self.legacy_list
    }
}

/// Callbacks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CallbackStats {
    /// Status changes of tasks that have a callback URL.
    pub due: u64,
    /// Posts, redeliveries and duplicates included, forgeries not.
    pub attempts: u64,
    /// Answers to them: a status, `timeout` or `error`.
    pub answers: Counts,
    /// Not sent by a fault.
    pub dropped: u64,
    /// Extra copies sent.
    pub duplicated: u64,
    /// Held back until after the terminal one.
    pub reordered: u64,
    /// Waiting for `release`.
    pub held: u64,
    /// Posts repeated because the last one was not answered with 2xx.
    pub redelivered: u64,
    /// Callbacks that were answered with 2xx at least once.
    pub delivered: u64,
    /// Callbacks being sent at this moment, pauses included.
    pub in_flight: u64,
    /// Test callbacks, by answer.
    pub tests: Counts,
    /// Forgeries by kind, each by answer.
    pub forged: BTreeMap<String, Counts>,
}

/// CDN requests.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DownloadStats {
    /// Requests with a good signature.
    pub requests: u64,
    /// Of these, requests for a range.
    pub ranges: u64,
    /// Bytes of bodies, as announced.
    pub bytes: u64,
    /// Refused: no such output, wrong or expired signature.
    pub refused: u64,
    /// Met by a fault.
    pub faulted: u64,
}

/// Adds one to a named count.
pub(super) fn count(counts: &mut Counts, name: impl Into<String>) {
    *counts.entry(name.into()).or_default() += 1;
}
