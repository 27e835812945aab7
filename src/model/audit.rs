//! What an operator did, who and why: kept as long as the money.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditAction {
    /// Past events were delivered again to one consumer.
    Replay,
    /// Messages that were set aside were given to their stage again.
    Requeue,
    /// Messages that were set aside were thrown away.
    Discard,
    /// Kling's list was searched for what callbacks never said.
    Recover,
    /// The same, and histories that the log had lost were begun anew.
    Rebuild,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditState {
    /// It is about to be done, or under way: `messages` says how many so far.
    Begun,
    /// It was stopped on the way, and can be taken up again.
    Interrupted,
    /// It is done.
    Ended,
}

/// Which messages: all of what is given here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Selection {
    /// Stored at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Stored before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// From this sequence on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_sequence: Option<u64>,
    /// Up to this sequence, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_sequence: Option<u64>,
    /// Of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Of this kind, for example `succeeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// With this mark, `key=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Set aside by this stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Set aside for a reason that holds this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matching: Option<String>,
    /// Set aside under these numbers, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub letters: Vec<u64>,
}

/// `kling.v1._account.audit.<day>`: what an operator did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Audit {
    /// Names the whole action; a replay's id.
    pub audit_id: String,
    /// What was done.
    pub action: AuditAction,
    /// How far it has come.
    pub state: AuditState,
    /// Who did it.
    pub who: String,
    /// Why.
    pub reason: String,
    /// To which messages.
    pub selection: Selection,
    /// To whom, for a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// How many messages, since it was begun or last taken up again.
    pub messages: u64,
    /// For a replay: the sequence of the last message that was delivered. Taken up again, it goes
    /// on behind that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sequence: Option<u64>,
    /// When.
    pub occurred_at: Timestamp,
}
