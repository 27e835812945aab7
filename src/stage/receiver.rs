//! Authenticated callback to callback stream; nothing else. It calls nobody and writes no task
//! state: what a callback means is decided off the request, by the completer.
//!
//! The receiver decides *proof*: the path, then the signature if there are secrets. The order of
//! checks is fixed: nothing of a body is looked at, not even its form, before its proof holds.

mod alarm;
mod allowance;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use sha2::{Digest, Sha256};

use alarm::Alarms;
use allowance::{Allowances, Kind, Taken};

use crate::config::{self, Unsigned};
use crate::edge::clock::Clock;
use crate::edge::kling::callback_url::CapabilityKeys;
use crate::edge::kling::signature::{HEADER_ID, SignatureVerdict, WebhookSecrets};
use crate::edge::kling::wire::{Terms, parse_callback};
use crate::edge::nats::callbacks::{CallbackToStore, StoredCallback};
use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::topology::is_token;
use crate::model::ids::{ACCOUNT, TaskId};
use crate::model::observation::{Observation, Proof};
use crate::telemetry::{self, chain};

/// Between two tries to store one callback: an election takes seconds.
const STORE_PAUSE: Duration = Duration::from_millis(100);
/// Longest id of a delivery that stands in a subject as it is.
const ID_MAX_CHARS: usize = 64;

/// Where a callback came in, once its path is known to be ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// On the address that we minted for this task.
    Task(TaskId),
    /// On the bare path: the console's test button, or a task made elsewhere.
    Account,
}

/// What became of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the stream.
    Stored,
    /// An equal one with equal proof was there already.
    Duplicate,
    /// It proves too little.
    Refused,
    /// It came on its task's own address, and its signature does not hold.
    BadSignature,
    /// The task has brought too much: the sender should come again in so many seconds.
    TooOften(u64),
    /// It is proven, and no callback that we know.
    Malformed,
    /// The broker did not take it in time: the sender should come again.
    Unavailable,
}

/// Proves callbacks and stores them.
#[derive(Clone, Debug)]
pub struct Receiver {
    log: Log,
    clock: Clock,
    keys: CapabilityKeys,
    secrets: WebhookSecrets,
    unsigned: Unsigned,
    body_max_bytes: usize,
    unsigned_body_max_bytes: usize,
    store_timeout: Duration,
    allowances: Arc<Allowances>,
    alarms: Arc<Alarms>,
}

/// A callback that may bring its body; it counts as in hand until this is dropped.
#[derive(Debug)]
pub struct Admitted {
    /// Bound of the body, bytes.
    pub body_max_bytes: usize,
    _taken: Option<Taken>,
}

impl Receiver {
    /// Makes a receiver. Without secrets, signatures mean nothing.
    #[must_use]
    pub fn new(
        log: Log,
        clock: Clock,
        keys: CapabilityKeys,
        secrets: WebhookSecrets,
        rules: &config::Receiver,
    ) -> Self {
        Self {
            log,
            clock,
            keys,
            secrets,
            unsigned: rules.unsigned,
            body_max_bytes: rules.body_max_bytes,
            unsigned_body_max_bytes: rules.unsigned_body_max_bytes.min(rules.body_max_bytes),
            store_timeout: rules.store_timeout,
            allowances: Arc::default(),
            alarms: Arc::default(),
        }
    }

    /// Checks the last three segments of a task's callback path, before anything else is read.
    #[must_use]
    pub fn open(&self, tenant: &str, task: &str, proof: &str) -> Option<Door> {
        self.keys.verify(tenant, task, proof).map(Door::Task)
    }

    /// Tells whether the bare path can be proven at all.
    #[must_use]
    pub fn open_account(&self) -> Option<Door> {
        (!self.secrets.is_empty()).then_some(Door::Account)
    }

    /// Says what a callback may bring, before any of it is read: one without a signature proves
    /// little, so it must be small and come seldom. One of unknown length may be large.
    ///
    /// # Errors
    /// The verdict on one that may bring nothing.
    pub fn admit(
        &self,
        door: &Door,
        headers: &HeaderMap,
        length: Option<usize>,
    ) -> Result<Admitted, Verdict> {
        let is_small = length.is_some_and(|bytes| bytes <= self.unsigned_body_max_bytes);
        let kind = match self.secrets.are_asked(headers) {
            true if is_small => Kind::Signed,
            true => Kind::Large,
            false => Kind::Unsigned,
        };
        let body_max_bytes = match kind {
            Kind::Large => self.body_max_bytes,
            Kind::Signed | Kind::Unsigned => self.unsigned_body_max_bytes,
        };
        let taken = match (door, self.unsigned) {
            (Door::Account, _) if kind == Kind::Unsigned => return Err(Verdict::Refused),
            (Door::Account, _) => None,
            (Door::Task(task), policy) => {
                let taken = self.allowances.take(task, kind);
                let taken = taken.map_err(Verdict::TooOften)?;
                // What is rejected is not stored.
                if kind == Kind::Unsigned && policy != Unsigned::Reject {
                    let allowed = self.allowances.unsigned(task);
                    allowed.map_err(Verdict::TooOften)?;
                }
                Some(taken)
            }
        };
        Ok(Admitted {
            body_max_bytes,
            _taken: taken,
        })
    }

    /// Proves a callback by its headers and exact bytes, checks that it is one, and stores it. An
    /// answer of success may only be given for [`Verdict::Stored`] and [`Verdict::Duplicate`].
    pub async fn receive(&self, door: Door, headers: &HeaderMap, body: Bytes) -> Verdict {
        let received_at = self.clock.now();
        let signature = self.secrets.verify(headers, &body, received_at);
        let proof = match self.prove(&door, signature, received_at) {
            Ok(proof) => proof,
            Err(refusal) => return refusal,
        };
        // The body's units do not matter here: only whether it has a known form, and its time.
        let Ok(seen) = parse_callback(&body, Terms::default()) else {
            match proof {
                Proof::Signed | Proof::Read => {
                    tracing::warn!("Kling sent a callback that has no known form");
                }
                // Whoever has a leaked address could fill the log.
                Proof::Unsigned => tracing::debug!("an unsigned callback has no known form"),
            }
            return Verdict::Malformed;
        };
        let webhook_id = self.delivery_id(headers);
        let (tenant, task) = match door {
            Door::Task(task) => (task.tenant().to_string(), task.to_string()),
            Door::Account => (
                ACCOUNT.to_owned(),
                account_token(webhook_id.as_deref(), &body),
            ),
        };
        let callback = CallbackToStore {
            tenant,
            task,
            body,
            proof,
            received_at,
            webhook_id,
        };
        match self.store(&callback).await {
            Ok(stored) => {
                measure_lateness(&seen, received_at);
                match stored.duplicate {
                    true => Verdict::Duplicate,
                    false => Verdict::Stored,
                }
            }
            Err(error) => {
                let (task, error) = (callback.task, chain(&error));
                tracing::error!(task.id = task, %error, "a callback could not be stored");
                Verdict::Unavailable
            }
        }
    }

    /// Says what proof there is, or that it is too little.
    fn prove(
        &self,
        door: &Door,
        signature: SignatureVerdict,
        now: Timestamp,
    ) -> Result<Proof, Verdict> {
        match (signature, door) {
            (SignatureVerdict::Signed, Door::Task(_) | Door::Account) => Ok(Proof::Signed),
            (SignatureVerdict::Bad(reason), Door::Task(_)) => {
                self.alarms.bad_signature(reason, now);
                Err(Verdict::BadSignature)
            }
            // Anybody can send these.
            (SignatureVerdict::Bad(_) | SignatureVerdict::Unsigned, Door::Account) => {
                Err(Verdict::Refused)
            }
            (SignatureVerdict::Unsigned, Door::Task(_)) => {
                if !self.secrets.is_empty() {
                    metrics::counter!(telemetry::UNSIGNED_AFTER_SIGNED).increment(1);
                    self.alarms.unsigned(now);
                }
                match self.unsigned {
                    Unsigned::Confirm | Unsigned::Accept => Ok(Proof::Unsigned),
                    Unsigned::Reject => Err(Verdict::Refused),
                }
            }
        }
    }

    /// Stores until it is known to be stored, or the time is up. A second store is harmless.
    async fn store(&self, callback: &CallbackToStore) -> Result<StoredCallback, LogError> {
        let mut last = LogError::Unavailable {
            operation: "store a callback",
        };
        let tries = async {
            loop {
                match self.log.store_callback(callback.clone()).await {
                    Err(error @ (LogError::Unavailable { .. } | LogError::Unknown { .. })) => {
                        last = error;
                        self.clock.sleep(STORE_PAUSE).await;
                    }
                    decided => return decided,
                }
            }
        };
        match tokio::time::timeout(self.store_timeout, tries).await {
            Ok(decided) => decided,
            Err(_) => Err(last),
        }
    }

    /// The sender's own id of the delivery, where a signature covers it.
    fn delivery_id(&self, headers: &HeaderMap) -> Option<String> {
        let value = headers
            .get(HEADER_ID)
            .filter(|_| !self.secrets.is_empty())?;
        value.to_str().ok().map(str::to_owned)
    }
}

/// Names a callback of no task of ours in its subject.
fn account_token(webhook_id: Option<&str>, body: &Bytes) -> String {
    match webhook_id.filter(|id| id.len() <= ID_MAX_CHARS && is_token(id)) {
        Some(id) => id.to_owned(),
        None => hex::encode(&Sha256::digest(body)[..16]),
    }
}

/// Kling's clock and ours may differ a little: early is on time.
fn measure_lateness(seen: &Observation, received_at: Timestamp) {
    if let Some(updated_at) = seen.updated_at {
        let late = received_at
            .duration_since(updated_at)
            .as_secs_f64()
            .max(0.0);
        metrics::histogram!(telemetry::CALLBACK_LATENESS).record(late);
    }
}
