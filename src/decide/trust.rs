//! Proof and binding of an observation: believe it, re-read first, ignore it, or set it aside.
//!
//! The receiver has established the *proof* (path, signature, or our own query). *Binding* is
//! whether the body speaks of the task whose address it came to. A signature proves that Kling sent
//! it, not that it is about this task; a capability path proves the address, not the sender. An
//! unsigned body is a hint: it moves nothing that matters before Kling confirms it over our own
//! connection, and the re-read asks for the task by *our* ids, never by an id from the body.
//!
//! How often a task may be re-read (once in 10 s) is the completer's to count.

use crate::model::ids::TaskId;
use crate::model::observation::{Observation, ObservedStatus, Proof};
use crate::model::task::Task;

/// What an unsigned callback is worth; mirrors `receiver.unsigned`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsignedPolicy {
    /// Confirm it by a query.
    Confirm,
    /// Believe it.
    Accept,
    /// It should not have come in at all.
    Reject,
}

/// What an observation is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// Take it for true.
    Believe,
    /// Ask Kling for this task by our ids, and believe that.
    ReReadFirst,
    /// Nothing to learn and nothing to look into.
    Ignore(&'static str),
    /// Kling sent something that does not fit: a person may want to see it.
    SetAside(&'static str),
}

/// Decides what an observation that came to `addressee` is worth. `task` is the addressee's state;
/// `None` where it has no history (any more).
///
/// | proof | bound | task | worth |
/// |---|---|---|---|
/// | any | yes | vanished | set aside: a history is never revived |
/// | signed, read | yes | any | believe |
/// | signed, read | no | any | set aside, without a query |
/// | unsigned | no | any | ignore |
/// | unsigned, `accept` | yes | any | believe |
/// | unsigned, `reject` | yes | any | ignore |
/// | unsigned, `confirm` | yes | ended | ignore: an ended task costs no query |
/// | unsigned, `confirm` | yes | before `submitted` | re-read: it would bind Kling's id |
/// | unsigned, `confirm` | yes, by another Kling id | at Kling | ignore |
/// | unsigned, `confirm` | yes | at Kling, seen unfinished | believe: `processing` binds nothing |
/// | unsigned, `confirm` | yes | at Kling, seen ended | re-read |
#[must_use]
pub fn believe(
    proof: Proof,
    policy: UnsignedPolicy,
    addressee: &TaskId,
    task: Option<&Task>,
    seen: &Observation,
) -> Belief {
    let bound = is_bound(addressee, task, seen);
    match (proof, bound) {
        (Proof::Signed | Proof::Read, false) => {
            Belief::SetAside("it speaks of another task than the one it came for")
        }
        (Proof::Unsigned, false) => {
            Belief::Ignore("unsigned, and it speaks of another task than the one it came for")
        }
        (Proof::Signed | Proof::Read, true) => match task {
            Some(_) => Belief::Believe,
            None => VANISHED,
        },
        (Proof::Unsigned, true) => match (policy, task) {
            (UnsignedPolicy::Reject, _) => Belief::Ignore("unsigned callbacks are refused"),
            (UnsignedPolicy::Confirm | UnsignedPolicy::Accept, None) => VANISHED,
            (UnsignedPolicy::Accept, Some(_)) => Belief::Believe,
            (UnsignedPolicy::Confirm, Some(task)) => confirm(task, seen),
        },
    }
}

const VANISHED: Belief = Belief::SetAside("its task has no history (any more)");

fn confirm(task: &Task, seen: &Observation) -> Belief {
    if task.status.is_terminal() {
        return Belief::Ignore("unsigned, and the task has ended");
    }
    match &task.kling_task_id {
        None => Belief::ReReadFirst,
        Some(id) if *id != seen.kling_task_id => {
            Belief::Ignore("unsigned, and it names another task at Kling")
        }
        Some(_) => match seen.status {
            ObservedStatus::Submitted | ObservedStatus::Processing => Belief::Believe,
            ObservedStatus::Succeeded | ObservedStatus::Failed => Belief::ReReadFirst,
        },
    }
}

/// The body names the addressee by our id, or by the Kling id that the addressee is known to have.
fn is_bound(addressee: &TaskId, task: Option<&Task>, seen: &Observation) -> bool {
    let by_our_id = seen.external_id.as_deref() == Some(addressee.as_str());
    let kling_id = task.and_then(|task| task.kling_task_id.as_ref());
    by_our_id || kling_id == Some(&seen.kling_task_id)
}
