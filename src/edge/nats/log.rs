//! The log: load a task, commit its next event, read what happened.
//!
//! Everything under `task.` and `ledger.` goes through here; money itself moves in
//! [`super::money`]. A commit says what it was decided on; if the task has moved
//! on, the answer is a value: load again and decide again.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use serde_json::json;

pub use super::error::LogError;
pub use super::read::ReadFrom;
use super::record::Recorded;
use super::wire::{self, Outgoing, Refusal};
use super::{Broker, topology};
use crate::config;
use crate::edge::clock::Clock;
use crate::model::event::{EventKind, NewEvent, TaskEvent};
use crate::model::ids::{CommitId, TaskId};
use crate::model::task::Task;
use crate::telemetry;

/// A task as its last event left it, and where that stands: what a decision is made on. Only the
/// log makes one, so nothing but `requested` can start a history.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The whole state.
    pub task: Task,
    /// The last event; `None` for a kind that a newer version of us has written.
    pub kind: Option<EventKind>,
    /// Its sequence in the stream.
    pub seq: u64,
    traceparent: Option<String>,
    /// How long the broker keeps the last event from when it was stored, seconds.
    life_seconds: i64,
}

impl Loaded {
    pub(super) fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// What follows must live as long from when it is stored, or this event would be the last one
    /// again: the broker counts lives by its own clock, whatever ours has said meanwhile.
    pub(super) fn life_seconds(&self) -> i64 {
        self.life_seconds
    }

    /// Returns the sequence of the task's `requested`.
    #[must_use]
    pub fn requested_seq(&self) -> u64 {
        match self.kind {
            Some(EventKind::Requested) => self.seq,
            Some(_) | None => self.task.relay.requested_seq,
        }
    }
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is in the log.
    Stored {
        /// At this sequence.
        seq: u64,
    },
    /// The task is no longer as it was loaded: load again and decide again.
    MovedOn,
}

/// The log of all tasks and money. Clones share everything.
#[derive(Clone)]
pub struct Log {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) broker: Broker,
    pub(super) clock: Clock,
    pub(super) source: String,
    pub(super) instance: String,
    pub(super) replicas: usize,
    pub(super) task_retention: Duration,
    pub(super) ledger_retention: Duration,
    pub(super) commit_timeout: Duration,
    pub(super) read_timeout: Duration,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("source", &self.inner.source)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log over a connected broker whose topology has been ensured.
    #[must_use]
    pub fn new(
        broker: &Broker,
        clock: Clock,
        environment: &str,
        nats: &config::Nats,
        retention: &config::Retention,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                broker: broker.clone(),
                clock,
                source: format!("/kling-relay/{}", wire::header_text(environment, 64)),
                instance: wire::fresh_id(),
                replicas: nats.replicas,
                task_retention: retention.tasks,
                ledger_retention: retention.ledger,
                commit_timeout: nats.commit_timeout,
                read_timeout: nats.read_timeout,
            }),
        }
    }

    /// Loads a task from the stream's leader; `None` if there is no event of it.
    ///
    /// # Errors
    /// [`LogError`] when the broker does not answer or the event cannot be read.
    pub async fn load(&self, task: &TaskId) -> Result<Option<Loaded>, LogError> {
        let query = json!({ "last_by_subj": topology::task_prefix(task) });
        let Some(found) = self.read_leader("load a task", &query).await? else {
            return Ok(None);
        };
        loaded(&found).map(Some)
    }

    /// Reads the task's `requested`, which alone carries the call with its prompt.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn requested(&self, task: &TaskId) -> Result<Option<(TaskEvent, u64)>, LogError> {
        match self.last(task, EventKind::Requested).await? {
            Some(found) => Ok(Some((found.task_event()?, found.seq))),
            None => Ok(None),
        }
    }

    /// Reads the last event of one kind of a task, from the stream's leader.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn last(&self, task: &TaskId, kind: EventKind) -> Result<Option<Recorded>, LogError> {
        let query = json!({ "last_by_subj": topology::task_subject(task, kind) });
        self.read_leader("read an event", &query).await
    }

    /// Commits the next event of a task, decided on what was loaded.
    ///
    /// The sequence of `requested` and the expiry are filled in; the expiry never moves backwards.
    /// `requested` and `settled` are refused: money moves with them.
    ///
    /// # Errors
    /// [`LogError::Unknown`] when the outcome is unknown and could not be found out: load again.
    pub async fn commit(&self, on: &Loaded, event: NewEvent) -> Result<Committed, LogError> {
        let operation = "commit an event";
        let refuse = |reason: &str| LogError::Misconfigured {
            operation,
            code: 0,
            reason: reason.to_owned(),
        };
        if matches!(event.kind, EventKind::Requested | EventKind::Settled) {
            return Err(refuse("requested and settled go through the money writer"));
        }
        if event.body.task.task_id != on.task.task_id {
            return Err(refuse("the event belongs to another task"));
        }
        let (task, kind) = (on.task.task_id.clone(), event.kind);
        let id = new_commit_id();
        let message = self.next_event(on, event, &id);
        let started = Instant::now();
        let result = wire::publish(&self.inner.broker, message, self.inner.commit_timeout).await;
        self.measure("event", started, &result);
        match result {
            Ok(ack) => Ok(Committed::Stored { seq: ack.seq }),
            Err(Refusal::Conflict { .. }) => Ok(Committed::MovedOn),
            Err(Refusal::Unknown) => self.resolve(&task, kind, &id).await,
            Err(refusal) => Err(LogError::of_refusal(operation, refusal)),
        }
    }

    /// Finds out what became of a commit that was not answered. Its event's exact subject tells;
    /// the task's last event may be somebody else's by now.
    async fn resolve(
        &self,
        task: &TaskId,
        kind: EventKind,
        id: &CommitId,
    ) -> Result<Committed, LogError> {
        let operation = "find out what became of a commit";
        match self.last(task, kind).await {
            Ok(Some(found)) if found.commit_id() == Some(id.as_str()) => {
                Ok(Committed::Stored { seq: found.seq })
            }
            // Absent is no proof of failure, but deciding again is safe even if it surfaces later.
            Ok(_) => Ok(Committed::MovedOn),
            Err(_) => Err(LogError::Unknown { operation }),
        }
    }

    /// Publishes to a probe subject of both streams that must take writes: only a real publish
    /// notices that one takes none. And a stream that takes a probe may have no room left for a
    /// large message, so that is looked at as well. Callers cache the result.
    ///
    /// # Errors
    /// [`LogError`] of the first stream that did not take it.
    pub async fn probe(&self) -> Result<(), LogError> {
        self.probe_log().await?;
        self.has_room(topology::LOG).await?;
        let instance = &self.inner.instance;
        self.store_probe(topology::callbacks_probe_subject(instance))
            .await?;
        self.has_room(topology::CALLBACKS).await
    }

    /// Publishes to the log's probe subject, and nothing more: what was begun before is stored, or
    /// refused, once this is.
    pub(super) async fn probe_log(&self) -> Result<(), LogError> {
        let subject = topology::log_probe_subject(&self.inner.instance);
        self.store_probe(subject).await
    }

    async fn store_probe(&self, subject: String) -> Result<(), LogError> {
        let mut headers = HeaderMap::new();
        headers.insert(wire::TTL, format!("{}s", topology::PROBE_TTL_SECONDS));
        let message = Outgoing {
            subject,
            headers,
            payload: bytes::Bytes::new(),
        };
        let stored = self.publish("probe", "store a probe", message).await;
        stored.map(|_| ())
    }

    async fn has_room(&self, stream: &'static str) -> Result<(), LogError> {
        let operation = "store a large message";
        let room = wire::room(&self.inner.broker, stream, self.inner.read_timeout);
        let room = room
            .await
            .map_err(|failure| LogError::of_read(operation, failure))?;
        match room {
            Some((left, most)) if left < topology::room_min_bytes(most) => {
                Err(LogError::Full { operation })
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) async fn publish(
        &self,
        kind: &'static str,
        operation: &'static str,
        message: Outgoing,
    ) -> Result<wire::Ack, LogError> {
        let started = Instant::now();
        let result = wire::publish(&self.inner.broker, message, self.inner.commit_timeout).await;
        self.measure(kind, started, &result);
        result.map_err(|refusal| LogError::of_refusal(operation, refusal))
    }

    pub(super) fn measure(
        &self,
        kind: &'static str,
        started: Instant,
        result: &Result<wire::Ack, Refusal>,
    ) {
        let result = result.as_ref().map_or_else(Refusal::as_str, |_| "stored");
        metrics::histogram!(telemetry::PUBLISH_SECONDS, "kind" => kind, "result" => result)
            .record(started.elapsed().as_secs_f64());
    }
}

/// Reads a task event as the state to decide on.
pub(super) fn loaded(found: &Recorded) -> Result<Loaded, LogError> {
    let event = found.task_event()?;
    Ok(Loaded {
        task: event.task,
        kind: found.task_subject().map(|(_, kind)| kind),
        seq: found.seq,
        traceparent: found.traceparent().map(str::to_owned),
        life_seconds: found.life_seconds(),
    })
}

/// Makes a commit id that nobody else makes.
#[must_use]
pub fn new_commit_id() -> CommitId {
    CommitId::parse(&wire::fresh_id()).expect("32 hexadecimal digits are a commit id")
}
