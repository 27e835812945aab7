//! Raw callbacks and our own observations, stored before they are answered and read back by the
//! completer. What they mean is decided elsewhere.

use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::log::{Log, LogError};
use super::record::Recorded;
use super::topology;
use super::wire::{self, Outgoing};
use crate::model::observation::Proof;

const PROOF: &str = "kling-proof";
const RECEIVED_AT: &str = "kling-received-at";
const WEBHOOK_ID: &str = "kling-webhook-id";

/// A callback or observation to be stored.
#[derive(Clone)]
pub struct CallbackToStore {
    /// Whose task, or `_account` for a callback of no task of ours.
    pub tenant: String,
    /// Which task, or another single token for `_account`.
    pub task: String,
    /// The exact bytes.
    pub body: Bytes,
    /// How much it proves.
    pub proof: Proof,
    /// When it came.
    pub received_at: Timestamp,
    /// The sender's own id of the delivery, for people who look for it.
    pub webhook_id: Option<String>,
}

/// A stored callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCallback {
    /// Its sequence; that of the first one for a duplicate.
    pub seq: u64,
    /// Whether an equal callback with equal proof was stored a moment ago.
    pub duplicate: bool,
}

/// A callback as the completer reads it.
#[derive(Clone)]
pub struct Callback {
    /// Whose task, or `_account`.
    pub tenant: String,
    /// Which task.
    pub task: String,
    /// The exact bytes.
    pub body: Bytes,
    /// How much it proves.
    pub proof: Proof,
    /// When it came.
    pub received_at: Timestamp,
    /// Its sequence.
    pub seq: u64,
}

/// Leaves out the body: it holds signed addresses.
impl std::fmt::Debug for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callback")
            .field("task", &self.task)
            .field("proof", &self.proof)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Stores a callback. Only an equal body for the same task with equal proof counts as a
    /// duplicate, so nothing weaker can suppress it.
    ///
    /// # Errors
    /// [`LogError`]; after [`LogError::Unknown`] storing it again is harmless.
    pub async fn store_callback(
        &self,
        callback: CallbackToStore,
    ) -> Result<StoredCallback, LogError> {
        let operation = "store a callback";
        if !topology::is_token(&callback.tenant) || !topology::is_token(&callback.task) {
            return Err(LogError::Misconfigured {
                operation,
                code: 0,
                reason: "the tenant or task cannot stand in a subject".to_owned(),
            });
        }
        let mut headers = HeaderMap::new();
        headers.insert(wire::MESSAGE_ID, message_id(&callback));
        headers.insert(PROOF, callback.proof.as_str());
        headers.insert(RECEIVED_AT, callback.received_at.to_string());
        if let Some(id) = &callback.webhook_id {
            headers.insert(WEBHOOK_ID, wire::header_text(id, 128));
        }
        let message = Outgoing {
            subject: topology::callback_subject(&callback.tenant, &callback.task),
            headers,
            payload: callback.body,
        };
        let ack = self.publish("callback", operation, message).await?;
        Ok(StoredCallback {
            seq: ack.seq,
            duplicate: ack.duplicate,
        })
    }
}

/// sha256 over proof, task and raw body, in hexadecimal.
fn message_id(callback: &CallbackToStore) -> String {
    let hash = Sha256::new()
        .chain_update(callback.proof.as_str())
        .chain_update([0])
        .chain_update(&callback.tenant)
        .chain_update([0])
        .chain_update(&callback.task)
        .chain_update([0])
        .chain_update(&callback.body)
        .finalize();
    hex::encode(hash)
}

impl Callback {
    /// Reads a stored callback.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when its subject or headers are not what the receiver writes.
    pub fn read(message: &Recorded) -> Result<Self, LogError> {
        let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
        let read = || {
            let (tenant, task) = topology::parse_callback_subject(&message.subject)?;
            Some(Self {
                tenant: tenant.to_owned(),
                task: task.to_owned(),
                body: message.payload.clone(),
                proof: Proof::from_name(header(PROOF)?)?,
                received_at: header(RECEIVED_AT)?.parse().ok()?,
                seq: message.seq,
            })
        };
        read().ok_or_else(|| LogError::Corrupt {
            seq: message.seq,
            subject: message.subject.clone(),
            reason: "its subject or headers are not those of a callback".to_owned(),
        })
    }
}
