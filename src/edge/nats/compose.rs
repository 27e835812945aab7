//! The messages of the log as they are published: subjects, expectations, lives, CloudEvents.

use async_nats::HeaderMap;
use jiff::{SignedDuration, Timestamp};

use super::log::{Loaded, Log};
use super::wire::{self, Outgoing};
use super::{record, topology};
use crate::model::event::NewEvent;
use crate::model::ids::CommitId;

impl Log {
    /// Makes the message of the next event of a loaded task.
    pub(super) fn next_event(&self, on: &Loaded, mut event: NewEvent, id: &CommitId) -> Outgoing {
        let relay = &mut event.body.task.relay;
        relay.requested_seq = on.requested_seq();
        relay.expires_at = relay.expires_at.max(on.task.relay.expires_at);
        self.event_message(on.seq, event, id, on.traceparent(), on.life_seconds())
    }

    /// The one place where a message under `task.` is made: the expected subject is the task's
    /// prefix, always in the same text.
    pub(super) fn event_message(
        &self,
        expected: u64,
        mut event: NewEvent,
        id: &CommitId,
        traceparent: Option<&str>,
        life_min_seconds: i64,
    ) -> Outgoing {
        let now = self.inner.clock.now();
        let relay = &mut event.body.task.relay;
        let keep =
            SignedDuration::try_from(self.inner.task_retention).unwrap_or(SignedDuration::MAX);
        relay.expires_at = relay
            .expires_at
            .max(now.saturating_add(keep).unwrap_or(now));
        let life = relay.expires_at.duration_since(now).as_secs();
        let life = life.max(life_min_seconds).max(1);
        let task = &event.body.task;
        let mut headers = self.event_headers(
            &event.ce_id(),
            &format!("dev.kling-relay.task.{}.v1", event.kind.as_str()),
            task.task_id.as_str(),
            task.occurred_at,
            id,
        );
        if let Some(traceparent) = traceparent {
            headers.insert(record::TRACEPARENT, traceparent);
        }
        headers.insert(wire::TTL, format!("{life}s"));
        headers.insert(wire::EXPECTED_SEQUENCE, expected.to_string());
        headers.insert(wire::EXPECTED_SUBJECT, topology::task_prefix(&task.task_id));
        Outgoing {
            subject: topology::task_subject(&task.task_id, event.kind),
            headers,
            payload: body(&event.body),
        }
    }

    /// The one place where a message under `ledger.` or `budget.` is made. Only the first entry
    /// of a ledger in a batch says what it expects: the broker takes no second check of a subject
    /// that the same batch has written.
    pub(super) fn money_message<T: serde::Serialize>(
        &self,
        subject: String,
        expected: Option<u64>,
        mut headers: HeaderMap,
        entry: &T,
    ) -> Outgoing {
        let life = self.inner.ledger_retention.as_secs().max(1);
        headers.insert(wire::TTL, format!("{life}s"));
        if let Some(expected) = expected {
            headers.insert(wire::EXPECTED_SEQUENCE, expected.to_string());
            headers.insert(wire::EXPECTED_SUBJECT, subject.as_str());
        }
        Outgoing {
            subject,
            headers,
            payload: body(entry),
        }
    }

    /// Makes the CloudEvents headers, binary mode.
    pub(super) fn event_headers(
        &self,
        ce_id: &str,
        ce_type: &str,
        ce_subject: &str,
        time: Timestamp,
        id: &CommitId,
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert(record::CE_ID, ce_id);
        headers.insert("ce-source", self.inner.source.as_str());
        headers.insert("ce-type", ce_type);
        headers.insert("ce-subject", ce_subject);
        headers.insert("ce-time", time.to_string());
        headers.insert("content-type", "application/json");
        headers.insert(record::COMMIT, id.as_str());
        headers
    }
}

fn body<T: serde::Serialize>(value: &T) -> bytes::Bytes {
    serde_json::to_vec(value)
        .expect("our own messages are maps with text keys")
        .into()
}
