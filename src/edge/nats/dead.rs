//! Messages set aside: the original payload and headers, and the reason beside them.

use serde_json::json;

use super::log::{Log, LogError, ReadFrom};
use super::record::Recorded;
use super::wire::{self, Outgoing};
use super::{replay, topology};
use crate::model::dead_letter::DeadLetter;
use crate::model::ids::ACCOUNT;
use crate::telemetry;

const STAGE: &str = "kling-dead-stage";
const REASON: &str = "kling-dead-reason";
const ATTEMPTS: &str = "kling-dead-attempts";
const SUBJECT: &str = "kling-dead-subject";
const SEQUENCE: &str = "kling-dead-sequence";
/// A task of a message that names none.
const NO_TASK: &str = "none";

impl Log {
    /// Sets a message aside with its reason; acknowledge it only after this. Doing it again
    /// within the stream's duplicate window changes nothing.
    ///
    /// # Errors
    /// [`LogError`]: then the message must not be acknowledged.
    pub async fn set_aside(
        &self,
        original: &Recorded,
        letter: &DeadLetter,
    ) -> Result<(), LogError> {
        let (tenant, task) = whose(&original.subject);
        let stage = if topology::is_token(&letter.stage) {
            letter.stage.as_str()
        } else {
            "unknown"
        };
        let mut headers = replay::unmarked(&original.headers);
        headers.insert(STAGE, stage);
        headers.insert(REASON, wire::header_text(&letter.reason, 512));
        headers.insert(ATTEMPTS, letter.attempts.to_string());
        headers.insert(SUBJECT, wire::header_text(&letter.subject, 256));
        headers.insert(SEQUENCE, letter.sequence.to_string());
        // One that was delivered again and failed again is another letter.
        let again = original.replay().unwrap_or_default();
        let once = format!("{stage}.{}.{}.{again}", letter.subject, letter.sequence);
        headers.insert(wire::MESSAGE_ID, wire::header_text(&once, 256));
        let message = Outgoing {
            subject: topology::dead_subject(stage, &tenant, &task),
            headers,
            payload: original.payload.clone(),
        };
        let ack = self.publish("dead", "set a message aside", message).await?;
        if !ack.duplicate {
            let stage = stage.to_owned();
            metrics::counter!(telemetry::DEAD_LETTERS, "stage" => stage).increment(1);
        }
        Ok(())
    }

    /// Reads messages that were set aside like [`Log::read`]. The filter is
    /// [`topology::dead_filter`]'s.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn letters(
        &self,
        filter: &str,
        from: ReadFrom,
        limit: usize,
    ) -> Result<Vec<Recorded>, LogError> {
        self.read_stream(topology::DEAD, filter, from, limit).await
    }

    /// Returns the sequence of the last message that was set aside, from the stream's leader; 0 if
    /// there was none.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn last_letter_sequence(&self) -> Result<u64, LogError> {
        let inner = &self.inner;
        wire::last_sequence(&inner.broker, topology::DEAD, inner.read_timeout)
            .await
            .map_err(|failure| LogError::of_read("read the end of what was set aside", failure))
    }

    /// Reads one message that was set aside, from the stream's leader.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn letter(&self, seq: u64) -> Result<Option<Recorded>, LogError> {
        let (inner, query) = (&self.inner, json!({ "seq": seq }));
        wire::read_leader(&inner.broker, topology::DEAD, &query, inner.read_timeout)
            .await
            .map(|found| found.map(Recorded::from))
            .map_err(|failure| LogError::of_read("read a message set aside", failure))
    }

    /// Returns how many messages are set aside.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn letter_count(&self) -> Result<u64, LogError> {
        let inner = &self.inner;
        wire::message_count(&inner.broker, topology::DEAD, inner.read_timeout)
            .await
            .map_err(|failure| LogError::of_read("count messages set aside", failure))
    }
}

/// Reads what was said of a message that was set aside; `None` if it is no such message.
#[must_use]
pub fn read_dead_letter(message: &Recorded) -> Option<DeadLetter> {
    let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
    Some(DeadLetter {
        stage: header(STAGE)?.to_owned(),
        reason: header(REASON)?.to_owned(),
        attempts: header(ATTEMPTS)?.parse().ok()?,
        subject: header(SUBJECT)?.to_owned(),
        sequence: header(SEQUENCE)?.parse().ok()?,
    })
}

fn whose(subject: &str) -> (String, String) {
    if let Some((task, _)) = topology::parse_task_subject(subject) {
        return (task.tenant().to_string(), task.to_string());
    }
    match topology::parse_callback_subject(subject) {
        Some((tenant, task)) if topology::is_token(tenant) && topology::is_token(task) => {
            (tenant.to_owned(), task.to_owned())
        }
        Some(_) | None => (ACCOUNT.to_owned(), NO_TASK.to_owned()),
    }
}
