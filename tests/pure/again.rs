//! Failed tasks: which are tried again, how often, and which never.

use std::time::Duration;

use jiff::SignedDuration;
use kling_relay::decide::again::{FailureClass, RetryPolicy, class, wait_before_retry};
use kling_relay::model::task::{Status, Task, TaskError};

use crate::a_task::task;

const SOON: SignedDuration = SignedDuration::from_mins(1);
const POLICY: RetryPolicy = RetryPolicy {
    generation_max: 2,
    unknown_max: 1,
    backoff_base: Duration::from_secs(30),
    backoff_cap: Duration::from_secs(45),
};

fn failed(code: &str, retryable: bool) -> Task {
    let mut task = task(Status::Failed);
    task.error = Some(TaskError {
        code: code.to_owned(),
        message: "words".to_owned(),
        retryable,
    });
    task
}

fn wait(task: &Task, policy: &RetryPolicy, later: SignedDuration) -> Option<Duration> {
    wait_before_retry(task, policy, task.occurred_at + later)
}

#[test]
fn only_what_kling_could_not_make_is_tried_again() {
    let classes = [
        ("kling-failed", true, FailureClass::Generation),
        ("kling-failed", false, FailureClass::Unknown),
        ("moderation", false, FailureClass::Final),
        // Whoever says that it could go better: a policy is a policy.
        ("moderation", true, FailureClass::Final),
        ("invalid-request", false, FailureClass::Final),
        ("cancelled", true, FailureClass::Final),
        ("expired", true, FailureClass::Final),
        ("idempotency-key-reused", false, FailureClass::Final),
        ("reused-result-gone", true, FailureClass::Final),
        ("kling-1301", false, FailureClass::Final),
        ("a-code-of-a-later-version", true, FailureClass::Final),
    ];
    for (code, retryable, expected) in classes {
        let task = failed(code, retryable);
        assert_eq!(class(&task), expected, "{code}");
        let tried = wait(&task, &POLICY, SOON).is_some();
        assert_eq!(tried, expected != FailureClass::Final, "{code}");
    }
}

#[test]
fn each_class_has_its_own_bound_and_waits_grow() {
    let mut passing = failed("kling-failed", true);
    let mut waits = Vec::new();
    for retries in 0..4 {
        passing.relay.retries = retries;
        waits.push(wait(&passing, &POLICY, SOON).map(|wait| wait.as_secs()));
    }
    assert_eq!(waits, [Some(30), Some(45), None, None]);
    let mut unknown = failed("kling-failed", false);
    unknown.relay.retries = 1;
    assert_eq!(wait(&unknown, &POLICY, SOON), None);
    let off = RetryPolicy {
        generation_max: 0,
        unknown_max: 0,
        ..POLICY
    };
    assert_eq!(wait(&failed("kling-failed", true), &off, SOON), None);
}

#[test]
fn what_is_old_rebuilt_or_not_failed_is_not_bought_again() {
    let task = failed("kling-failed", true);
    let day = SignedDuration::from_hours(24);
    assert!(wait(&task, &POLICY, day).is_some());
    assert_eq!(wait(&task, &POLICY, day + SOON), None);
    // A clock that was put back.
    assert!(wait(&task, &POLICY, -day).is_some());
    let mut rebuilt = task.clone();
    rebuilt.relay.rebuilt = true;
    assert_eq!(wait(&rebuilt, &POLICY, SOON), None);
    let mut made = task;
    made.status = Status::Succeeded;
    assert_eq!(wait(&made, &POLICY, SOON), None);
}
