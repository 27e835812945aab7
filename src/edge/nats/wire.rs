//! Publishing with expectations, atomic batches over plain headers, and reads from the stream's
//! leader: the broker's protocol and codes, nothing of ours.
//!
//! Source: broker reference 2 and 4.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::client::{Request, RequestErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessage;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;

use super::Broker;

mod info;

pub(super) use self::info::{last_sequence, message_count, room, subjects};

pub(super) const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
pub(super) const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
pub(super) const TTL: &str = "Nats-TTL";
pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";
pub(super) const BATCH_ID: &str = "Nats-Batch-Id";
pub(super) const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
pub(super) const BATCH_COMMIT: &str = "Nats-Batch-Commit";

/// An election: ask again.
pub(super) const CLUSTER_UNAVAILABLE: u64 = 10_008;
/// For calls that create or change streams and consumers.
pub(super) const MANAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// A message to be published.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// The server's acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) seq: u64,
    pub(super) duplicate: bool,
}

/// What else a publish can end in, by what its sender does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An expectation did not hold; nothing stored. The real last sequence, where the server
    /// says it: on a cluster it does not while another write on the same text is in flight.
    Conflict { last: Option<u64> },
    /// The batch was lost on its way, or too many are open; nothing stored.
    Incomplete,
    /// Nobody took it; nothing stored.
    Unavailable,
    /// The stream is at its bound; nothing stored.
    Full,
    /// The server refuses what we do; nothing stored.
    Refused { code: u64, reason: String },
    /// No answer came: it may or may not be stored.
    Unknown,
}

impl Refusal {
    /// Returns the word for metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Refusal::Conflict { .. } => "conflict",
            Refusal::Incomplete => "incomplete",
            Refusal::Unavailable => "unavailable",
            Refusal::Full => "full",
            Refusal::Refused { .. } => "refused",
            Refusal::Unknown => "unknown",
        }
    }
}

/// A read that gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReadFailure {
    /// Nobody answered in time: try again.
    Unavailable,
    /// The server refuses what we do.
    Refused { code: u64, reason: String },
    /// An answer that cannot be read.
    Unreadable,
}

/// Makes an id that nobody else makes.
pub(super) fn fresh_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Keeps a foreign text fit for a header: one line of printable ASCII, bounded.
pub(super) fn header_text(text: &str, length_max: usize) -> String {
    text.chars()
        .map(|c| {
            if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        })
        .take(length_max)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Publishes one message and waits for its acknowledgement.
pub(super) async fn publish(
    broker: &Broker,
    message: Outgoing,
    timeout: Duration,
) -> Result<Ack, Refusal> {
    // A disconnected client would keep the message and send it much later.
    if !broker.is_connected() {
        return Err(Refusal::Unavailable);
    }
    let request = Request::new()
        .headers(message.headers)
        .payload(message.payload)
        .timeout(Some(timeout));
    let sent = broker.client().send_request(message.subject, request);
    match tokio::time::timeout(timeout, sent).await {
        Ok(Ok(answer)) => acknowledgement(&answer.payload),
        Ok(Err(error)) => Err(match error.kind() {
            RequestErrorKind::NoResponders => Refusal::Unavailable,
            RequestErrorKind::TimedOut | RequestErrorKind::Other => Refusal::Unknown,
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                Refusal::Refused {
                    code: 0,
                    reason: error.to_string(),
                }
            }
        }),
        Err(_) => Err(Refusal::Unknown),
    }
}

/// Publishes messages that are all stored or none, under an id that no other try has; the
/// acknowledgement is the last one's, and the others stand right before it.
pub(super) async fn publish_batch(
    broker: &Broker,
    batch: &str,
    mut messages: Vec<Outgoing>,
    timeout: Duration,
) -> Result<Ack, Refusal> {
    if !broker.is_connected() {
        return Err(Refusal::Unavailable);
    }
    for (index, message) in messages.iter_mut().enumerate() {
        message.headers.insert(BATCH_ID, batch);
        message
            .headers
            .insert(BATCH_SEQUENCE, (index + 1).to_string());
    }
    let Some(mut last) = messages.pop() else {
        return Err(Refusal::Refused {
            code: 0,
            reason: "an empty batch".to_owned(),
        });
    };
    last.headers.insert(BATCH_COMMIT, "1");
    let parts = async {
        for part in messages {
            broker
                .client()
                .publish_with_headers(part.subject, part.headers, part.payload)
                .await?;
        }
        Ok::<(), async_nats::client::PublishError>(())
    };
    match tokio::time::timeout(timeout, parts).await {
        // Without its last message nothing of a batch is ever stored.
        Err(_) => Err(Refusal::Unavailable),
        Ok(Err(error)) => Err(Refusal::Refused {
            code: 0,
            reason: error.to_string(),
        }),
        Ok(Ok(())) => publish(broker, last, timeout).await,
    }
}

/// Reads a publish acknowledgement or its refusal.
fn acknowledgement(payload: &[u8]) -> Result<Ack, Refusal> {
    let Ok(answer) = serde_json::from_slice::<Value>(payload) else {
        return Err(Refusal::Unknown);
    };
    let Some(error) = answer.get("error") else {
        return match answer["seq"].as_u64() {
            Some(seq) if seq > 0 => Ok(Ack {
                seq,
                duplicate: answer["duplicate"].as_bool().unwrap_or_default(),
            }),
            Some(_) | None => Err(Refusal::Unknown),
        };
    };
    let reason = error["description"].as_str().unwrap_or_default();
    Err(match error["err_code"].as_u64().unwrap_or_default() {
        10_071 => Refusal::Conflict {
            last: reason.rsplit(' ').next().and_then(|n| n.parse().ok()),
        },
        10_164 => Refusal::Conflict { last: None },
        10_176 | 10_210 => Refusal::Incomplete,
        10_077 | 10_002 | 10_023 | 10_047 => Refusal::Full,
        CLUSTER_UNAVAILABLE => Refusal::Unavailable,
        0 if error["code"].as_u64() == Some(503) => Refusal::Unavailable,
        code => Refusal::Refused {
            code,
            reason: reason.to_owned(),
        },
    })
}

/// Reads one message from the stream's leader: by `last_by_subj`, `seq`, or `next_by_subj`.
pub(super) async fn read_leader(
    broker: &Broker,
    stream: &str,
    query: &Value,
    timeout: Duration,
) -> Result<Option<StreamMessage>, ReadFailure> {
    let request = Request::new()
        .payload(query.to_string().into())
        .timeout(Some(timeout));
    let sent = broker
        .client()
        .send_request(format!("$JS.API.STREAM.MSG.GET.{stream}"), request);
    let answer = match tokio::time::timeout(timeout, sent).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => return Err(ReadFailure::Unavailable),
    };
    let mut answer: Value =
        serde_json::from_slice(&answer.payload).map_err(|_| ReadFailure::Unreadable)?;
    if let Some(error) = answer.get("error") {
        let code = error["err_code"].as_u64().unwrap_or_default();
        return match code {
            10_037 | 10_043 => Ok(None),
            CLUSTER_UNAVAILABLE => Err(ReadFailure::Unavailable),
            0 if error["code"].as_u64() == Some(503) => Err(ReadFailure::Unavailable),
            code => Err(ReadFailure::Refused {
                code,
                reason: error["description"].as_str().unwrap_or_default().to_owned(),
            }),
        };
    }
    let message: RawMessage =
        serde_json::from_value(answer["message"].take()).map_err(|_| ReadFailure::Unreadable)?;
    StreamMessage::try_from(message)
        .map(Some)
        .map_err(|_| ReadFailure::Unreadable)
}

/// Reads several messages in one request from any replica, so never to decide on.
pub(super) async fn read_direct(
    broker: &Broker,
    stream: &str,
    query: &Value,
    timeout: Duration,
) -> Result<Vec<StreamMessage>, ReadFailure> {
    let read = async {
        let inbox = broker.client().new_inbox();
        let mut answers = broker
            .client()
            .subscribe(inbox.clone())
            .await
            .map_err(|_| ReadFailure::Unavailable)?;
        broker
            .client()
            .publish_with_reply(
                format!("$JS.API.DIRECT.GET.{stream}"),
                inbox,
                query.to_string().into(),
            )
            .await
            .map_err(|_| ReadFailure::Unavailable)?;
        let mut messages = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer.status.map(|status| status.as_u16()) {
                None => messages
                    .push(StreamMessage::try_from(answer).map_err(|_| ReadFailure::Unreadable)?),
                // The end of the batch, or nothing there at all.
                Some(204 | 404) => return Ok(messages),
                Some(503) => return Err(ReadFailure::Unavailable),
                Some(code) => {
                    return Err(ReadFailure::Refused {
                        code: u64::from(code),
                        reason: answer.description.unwrap_or_default(),
                    });
                }
            }
        }
        Err(ReadFailure::Unavailable)
    };
    match tokio::time::timeout(timeout, read).await {
        Ok(result) => result,
        Err(_) => Err(ReadFailure::Unavailable),
    }
}

/// Deletes one message of a stream: by `seq`.
pub(super) async fn delete(
    broker: &Broker,
    stream: &str,
    query: &Value,
    timeout: Duration,
) -> Result<(), ReadFailure> {
    let request = Request::new()
        .payload(query.to_string().into())
        .timeout(Some(timeout));
    let sent = broker
        .client()
        .send_request(format!("$JS.API.STREAM.MSG.DELETE.{stream}"), request);
    let Ok(Ok(answer)) = tokio::time::timeout(timeout, sent).await else {
        return Err(ReadFailure::Unavailable);
    };
    let answer: Value =
        serde_json::from_slice(&answer.payload).map_err(|_| ReadFailure::Unreadable)?;
    let Some(error) = answer.get("error") else {
        return Ok(());
    };
    match error["err_code"].as_u64().unwrap_or_default() {
        // Not there any more.
        10_037 | 10_043 | 10_057 => Ok(()),
        CLUSTER_UNAVAILABLE => Err(ReadFailure::Unavailable),
        code => Err(ReadFailure::Refused {
            code,
            reason: error["description"].as_str().unwrap_or_default().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
