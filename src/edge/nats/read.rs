//! Reading the log: histories, ranges, balances.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use jiff::Timestamp;
use serde_json::{Value, json};

pub use super::follow::Follow;
use super::log::{Log, LogError};
use super::record::Recorded;
use super::{topology, wire};
use crate::config;
use crate::model::ids::TaskId;
use crate::model::ledger::{Balance, LedgerKey};

/// A sign of life from a consumer that has nothing to deliver; two missed open it anew.
const PULL_HEARTBEAT: Duration = Duration::from_secs(5);

/// Where a read of the log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// At this sequence, or the next that exists.
    Sequence(u64),
    /// At the first message stored at this time or later.
    Time(Timestamp),
}

impl Log {
    /// Reads a task's history in order, each repeated kind once: for showing, not for deciding.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn history(&self, task: &TaskId) -> Result<Vec<Recorded>, LogError> {
        let query = json!({ "multi_last": [topology::task_prefix(task)] });
        self.read_direct("read a history", &query).await
    }

    /// Reads the message at a sequence, from the stream's leader.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn get(&self, seq: u64) -> Result<Option<Recorded>, LogError> {
        let query = json!({ "seq": seq });
        self.read_leader("read a message", &query).await
    }

    /// Reads up to `limit` messages that match a filter, in order, from any replica.
    ///
    /// Begin near what is wanted: a filtered read from the start of a long log takes seconds.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn read(
        &self,
        filter: &str,
        from: ReadFrom,
        limit: usize,
    ) -> Result<Vec<Recorded>, LogError> {
        self.read_stream(topology::LOG, filter, from, limit).await
    }

    /// Reads stored callbacks like [`Log::read`].
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn read_callbacks(
        &self,
        filter: &str,
        from: ReadFrom,
        limit: usize,
    ) -> Result<Vec<Recorded>, LogError> {
        self.read_stream(topology::CALLBACKS, filter, from, limit)
            .await
    }

    pub(super) async fn read_stream(
        &self,
        stream: &'static str,
        filter: &str,
        from: ReadFrom,
        limit: usize,
    ) -> Result<Vec<Recorded>, LogError> {
        let mut query = json!({ "next_by_subj": filter, "batch": limit.clamp(1, 1_000) });
        match from {
            ReadFrom::Sequence(seq) => query["seq"] = json!(seq.max(1)),
            ReadFrom::Time(time) => query["start_time"] = json!(time.to_string()),
        }
        self.read_page("read a stream", stream, &query).await
    }

    /// Returns the sequence of the newest message, from the stream's leader; 0 if there is none.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn last_sequence(&self) -> Result<u64, LogError> {
        let inner = &self.inner;
        wire::last_sequence(&inner.broker, topology::LOG, inner.read_timeout)
            .await
            .map_err(|failure| LogError::of_read("read the log's end", failure))
    }

    /// Returns the sequence of the newest stored callback or probe beside it; 0 if there is none.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn last_callback_sequence(&self) -> Result<u64, LogError> {
        let inner = &self.inner;
        wire::last_sequence(&inner.broker, topology::CALLBACKS, inner.read_timeout)
            .await
            .map_err(|failure| LogError::of_read("read the end of the callbacks", failure))
    }

    /// Returns the sequence of the newest task event, from the stream's leader; 0 if there is none.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn last_event_sequence(&self) -> Result<u64, LogError> {
        let query = json!({ "last_by_subj": topology::TASK_EVENTS });
        let last = self.read_leader("read the newest event", &query).await?;
        Ok(last.map_or(0, |event| event.seq))
    }

    /// Opens a stage's durable consumer; one that somebody deleted begins anew, and what was done
    /// before is found done.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] while the broker cannot give it.
    pub async fn consume(
        &self,
        consumer: topology::Consumer,
        runner: &config::Runner,
    ) -> Result<pull::Stream, LogError> {
        let unavailable = |_| LogError::Unavailable {
            operation: "open a consumer",
        };
        let broker = &self.inner.broker;
        let opened = match topology::open(broker, consumer).await {
            Ok(opened) => opened,
            Err(_) => {
                topology::ensure_consumer(broker, consumer, runner)
                    .await
                    .map_err(unavailable)?;
                topology::open(broker, consumer)
                    .await
                    .map_err(unavailable)?
            }
        };
        // No more than can be worked on: what waits here is not offered to another replica. Without
        // heartbeats a request that a dead leader took to its grave is missed after half a minute.
        let messages = opened
            .stream()
            .max_messages_per_batch(runner.in_flight_max)
            .heartbeat(PULL_HEARTBEAT)
            .messages()
            .await;
        messages.map_err(|_| LogError::Unavailable {
            operation: "open a consumer",
        })
    }

    /// Returns how many messages a stage has not acknowledged yet.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] while the broker does not say.
    pub async fn lag(&self, consumer: topology::Consumer) -> Result<u64, LogError> {
        let unavailable = || LogError::Unavailable {
            operation: "look at a consumer",
        };
        let mut consumer = topology::open(&self.inner.broker, consumer)
            .await
            .map_err(|_| unavailable())?;
        let info = consumer.info().await.map_err(|_| unavailable())?;
        Ok(info.num_pending + info.num_ack_pending as u64)
    }

    /// Reads where a ledger stands, from the stream's leader: the balance after its last entry, and
    /// that entry's sequence.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn ledger(&self, key: &LedgerKey) -> Result<Option<(Balance, u64)>, LogError> {
        let query = json!({ "last_by_subj": topology::ledger_subject(key) });
        match self.read_leader("read a balance", &query).await? {
            Some(found) => Ok(Some((found.balance()?, found.seq))),
            None => Ok(None),
        }
    }

    /// Reads a ledger's balance, from the stream's leader; `None` for a day without entries.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn balance(&self, key: &LedgerKey) -> Result<Option<Balance>, LogError> {
        Ok(self.ledger(key).await?.map(|(balance, _)| balance))
    }

    pub(super) async fn read_leader(
        &self,
        operation: &'static str,
        query: &Value,
    ) -> Result<Option<Recorded>, LogError> {
        let inner = &self.inner;
        wire::read_leader(&inner.broker, topology::LOG, query, inner.read_timeout)
            .await
            .map(|found| found.map(Recorded::from))
            .map_err(|failure| LogError::of_read(operation, failure))
    }

    pub(super) async fn read_direct(
        &self,
        operation: &'static str,
        query: &Value,
    ) -> Result<Vec<Recorded>, LogError> {
        self.read_page(operation, topology::LOG, query).await
    }

    async fn read_page(
        &self,
        operation: &'static str,
        stream: &'static str,
        query: &Value,
    ) -> Result<Vec<Recorded>, LogError> {
        let inner = &self.inner;
        // A page is more work than a single message.
        let timeout = inner.read_timeout.saturating_mul(5);
        wire::read_direct(&inner.broker, stream, query, timeout)
            .await
            .map(|found| found.into_iter().map(Recorded::from).collect())
            .map_err(|failure| LogError::of_read(operation, failure))
    }
}
