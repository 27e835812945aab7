//! What things cost and what may be spent.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::super::redact;
use crate::model::ledger::LimitSetting;

/// `[pricing]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pricing {
    /// `official-2026-09`, `seed-credits-v1` or a file.
    pub book: String,
    /// What units cost in money.
    pub cost: Cost,
}

/// `[pricing.cost]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cost {
    /// The currency of the rates; none: usage reports show no cost.
    pub currency: Option<String>,
    /// Of one unit, by its name; cash in the currency itself needs none.
    pub rates: BTreeMap<String, Decimal>,
}

/// `[usage]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// Between two looks for entries to be summed up for reports.
    #[serde(with = "super::super::duration")]
    pub digest_every: Duration,
    /// For one report over HTTP.
    #[serde(with = "super::super::duration")]
    pub report_timeout: Duration,
    /// Reports over HTTP at once.
    pub reports_max: usize,
}

/// One number or a list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Thresholds {
    /// One share of the limit.
    One(Decimal),
    /// Several shares of the limit.
    Several(Vec<Decimal>),
}

/// `[retry]`: failed tasks tried again as new ones, each with its own hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Retries of a task that Kling could not make, for a reason that passes; 0 for none.
    pub generation_max: u32,
    /// Retries of a task that Kling could not make, for a reason that nobody knows; 0 for none.
    pub unknown_max: u32,
    /// First wait; doubles with each retry.
    #[serde(with = "super::super::duration")]
    pub backoff_base: Duration,
    /// Longest wait.
    #[serde(with = "super::super::duration")]
    pub backoff_cap: Duration,
}

/// `[budget]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Per tenant and day; none: the book's.
    pub daily_limit: Option<LimitSetting>,
    /// Over all tenants; none: no account ledger.
    pub account_daily_limit: Option<LimitSetting>,
    /// By tenant, over `daily_limit`.
    pub tenants: BTreeMap<String, LimitSetting>,
    /// Shares of the limit, each alerted once a day.
    pub alert_threshold: Thresholds,
    /// Where each alert is posted, as chat services take it; whoever has the address may post.
    #[serde(serialize_with = "redact::one")]
    pub alert_hook: Option<SecretString>,
    /// For one such post.
    #[serde(with = "super::super::duration")]
    pub alert_hook_timeout: Duration,
    /// IANA name of the time zone of the day.
    pub time_zone: String,
    /// `HH:MM` at which the day starts.
    pub day_starts: String,
    /// Bounds of the money writer.
    pub writer: MoneyWriter,
}

/// `[budget.writer]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MoneyWriter {
    /// Requests that may wait.
    pub queue_max: usize,
    /// Tasks in one commit; one request may exceed it alone.
    pub fold_tasks_max: usize,
    /// Messages in one commit; one request may exceed it alone.
    pub fold_messages_max: usize,
    /// Bytes of events in one commit; one request may exceed it alone.
    pub fold_bytes_max: usize,
    /// How long a closing may wait for its commit.
    #[serde(with = "super::super::duration")]
    pub closing_timeout: Duration,
}
