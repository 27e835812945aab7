//! What we know of one task, and the order of its statuses.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::ids::{Day, KlingTaskId, TaskId, Tenant};
use super::request::{Product, Purpose};

/// Fields that this version does not know. While two versions run side by side each writes the
/// whole task, and must not lose what the other has written.
pub type Newer = BTreeMap<String, serde_json::Value>;

/// How far a task has come. It only ever moves down this list, and the last two exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted, durable, money held.
    Requested,
    /// A dispatcher has claimed it and is about to call Kling, or waits to call again.
    Dispatching,
    /// Kling created it.
    Submitted,
    /// Kling works on it.
    Processing,
    /// It ended well.
    Succeeded,
    /// It ended badly, or was refused or cancelled before Kling created it.
    Failed,
}

impl Status {
    /// Returns the place in the order of progress; both ends share one.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Status::Requested => 0,
            Status::Dispatching => 1,
            Status::Submitted => 2,
            Status::Processing => 3,
            Status::Succeeded | Status::Failed => 4,
        }
    }

    /// Tells whether the task has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.rank() == 4
    }

    /// Tells whether Kling is known to have created the task and it has not ended.
    #[must_use]
    pub fn is_at_kling(self) -> bool {
        matches!(self, Status::Submitted | Status::Processing)
    }

    /// Every status, in order.
    pub const ALL: [Status; 6] = [
        Status::Requested,
        Status::Dispatching,
        Status::Submitted,
        Status::Processing,
        Status::Succeeded,
        Status::Failed,
    ];

    /// Returns the status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Status> {
        Status::ALL
            .into_iter()
            .find(|status| status.as_str() == name)
    }

    /// Returns the status's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Requested => "requested",
            Status::Dispatching => "dispatching",
            Status::Submitted => "submitted",
            Status::Processing => "processing",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
        }
    }
}

/// Which of Kling's two API standards a task is created on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// The model's version stands in the path.
    New,
    /// The path starts with `/v1/` and the model is a field.
    Legacy,
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskError {
    /// Stable: `kling-<business code>`, `kling-http-<status>` (an answer without a code),
    /// `kling-failed`, `moderation`, `cancelled`, `expired` (never dispatched in all the time that
    /// its request was kept), `invalid-request`, `idempotency-key-reused`,
    /// `reused-result-gone`.
    pub code: String,
    /// What Kling, or the relay, says of it.
    pub message: String,
    /// Whether the same request again, as a new task, could go better.
    pub retryable: bool,
}

/// A stored output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// `<tenant>/<task>/<n>-<sha256>.<ext>` under the storage URL.
    pub key: String,
    /// The address in our own storage.
    pub uri: String,
    /// Size in bytes.
    pub bytes: u64,
    /// What the content is, by its own first bytes.
    pub media_type: String,
    /// Of the whole content, 64 hexadecimal digits.
    pub sha256: String,
}

/// The slots that a task takes at Kling from its creation to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slots {
    /// Model version and pack type, for example `2.6/video`; both spellings of a model share it.
    pub pool: String,
    /// How many: one for a video, `n` for `n` images.
    pub count: u32,
}

/// A dispatcher's lease on a task that it is about to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// Unique per claim.
    pub id: String,
    /// When another dispatcher may take over.
    pub until: Timestamp,
}

/// How a task shares results with other tasks of its tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reuse {
    /// sha256 over the tenant and what Kling is asked for, 64 hexadecimal digits: equal for tasks
    /// whose results can stand for one another. Empty on tasks of versions without it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Whether an earlier result may answer it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    /// The price, where a result answers from the acceptance on and so nothing is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Amount>,
}

/// What the relay's own stages need to carry on with a task; consumers may ignore it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelayState {
    /// When the request was accepted.
    pub requested_at: Timestamp,
    /// Sequence of `requested` in the stream; 0 in `requested` itself.
    #[serde(default)]
    pub requested_seq: u64,
    /// When the last of the task's events expires; never moves backwards.
    pub expires_at: Timestamp,
    /// The budget day that holds the money.
    pub day: Day,
    /// Whether the hold also stands in the account-wide ledger; the money writer fills it in.
    #[serde(default)]
    pub account_held: bool,
    /// Name of the price book of the estimate.
    pub price_book: String,
    /// sha256 of the normalised request: the same idempotency key must bring the same one.
    pub request_digest: String,
    /// How many tasks were submitted in one request, this one among them; 0 where an earlier
    /// version did not say.
    #[serde(default)]
    pub submitted_with: u32,
    /// How it shares results with other tasks.
    #[serde(default)]
    pub reuse: Reuse,
    /// Which API generation creates it.
    pub generation: Generation,
    /// The path that creates it; on the legacy standard also the path that it is read from.
    pub path: String,
    /// What it takes at Kling.
    pub slots: Slots,
    /// The earliest time of the next dispatch: the caller's `not_before`, or a back-off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Whether it is dispatched inside the off-peak window only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub off_peak: bool,
    /// How many times it was claimed for dispatch.
    #[serde(default)]
    pub attempts: u32,
    /// The running claim, while `dispatching`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// Whether a create may have reached Kling without our knowing its outcome: look up first.
    #[serde(default)]
    pub may_exist: bool,
    /// How many `dispatching` events there are.
    #[serde(default)]
    pub dispatching: u32,
    /// How many times Kling was asked, since the last create, whether the task exists.
    #[serde(default)]
    pub lookups: u32,
    /// When the status last changed: what `stalled` and the reconciler measure from.
    pub changed_at: Timestamp,
    /// How many `stalled` events there are.
    #[serde(default)]
    pub stalled: u32,
    /// When `stalled` was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_at: Option<Timestamp>,
    /// Whether its history was rebuilt from what Kling says, after the log was lost: Kling has it,
    /// so it is never created again.
    #[serde(default)]
    pub rebuilt: bool,
    /// Which retry of its first task it is; 0 for a task that a caller submitted.
    #[serde(default)]
    pub retries: u32,
    /// When Kling created it, as far as we know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_at: Option<Timestamp>,
    /// How many outputs there are to store.
    #[serde(default)]
    pub outputs: u32,
    /// When the outputs were stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<Timestamp>,
    /// When the money was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// What a newer version of us knows besides.
    #[serde(flatten)]
    pub newer: Newer,
}

/// Everything that is known of a task after an event, but the prompt and parameters (in
/// `requested` only) and signed download addresses (in `succeeded` only).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Ours, and Kling's `external_task_id`.
    pub task_id: TaskId,
    /// Whose task it is.
    pub tenant: Tenant,
    /// Kling's id, from `submitted` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kling_task_id: Option<KlingTaskId>,
    /// What is made.
    pub product: Product,
    /// In Kling's spelling.
    pub model: String,
    /// How far it has come.
    pub status: Status,
    /// The caller's marks.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When the event happened.
    pub occurred_at: Timestamp,
    /// The task that this one tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<TaskId>,
    /// The task whose result answers this one, so that Kling is never asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<TaskId>,
    /// Resolution or mode in Kling's words, where the product has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Seconds asked for, where the product has a length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Whether sound was asked for.
    #[serde(default)]
    pub audio: bool,
    /// What the caller said it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// The price held at acceptance; 0 where an earlier result answers from then on.
    pub estimate: Amount,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// What Kling itself says it deducted, from the completion on (of a rebuilt task from the
    /// beginning, by its deduction records); absent if Kling never said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing: Option<Vec<Amount>>,
    /// Where the outputs are, from `stored` on; from `succeeded` on where they are an earlier
    /// result's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<Asset>,
    /// What was held, from `settled` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Amount>,
    /// What was taken, from `settled` on; a void takes 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deduction: Vec<Amount>,
    /// What was taken above the hold, from `settled` on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrun: Vec<Amount>,
    /// The price that an earlier result saved, from its `succeeded` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Amount>,
    /// The relay's own.
    pub relay: RelayState,
    /// What a newer version of us knows besides.
    #[serde(flatten)]
    pub newer: Newer,
}

impl Task {
    /// Tells whether nothing is left to do: ended, money closed, outputs stored.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let stored = self.relay.stored_at.is_some()
            || self.status != Status::Succeeded
            || self.relay.outputs == 0;
        self.status.is_terminal() && self.relay.settled_at.is_some() && stored
    }
}
