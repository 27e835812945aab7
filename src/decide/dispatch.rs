//! The steps of a dispatch as events: claimed, given back, created, refused.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::decide::{quiet, retry};
use crate::model::event::{EventKind, NewEvent};
use crate::model::ids::KlingTaskId;
use crate::model::task::{Claim, Status, Task, TaskError};

/// Tells whether a dispatcher may take the task now.
#[must_use]
pub fn may_take(task: &Task, now: Timestamp) -> bool {
    let waits = match task.status {
        Status::Requested | Status::Dispatching => true,
        Status::Submitted | Status::Processing | Status::Succeeded | Status::Failed => false,
    };
    let claimed = task
        .relay
        .claim
        .as_ref()
        .is_some_and(|claim| claim.until > now);
    let early = task.relay.not_before.is_some_and(|at| at > now);
    // What an earlier result answers is never sent to Kling.
    // So is what Kling has already, though the log has lost how.
    waits && !claimed && !early && task.reused_from.is_none() && !task.relay.rebuilt
}

/// Claims a task: from here on a create may reach Kling, whatever becomes of us.
#[must_use]
pub fn claimed(task: &Task, claim_id: String, lease: Duration, now: Timestamp) -> NewEvent {
    let mut after = dispatching(task, now);
    after.relay.attempts += 1;
    after.relay.not_before = None;
    after.relay.may_exist = true;
    let until = now + SignedDuration::try_from(lease).unwrap_or_default();
    after.relay.claim = Some(Claim {
        id: claim_id,
        until,
    });
    event(after)
}

/// Gives a claim back, to be tried again after `wait`.
///
/// `may_exist` tells whether a create may have reached Kling; then it is looked up first, for the
/// `lookups`-th time since.
#[must_use]
pub fn given_back(
    task: &Task,
    may_exist: bool,
    lookups: u32,
    wait: Duration,
    now: Timestamp,
) -> NewEvent {
    let mut after = dispatching(task, now);
    after.relay.claim = None;
    after.relay.may_exist = may_exist;
    after.relay.lookups = lookups;
    after.relay.not_before = Some(now + SignedDuration::try_from(wait).unwrap_or_default());
    event(after)
}

/// What becomes of a task whose request has expired from the log: nobody can create it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Kling never had it: it fails, and its hold is voided.
    Fails(TaskError),
    /// Kling may have it: its hold closes on evidence only, so it is looked up for ever, ever less
    /// often.
    LooksAgain {
        /// How many look-ups there were, this one included.
        lookups: u32,
        /// Until the next one: at most an hour.
        wait: Duration,
    },
}

/// Decides what becomes of a task whose request has expired, after a look-up in vain if
/// `sent_before` tells that an earlier create may have reached Kling.
#[must_use]
pub fn request_expired(task: &Task, sent_before: bool, lookup_delay: Duration) -> Expired {
    if sent_before {
        let lookups = task.relay.lookups + 1;
        let cap = quiet::ASK_GAP_MAX.unsigned_abs().max(lookup_delay);
        let wait = retry::backoff(lookups, lookup_delay, cap, 0.0);
        return Expired::LooksAgain { lookups, wait };
    }
    Expired::Fails(TaskError {
        code: "expired".to_owned(),
        message: "it could not be dispatched in all the time that its request was kept \
                  (retention.tasks); Kling never had it, so submit it again"
            .to_owned(),
        retryable: true,
    })
}

/// Kling created it.
#[must_use]
pub fn submitted(task: &Task, kling_task_id: KlingTaskId, now: Timestamp) -> NewEvent {
    let mut after = ended_dispatch(task, now);
    after.status = Status::Submitted;
    after.relay.submitted_at = Some(now);
    after.kling_task_id = Some(kling_task_id);
    NewEvent::plain(EventKind::Submitted, 1, after)
}

/// Kling will never create it: evidence that nothing was deducted.
#[must_use]
pub fn refused(task: &Task, error: TaskError, now: Timestamp) -> NewEvent {
    let mut after = ended_dispatch(task, now);
    after.status = Status::Failed;
    after.error = Some(error);
    after.billing = Some(Vec::new());
    NewEvent::plain(EventKind::Failed, 1, after)
}

fn dispatching(task: &Task, now: Timestamp) -> Task {
    let mut after = task.clone();
    if after.status == Status::Requested {
        after.relay.changed_at = now;
    }
    after.status = Status::Dispatching;
    after.occurred_at = now;
    after.relay.dispatching += 1;
    after
}

fn ended_dispatch(task: &Task, now: Timestamp) -> Task {
    let mut after = task.clone();
    after.occurred_at = now;
    after.relay.changed_at = now;
    after.relay.claim = None;
    after.relay.may_exist = false;
    after.relay.not_before = None;
    after
}

fn event(task: Task) -> NewEvent {
    NewEvent::plain(EventKind::Dispatching, task.relay.dispatching, task)
}
