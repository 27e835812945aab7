//! A failed task: whether it is tried again as a new task, and when.
//!
//! A retry has its own id and its own hold, and names the task before it. What a policy refused,
//! what is wrong with the request itself and what a caller cancelled is never tried again.

use std::time::Duration;

use crate::decide::retry::backoff;
use crate::model::ids::TaskId;
use crate::model::task::{Status, Task};

/// Why a task failed, as far as a retry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The same would fail again, or must not be asked again: policy, input, cancellation.
    Final,
    /// Kling took it and could not make it.
    Generation,
    /// Kling would not take it for a reason that passes: its service, the account.
    Service,
}

/// How often a failed task is tried again, by class, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Retries of a task that Kling could not make; 0 for none.
    pub generation_max: u32,
    /// Retries of a task that Kling would not take; 0 for none.
    pub service_max: u32,
    /// First wait; doubles with each retry.
    pub backoff_base: Duration,
    /// Longest wait.
    pub backoff_cap: Duration,
}

/// Returns why a task failed.
#[must_use]
pub fn class(task: &Task) -> FailureClass {
    let Some(error) = task.error.as_ref().filter(|error| error.retryable) else {
        return FailureClass::Final;
    };
    match error.code.as_str() {
        "moderation" | "cancelled" | "expired" | "invalid-request" | "idempotency-key-reused" => {
            FailureClass::Final
        }
        "kling-failed" => FailureClass::Generation,
        _ => FailureClass::Service,
    }
}

/// Returns how long to wait before a failed task is tried again; `None` if it is not.
#[must_use]
pub fn wait_before_retry(task: &Task, policy: &RetryPolicy) -> Option<Duration> {
    if task.status != Status::Failed {
        return None;
    }
    let retries_max = match class(task) {
        FailureClass::Final => 0,
        FailureClass::Generation => policy.generation_max,
        FailureClass::Service => policy.service_max,
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
