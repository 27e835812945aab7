//! A message of the log as it was read: decoded on demand, its headers known here only.

use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use super::log::LogError;
use super::{topology, wire};
use crate::model::audit::Audit;
use crate::model::event::{EventKind, TaskEvent};
use crate::model::ids::{Day, TaskId};
use crate::model::ledger::{Balance, BudgetAlert, LedgerEntry, LedgerKey};
use crate::model::usage::UsagePage;

pub(super) const COMMIT: &str = "kling-commit";
pub(super) const CE_ID: &str = "ce-id";
pub(super) const TRACEPARENT: &str = "traceparent";

/// A stored message of the log.
#[derive(Clone)]
pub struct Recorded {
    /// Its sequence in the stream.
    pub seq: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers; those that start with `Nats-` are the broker's and no API.
    pub headers: HeaderMap,
    /// Its body.
    pub payload: Bytes,
    /// When the broker stored it.
    pub stored_at: Timestamp,
}

/// What every money entry has, of whatever version.
#[derive(Deserialize)]
struct BalanceAfter {
    tenant: String,
    day: Day,
    balance: Balance,
}

/// Leaves out headers and body: a body may hold a prompt or a signed address.
impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorded")
            .field("seq", &self.seq)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl From<StreamMessage> for Recorded {
    fn from(message: StreamMessage) -> Self {
        let stored_at = Timestamp::from_nanosecond(message.time.unix_timestamp_nanos());
        Self {
            seq: message.sequence,
            subject: message.subject.to_string(),
            headers: message.headers,
            payload: message.payload,
            stored_at: stored_at.unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

impl Recorded {
    /// Makes one of a delivered message; `None` if it did not come from a stream.
    #[must_use]
    pub fn delivered(message: &async_nats::jetstream::Message) -> Option<Self> {
        let info = message.info().ok()?;
        let stored_at = Timestamp::from_nanosecond(info.published.unix_timestamp_nanos());
        Some(Self {
            seq: info.stream_sequence,
            subject: message.subject.to_string(),
            headers: message.headers.clone().unwrap_or_default(),
            payload: message.payload.clone(),
            stored_at: stored_at.unwrap_or(Timestamp::UNIX_EPOCH),
        })
    }

    /// Returns the task and kind, if it is a task event of a kind that we know.
    #[must_use]
    pub fn task_subject(&self) -> Option<(TaskId, EventKind)> {
        topology::parse_task_subject(&self.subject)
    }

    /// Returns the task, if it is a task event, of a newer version's kind too.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        topology::split_task_subject(&self.subject).map(|(task, _)| task)
    }

    /// Returns the ledger, if it is a money entry.
    #[must_use]
    pub fn ledger_key(&self) -> Option<LedgerKey> {
        topology::parse_ledger_subject(&self.subject)
    }

    /// Decodes a task event.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if it is none or cannot be read.
    pub fn task_event(&self) -> Result<TaskEvent, LogError> {
        let event: TaskEvent = self.decode()?;
        match self.task() {
            Some(task) if task == event.task.task_id => Ok(event),
            Some(_) | None => Err(self.corrupt("it does not belong to its subject")),
        }
    }

    /// Decodes a money entry.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if it is none or cannot be read.
    pub fn ledger_entry(&self) -> Result<LedgerEntry, LogError> {
        let entry: LedgerEntry = self.decode()?;
        self.belongs(&entry.tenant, entry.day)?;
        Ok(entry)
    }

    /// Decodes no more of a money entry than the balance after it: a newer version writes kinds
    /// and products that we do not know, and its balance holds all the same. In a unit that we do
    /// not know it does not: what we write next would leave that money out.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if it is none or cannot be read.
    pub fn balance(&self) -> Result<Balance, LogError> {
        let after: BalanceAfter = self.decode()?;
        self.belongs(&after.tenant, after.day)?;
        Ok(after.balance)
    }

    fn belongs(&self, tenant: &str, day: Day) -> Result<(), LogError> {
        match self.ledger_key() {
            Some(key) if key.owner.as_str() == tenant && key.day == day => Ok(()),
            Some(_) | None => Err(self.corrupt("it does not belong to its subject")),
        }
    }

    /// Decodes a page of usage.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if it is none or cannot be read.
    pub fn usage_page(&self) -> Result<UsagePage, LogError> {
        self.decode()
    }

    /// Decodes a budget alert.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if it is none or cannot be read.
    pub fn budget_alert(&self) -> Result<BudgetAlert, LogError> {
        self.decode()
    }

    /// Returns the CloudEvents id: the same however often the event is delivered.
    #[must_use]
    pub fn ce_id(&self) -> Option<&str> {
        self.header(CE_ID)
    }

    /// Returns the id of the commit that wrote it.
    #[must_use]
    pub fn commit_id(&self) -> Option<&str> {
        self.header(COMMIT)
    }

    /// Returns the trace that it belongs to, as W3C spells it.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.header(TRACEPARENT)
    }

    /// Returns how long the broker keeps it from when it was stored, seconds; 0 if it does not say.
    #[must_use]
    pub fn life_seconds(&self) -> i64 {
        let life = self
            .header(wire::TTL)
            .and_then(|life| life.strip_suffix('s'));
        life.and_then(|life| life.parse().ok()).unwrap_or(0)
    }

    /// Returns the sequence and subject that its writer expected to be the last, for audits.
    #[must_use]
    pub fn expected(&self) -> Option<(u64, &str)> {
        let seq = self.header(wire::EXPECTED_SEQUENCE)?.parse().ok()?;
        Some((seq, self.header(wire::EXPECTED_SUBJECT)?))
    }

    /// Returns the atomic batch that stored it, its place in there from 1, and whether it is the
    /// last, for audits.
    #[must_use]
    pub fn batch(&self) -> Option<(&str, u64, bool)> {
        let place = self.header(wire::BATCH_SEQUENCE)?.parse().ok()?;
        let last = self.header(wire::BATCH_COMMIT).is_some();
        Some((self.header(wire::BATCH_ID)?, place, last))
    }

    /// Decodes a record of what an operator did.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] if it cannot be read.
    pub fn audit(&self) -> Result<Audit, LogError> {
        self.decode()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(async_nats::HeaderValue::as_str)
    }

    fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, LogError> {
        serde_json::from_slice(&self.payload).map_err(|error| {
            // The position only: serde's own words may quote the body.
            let (line, column) = (error.line(), error.column());
            self.corrupt(&format!("its body does not fit at {line}:{column}"))
        })
    }

    fn corrupt(&self, reason: &str) -> LogError {
        LogError::Corrupt {
            seq: self.seq,
            subject: self.subject.clone(),
            reason: reason.to_owned(),
        }
    }
}
