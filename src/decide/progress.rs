//! A task and a believed observation: the next event, or nothing new.
//!
//! Laws: status only moves forward; `submitted` comes before a completion and `processing` comes at
//! most once; the first ending stands for ever, in whatever order and however often Kling speaks.

use std::fmt;

use jiff::Timestamp;

use crate::model::event::{EventKind, NewEvent};
use crate::model::observation::{Observation, ObservedStatus};
use crate::model::task::{Status, Task, TaskError};

/// What an observation changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Commit this; the observation has nothing more to say.
    Commit(NewEvent),
    /// Commit this, load the task again and decide the same observation again.
    CommitThenAgain(NewEvent),
    /// The task is as far or further.
    NothingNew,
    /// Kling says that it ended but not what it cost or where the result is: ask once, then decide
    /// again with [`LastWord::Yes`].
    ReReadFirst(Missing),
    /// Kling says what cannot be: report it, change nothing.
    Contradiction(Contradiction),
}

/// Whether an observation is the best that Kling will give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastWord {
    /// A re-read could still tell more.
    No,
    /// It *is* the re-read: go on without what is missing.
    Yes,
}

/// What an ending lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The bill. Without it the deduction is assumed.
    Billing,
    /// The results of a success.
    Outputs,
}

/// How an observation contradicts what is already true for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// The task is another one at Kling.
    OtherKlingTask,
    /// The task ended the other way.
    OtherEnding,
    /// The task failed or was cancelled here before Kling made it, or an earlier result answers it,
    /// and yet Kling made it: it may be billed to nobody.
    MadeAfterAll,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Contradiction::OtherKlingTask => "Kling names another task of its own for this one",
            Contradiction::OtherEnding => "Kling says that the task ended the other way",
            Contradiction::MadeAfterAll => {
                "Kling made the task although it was refused, cancelled or answered by an earlier \
                 result here"
            }
        })
    }
}

/// Decides what a believed observation changes.
///
/// A success without results ends the task as a success with nothing to store, after one re-read:
/// Kling's status is not ours to rewrite, and turning it into a failure would make the ending
/// depend on which of two bodies came first.
#[must_use]
pub fn next(task: &Task, seen: &Observation, last_word: LastWord, now: Timestamp) -> Progress {
    if task
        .kling_task_id
        .as_ref()
        .is_some_and(|id| *id != seen.kling_task_id)
    {
        return Progress::Contradiction(Contradiction::OtherKlingTask);
    }
    if task.reused_from.is_some() {
        return Progress::Contradiction(Contradiction::MadeAfterAll);
    }
    match task.status {
        Status::Requested | Status::Dispatching => {
            let event = plain(EventKind::Submitted, Status::Submitted, task, seen, now);
            match seen.status {
                ObservedStatus::Submitted => Progress::Commit(event),
                ObservedStatus::Processing | ObservedStatus::Succeeded | ObservedStatus::Failed => {
                    Progress::CommitThenAgain(event)
                }
            }
        }
        Status::Submitted | Status::Processing => match seen.status {
            ObservedStatus::Submitted => Progress::NothingNew,
            ObservedStatus::Processing if task.status == Status::Processing => Progress::NothingNew,
            ObservedStatus::Processing => {
                let kind = EventKind::Processing;
                Progress::Commit(plain(kind, Status::Processing, task, seen, now))
            }
            ObservedStatus::Succeeded | ObservedStatus::Failed => end(task, seen, last_word, now),
        },
        Status::Succeeded | Status::Failed => after_the_end(task, seen),
    }
}

fn after_the_end(task: &Task, seen: &Observation) -> Progress {
    if task.kling_task_id.is_none() {
        return Progress::Contradiction(Contradiction::MadeAfterAll);
    }
    let other = match seen.status {
        // Late news of an earlier status.
        ObservedStatus::Submitted | ObservedStatus::Processing => false,
        ObservedStatus::Succeeded => task.status != Status::Succeeded,
        ObservedStatus::Failed => task.status != Status::Failed,
    };
    if other {
        Progress::Contradiction(Contradiction::OtherEnding)
    } else {
        Progress::NothingNew
    }
}

fn end(task: &Task, seen: &Observation, last_word: LastWord, now: Timestamp) -> Progress {
    let succeeded = seen.status == ObservedStatus::Succeeded;
    let missing = if succeeded && seen.outputs.is_empty() {
        Some(Missing::Outputs)
    } else if seen.billing.is_none() {
        Some(Missing::Billing)
    } else {
        None
    };
    if let (Some(missing), LastWord::No) = (missing, last_word) {
        return Progress::ReReadFirst(missing);
    }
    let (kind, status) = if succeeded {
        (EventKind::Succeeded, Status::Succeeded)
    } else {
        (EventKind::Failed, Status::Failed)
    };
    let mut event = plain(kind, status, task, seen, now);
    let ended = &mut event.body.task;
    // A rebuilt task has what Kling's deduction records say: the bill's own word goes before it.
    if seen.billing.is_some() {
        ended.billing.clone_from(&seen.billing);
    }
    if succeeded {
        let to_store = seen
            .outputs
            .iter()
            .filter(|output| output.is_downloadable());
        ended.relay.outputs = u32::try_from(to_store.count()).unwrap_or(u32::MAX);
        event.body.outputs.clone_from(&seen.outputs);
    } else {
        ended.error = Some(failure(&seen.message));
    }
    Progress::Commit(event)
}

/// The event that brings the task to `status`. From `submitted` on nothing of the dispatch is left.
fn plain(
    kind: EventKind,
    status: Status,
    task: &Task,
    seen: &Observation,
    now: Timestamp,
) -> NewEvent {
    let mut task = task.clone();
    task.status = status;
    task.relay.submitted_at.get_or_insert(now);
    task.kling_task_id = Some(seen.kling_task_id.clone());
    task.occurred_at = now;
    task.relay.changed_at = now;
    task.relay.claim = None;
    task.relay.may_exist = false;
    task.relay.not_before = None;
    // Each of these kinds happens once.
    NewEvent::plain(kind, 1, task)
}

/// The code of a task that Kling took and could not make, whatever stands behind it.
pub const KLING_FAILED: &str = "kling-failed";

/// Kling gives a failed task words and no code. What passes must be known to pass: behind words
/// that nobody knows may stand a policy.
///
/// Source: platform reference 4 and 8.
fn failure(message: &str) -> TaskError {
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    // The same prompt would be refused again, or should be: a policy failure is never tried again.
    let moderation = says(&[
        "risk control",
        "moderation",
        "sensitive",
        "policy",
        "policies",
        "content security",
        "prohibited",
        "violat",
        "inappropriate",
        "nsfw",
        "copyright",
        "风控",
        "敏感",
        "违规",
    ]);
    // The input itself is wrong.
    let input = says(&[
        "resolution",
        "aspect ratio",
        "not supported",
        "unsupported",
        "invalid",
    ]);
    let passes = says(&[
        "get the contents of the file",
        "internal",
        "time out",
        "timed out",
        "timeout",
        "busy",
        "unavailable",
        "try again",
    ]);
    let message = match message {
        "" => "Kling gave no reason",
        words => words,
    };
    let code = match (moderation, input) {
        (true, _) => "moderation",
        (false, true) => "invalid-request",
        (false, false) => KLING_FAILED,
    };
    TaskError {
        code: code.to_owned(),
        message: message.to_owned(),
        retryable: passes && code == KLING_FAILED,
    }
}
