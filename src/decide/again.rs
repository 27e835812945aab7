//! A failed task: whether it is tried again as a new task, and when.
//!
//! A retry has its own id and its own hold, and names the task before it. What a policy refused,
//! what is wrong with the request itself and what a caller cancelled is never tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::decide::progress::KLING_FAILED;
use crate::decide::retry::backoff;
use crate::model::ids::TaskId;
use crate::model::task::{Status, Task};

/// A failure that is older is not tried again.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// Why a task failed, as far as a retry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The same would fail again, or must not be asked again: policy, input, cancellation.
    Final,
    /// Kling took it and could not make it, for a reason that passes.
    Generation,
    /// Kling took it and could not make it, and nobody knows what its words mean: a policy may
    /// stand behind them.
    Unknown,
}

/// How often a failed task is tried again, by class, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Retries of a task that Kling could not make; 0 for none.
    pub generation_max: u32,
    /// Retries of a task that failed for a reason that nobody knows; 0 for none.
    pub unknown_max: u32,
    /// First wait; doubles with each retry.
    pub backoff_base: Duration,
    /// Longest wait.
    pub backoff_cap: Duration,
}

/// Returns why a task failed.
#[must_use]
pub fn class(task: &Task) -> FailureClass {
    // What is not named here is never tried again: a retry spends money.
    match task.error.as_ref() {
        Some(error) if error.code == KLING_FAILED && error.retryable => FailureClass::Generation,
        Some(error) if error.code == KLING_FAILED => FailureClass::Unknown,
        Some(_) | None => FailureClass::Final,
    }
}

/// Returns how long to wait before a failed task is tried again; `None` if it is not.
///
/// A rebuilt task has no request any more. What failed long ago was passed over then, or waits for
/// nobody: a stage that begins anew must not buy a month of old failures.
#[must_use]
pub fn wait_before_retry(task: &Task, policy: &RetryPolicy, now: Timestamp) -> Option<Duration> {
    let is_old = now.duration_since(task.occurred_at) > AGE_MAX;
    if task.status != Status::Failed || task.relay.rebuilt || is_old {
        return None;
    }
    let retries_max = match class(task) {
        FailureClass::Final => 0,
        FailureClass::Generation => policy.generation_max,
        FailureClass::Unknown => policy.unknown_max,
    };
    let retry = task.relay.retries.saturating_add(1);
    // Redelivered, it must come to the same time: no jitter.
    let wait = || backoff(retry, policy.backoff_base, policy.backoff_cap, 0.0);
    (retry <= retries_max).then(wait)
}

/// Returns the id of the next retry of a task: the same however often it is asked for.
#[must_use]
pub fn retry_id(task: &Task) -> TaskId {
    let cause = format!("{}\n{}", task.task_id, task.relay.retries + 1);
    TaskId::derived(&task.tenant, "retry", &cause)
}
