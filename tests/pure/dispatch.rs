//! The steps of a dispatch: who may take a task, and what each step leaves behind.

use std::time::Duration;

use jiff::SignedDuration;
use kling_relay::decide::dispatch::{
    Expired, claimed, given_back, may_take, refused, request_expired, submitted,
};
use kling_relay::model::event::EventKind;
use kling_relay::model::task::{Status, TaskError};
use proptest::prelude::*;

use crate::a_task::{kling_id, requested_at, task};

const LEASE: Duration = Duration::from_secs(60);

#[test]
fn only_what_waits_and_is_nobodys_may_be_taken() {
    let now = requested_at() + SignedDuration::from_secs(10);
    for status in Status::ALL {
        let mut task = task(status);
        task.relay.claim = None;
        let waits = matches!(status, Status::Requested | Status::Dispatching);
        assert_eq!(may_take(&task, now), waits, "{status:?}");
        task.relay.not_before = Some(now + SignedDuration::from_secs(1));
        assert!(!may_take(&task, now), "{status:?} is too early");
        task.relay.not_before = Some(now);
        assert_eq!(may_take(&task, now), waits, "{status:?} is due");
    }
}

#[test]
fn a_claim_holds_until_its_lease_ends_and_no_longer() {
    let now = requested_at();
    let taken = claimed(&task(Status::Requested), "a".to_owned(), LEASE, now)
        .body
        .task;
    let at = |seconds| now + SignedDuration::from_secs(seconds);
    assert!(!may_take(&taken, at(59)));
    assert!(may_take(&taken, at(60)));
}

#[test]
fn from_the_claim_on_kling_may_have_it() {
    let now = requested_at() + SignedDuration::from_secs(3);
    let fresh = task(Status::Requested);
    let event = claimed(&fresh, "a".to_owned(), LEASE, now);
    let taken = event.body.task;
    assert_eq!(
        (event.kind, taken.status),
        (EventKind::Dispatching, Status::Dispatching)
    );
    assert!(taken.relay.may_exist);
    assert_eq!(taken.relay.attempts, fresh.relay.attempts + 1);
    assert_eq!(taken.relay.changed_at, now);
}

#[test]
fn a_claim_given_back_waits_and_remembers_what_may_be() {
    let now = requested_at();
    let taken = claimed(&task(Status::Requested), "a".to_owned(), LEASE, now)
        .body
        .task;
    for may_exist in [true, false] {
        let wait = Duration::from_secs(5);
        let back = given_back(&taken, may_exist, 2, wait, now).body.task;
        assert_eq!((back.relay.may_exist, back.relay.lookups), (may_exist, 2));
        assert_eq!(back.relay.claim, None);
        assert!(!may_take(&back, now + SignedDuration::from_secs(4)));
        assert!(may_take(&back, now + SignedDuration::from_secs(5)));
    }
}

#[test]
fn a_request_that_expired_fails_only_what_kling_never_had() {
    let base = Duration::from_secs(10);
    let mut task = task(Status::Dispatching);
    match request_expired(&task, false, base) {
        Expired::Fails(error) => {
            assert_eq!((error.code.as_str(), error.retryable), ("expired", true))
        }
        Expired::LooksAgain { .. } => panic!("Kling never had it"),
    }
    for (before, seconds) in [(0, 10), (1, 20), (5, 320), (9, 3_600), (1_000, 3_600)] {
        task.relay.lookups = before;
        let wait = Duration::from_secs(seconds);
        let lookups = before + 1;
        assert_eq!(
            request_expired(&task, true, base),
            Expired::LooksAgain { lookups, wait }
        );
    }
}

#[test]
fn an_end_of_the_dispatch_leaves_nothing_of_it() {
    let now = requested_at() + SignedDuration::from_secs(7);
    let taken = claimed(&task(Status::Requested), "a".to_owned(), LEASE, now)
        .body
        .task;
    let made = submitted(&taken, kling_id(), now);
    assert_eq!(made.kind, EventKind::Submitted);
    assert_eq!(made.body.task.kling_task_id, Some(kling_id()));
    let error = TaskError {
        code: "kling-1300".to_owned(),
        message: "refused".to_owned(),
        retryable: false,
    };
    let never = refused(&taken, error, now);
    assert_eq!(never.kind, EventKind::Failed);
    assert_eq!(
        never.body.task.billing,
        Some(Vec::new()),
        "evidence that it cost nothing"
    );
    for task in [made.body.task, never.body.task] {
        assert_eq!((task.relay.claim, task.relay.not_before), (None, None));
        assert!(!task.relay.may_exist);
        assert_eq!(task.relay.changed_at, now);
    }
}

proptest! {
    #[test]
    fn each_step_is_an_event_of_its_own(steps in prop::collection::vec(any::<bool>(), 1..20)) {
        let now = requested_at();
        let mut state = task(Status::Requested);
        let mut seen = std::collections::HashSet::new();
        for claim in steps {
            let event = if claim {
                claimed(&state, "a".to_owned(), LEASE, now)
            } else {
                given_back(&state, false, 0, LEASE, now)
            };
            state = event.body.task;
            prop_assert!(seen.insert(state.relay.dispatching), "the count is the event's identity");
            prop_assert!(state.status == Status::Dispatching);
        }
    }
}
