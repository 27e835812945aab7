//! What happened to a task: the messages that consumers see.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::TaskId;
use super::observation::Output;
use super::request::KlingCall;
use super::task::Task;

/// The last token of a task event's subject.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// Accepted, durable, money held. Once.
    Requested,
    /// A dispatcher has claimed it, or gave its claim back to try later. Repeated.
    Dispatching,
    /// Kling created it. Exactly once if it did, always before the completion.
    Submitted,
    /// Kling started. At most once.
    Processing,
    /// The completion, when it went well.
    Succeeded,
    /// The completion, when it did not.
    Failed,
    /// Every output is in our storage. At most once.
    Stored,
    /// Money closed. Exactly once.
    Settled,
    /// No news for too long; the task is still open. Repeated, by design.
    Stalled,
}

impl EventKind {
    /// Every kind, in the order of a task's life.
    pub const ALL: [EventKind; 9] = [
        EventKind::Requested,
        EventKind::Dispatching,
        EventKind::Submitted,
        EventKind::Processing,
        EventKind::Succeeded,
        EventKind::Failed,
        EventKind::Stored,
        EventKind::Settled,
        EventKind::Stalled,
    ];

    /// Returns the kind's name in subjects and types.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Requested => "requested",
            EventKind::Dispatching => "dispatching",
            EventKind::Submitted => "submitted",
            EventKind::Processing => "processing",
            EventKind::Succeeded => "succeeded",
            EventKind::Failed => "failed",
            EventKind::Stored => "stored",
            EventKind::Settled => "settled",
            EventKind::Stalled => "stalled",
        }
    }

    /// Returns the kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<EventKind> {
        EventKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// The body of a task event: the task after it, and the two things that are not state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskEvent {
    /// The whole task after the event.
    #[serde(flatten)]
    pub task: Task,
    /// In `requested` only: the call that creates the task, with the prompt and parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<KlingCall>,
    /// In `succeeded` only: what Kling offers for download.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
}

/// An event to be: what a decision returns and the log commits.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// What happened.
    pub kind: EventKind,
    /// Which one of its kind for this task, from 1.
    pub n: u32,
    /// Its body.
    pub body: TaskEvent,
}

impl NewEvent {
    /// Makes an event that carries nothing but the task after it.
    #[must_use]
    pub fn plain(kind: EventKind, n: u32, task: Task) -> Self {
        Self {
            kind,
            n,
            body: TaskEvent {
                task,
                call: None,
                outputs: Vec::new(),
            },
        }
    }

    /// Returns the CloudEvents id, `<task>.<event>.<n>`: the same however often it is delivered.
    #[must_use]
    pub fn ce_id(&self) -> String {
        ce_id(&self.body.task.task_id, self.kind, self.n)
    }
}

/// Returns the CloudEvents id of a task event.
#[must_use]
pub fn ce_id(task: &TaskId, kind: EventKind, n: u32) -> String {
    format!("{task}.{}.{n}", kind.as_str())
}
