//! Messages set aside: the original payload and headers, and the reason beside them.

use async_nats::HeaderMap;

use super::log::{Log, LogError};
use super::record::Recorded;
use super::topology;
use super::wire::{self, Outgoing};
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
        let mut headers = kept(&original.headers);
        headers.insert(STAGE, stage);
        headers.insert(REASON, wire::header_text(&letter.reason, 512));
        headers.insert(ATTEMPTS, letter.attempts.to_string());
        headers.insert(SUBJECT, wire::header_text(&letter.subject, 256));
        headers.insert(SEQUENCE, letter.sequence.to_string());
        let once = format!("{stage}.{}.{}", letter.subject, letter.sequence);
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

/// The broker's own headers are instructions; on another stream they would mean something else.
fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, values) in headers.iter() {
        let name_text = name.to_string();
        if !name_text.to_ascii_lowercase().starts_with("nats-") {
            for value in values {
                kept.append(name.clone(), value.clone());
            }
        }
    }
    kept
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
