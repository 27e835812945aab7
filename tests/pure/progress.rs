//! Observations in any order and number: one way forward, one ending.

use jiff::{SignedDuration, Timestamp};
use kling_relay::decide::progress::{Contradiction, LastWord, Missing, Progress, next};
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::event::{EventKind, NewEvent};
use kling_relay::model::ids::KlingTaskId;
use kling_relay::model::observation::{Observation, ObservedStatus, Output, SignedUrl};
use kling_relay::model::task::{Status, Task, TaskError};
use proptest::prelude::*;

use crate::a_task::{kling_id, observation, requested_at, task};

fn later(seconds: i64) -> Timestamp {
    requested_at() + SignedDuration::from_secs(seconds)
}

fn decide(task: &Task, seen: &Observation) -> Progress {
    next(task, seen, LastWord::No, later(9))
}

#[track_caller]
fn committed(progress: Progress) -> NewEvent {
    match progress {
        Progress::Commit(event) => event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_callback_that_beats_the_create_submits_first() {
    for status in [Status::Requested, Status::Dispatching] {
        let submitted = committed(decide(
            &task(status),
            &observation(ObservedStatus::Submitted),
        ));
        assert_eq!(submitted.kind, EventKind::Submitted);
        for seen in [
            ObservedStatus::Processing,
            ObservedStatus::Succeeded,
            ObservedStatus::Failed,
        ] {
            let progress = decide(&task(status), &observation(seen));
            assert_eq!(
                progress,
                Progress::CommitThenAgain(submitted.clone()),
                "{seen:?}"
            );
        }
    }
}

#[test]
fn submitted_leaves_nothing_of_the_dispatch() {
    let seen = observation(ObservedStatus::Submitted);
    let event = committed(decide(&task(Status::Dispatching), &seen));
    let after = event.body.task;
    assert_eq!(after.kling_task_id, Some(kling_id()));
    assert_eq!(after.status, Status::Submitted);
    assert_eq!(
        (after.occurred_at, after.relay.changed_at),
        (later(9), later(9))
    );
    assert_eq!((after.relay.claim, after.relay.not_before), (None, None));
    assert!(!after.relay.may_exist);
}

#[test]
fn a_rebuilt_tasks_records_stand_until_kling_shows_a_bill() {
    let recorded = Some(vec![Amount::new(9.into(), Unit::Video)]);
    let mut rebuilt = task(Status::Submitted);
    rebuilt.billing.clone_from(&recorded);
    let mut seen = observation(ObservedStatus::Failed);
    let billed = committed(decide(&rebuilt, &seen)).body.task.billing;
    assert_eq!(billed, seen.billing);
    seen.billing = None;
    let last = next(&rebuilt, &seen, LastWord::Yes, later(9));
    assert_eq!(committed(last).body.task.billing, recorded);
}

#[test]
fn a_success_carries_results_and_bill() {
    let mut seen = observation(ObservedStatus::Succeeded);
    seen.outputs.push(Output {
        kind: "element".to_owned(),
        id: Some("7".to_owned()),
        url: SignedUrl(String::new()),
        duration: None,
    });
    let event = committed(decide(&task(Status::Submitted), &seen));
    assert_eq!((event.kind, event.n), (EventKind::Succeeded, 1));
    assert_eq!(event.body.outputs, seen.outputs);
    let after = event.body.task;
    assert_eq!(after.status, Status::Succeeded);
    assert_eq!(
        after.billing,
        Some(vec![Amount::new(2.into(), Unit::Video)])
    );
    // An element is nothing to store.
    assert_eq!((after.relay.outputs, after.error), (1, None));
}

#[test]
fn a_failure_says_why_and_whether_to_try_again() {
    let check = |message: &str, code: &str, retryable: bool| {
        let seen = Observation {
            message: message.to_owned(),
            ..observation(ObservedStatus::Failed)
        };
        let event = committed(decide(&task(Status::Processing), &seen));
        assert_eq!(event.kind, EventKind::Failed);
        assert!(event.body.outputs.is_empty());
        let message = if message.is_empty() {
            "Kling gave no reason"
        } else {
            message
        };
        let message = message.to_owned();
        let expected = TaskError {
            code: code.to_owned(),
            message,
            retryable,
        };
        assert_eq!(event.body.task.error, Some(expected));
        assert_eq!(event.body.task.relay.outputs, 0);
    };
    check(
        "Failure to pass the risk control system",
        "moderation",
        false,
    );
    check("the prompt holds sensitive words", "moderation", false);
    let unreachable = "Something went wrong when we tried to get the contents of the file.";
    check(unreachable, "kling-failed", true);
    check(
        "Image resolution must be at least 300px",
        "invalid-request",
        false,
    );
    check("Internal error, please try again", "kling-failed", true);
    check("This violates our terms. Try again.", "moderation", false);
    // Nobody knows what stands behind it.
    check("", "kling-failed", false);
    check("the stars are not right", "kling-failed", false);
}

#[test]
fn an_ending_without_bill_or_results_is_read_again_once() {
    let at_kling = task(Status::Submitted);
    let unbilled = |status| Observation {
        billing: None,
        ..observation(status)
    };
    let missing = Progress::ReReadFirst(Missing::Billing);
    for status in [ObservedStatus::Succeeded, ObservedStatus::Failed] {
        assert_eq!(decide(&at_kling, &unbilled(status)), missing);
        let event = committed(next(&at_kling, &unbilled(status), LastWord::Yes, later(9)));
        assert_eq!(event.body.task.billing, None);
    }
    let empty = Observation {
        outputs: Vec::new(),
        ..observation(ObservedStatus::Succeeded)
    };
    assert_eq!(
        decide(&at_kling, &empty),
        Progress::ReReadFirst(Missing::Outputs)
    );
    let event = committed(next(&at_kling, &empty, LastWord::Yes, later(9)));
    assert_eq!(event.kind, EventKind::Succeeded);
    assert_eq!(event.body.task.relay.outputs, 0);
}

#[test]
fn what_cannot_be_is_reported_and_changes_nothing() {
    let check = |task: &Task, seen: &Observation, expected| {
        assert_eq!(decide(task, seen), Progress::Contradiction(expected));
    };
    let other = Observation {
        kling_task_id: KlingTaskId::parse("999").unwrap(),
        ..observation(ObservedStatus::Processing)
    };
    for status in [
        Status::Submitted,
        Status::Processing,
        Status::Succeeded,
        Status::Failed,
    ] {
        check(&task(status), &other, Contradiction::OtherKlingTask);
    }
    let failed = observation(ObservedStatus::Failed);
    check(
        &task(Status::Succeeded),
        &failed,
        Contradiction::OtherEnding,
    );
    let succeeded = observation(ObservedStatus::Succeeded);
    check(
        &task(Status::Failed),
        &succeeded,
        Contradiction::OtherEnding,
    );
    let cancelled = Task {
        kling_task_id: None,
        ..task(Status::Failed)
    };
    for seen in [ObservedStatus::Submitted, ObservedStatus::Failed] {
        check(&cancelled, &observation(seen), Contradiction::MadeAfterAll);
    }
}

/// Feeds observations as the completer does: commits, decides again, reads again once.
fn feed(task: &mut Task, seen: &Observation, events: &mut Vec<NewEvent>, at: i64) {
    let mut last_word = LastWord::No;
    loop {
        match next(task, seen, last_word, later(at)) {
            Progress::Commit(event) => {
                *task = event.body.task.clone();
                events.push(event);
                return;
            }
            Progress::CommitThenAgain(event) => {
                *task = event.body.task.clone();
                events.push(event);
            }
            Progress::ReReadFirst(_) => {
                assert_eq!(last_word, LastWord::No, "a last word is read again");
                last_word = LastWord::Yes;
            }
            Progress::NothingNew | Progress::Contradiction(_) => return,
        }
    }
}

fn any_observation(endings: &'static [ObservedStatus]) -> impl Strategy<Value = Observation> {
    let early = [ObservedStatus::Submitted, ObservedStatus::Processing];
    let statuses: Vec<_> = early.iter().chain(endings).copied().collect();
    (prop::sample::select(statuses), any::<bool>(), any::<bool>()).prop_map(
        |(status, billed, complete)| {
            let mut seen = observation(status);
            if !billed {
                seen.billing = None;
            }
            if !complete {
                seen.outputs.clear();
            }
            seen
        },
    )
}

fn run(seen: &[Observation], from: Status) -> (Task, Vec<NewEvent>) {
    let mut task = task(from);
    let mut events = Vec::new();
    for (at, seen) in (1..).zip(seen) {
        let before = task.clone();
        feed(&mut task, seen, &mut events, at);
        assert!(task.status.rank() >= before.status.rank(), "status fell");
        if before.status.is_terminal() {
            assert_eq!(task, before, "an ended task changed");
        }
    }
    (task, events)
}

fn check_laws(task: &Task, events: &[NewEvent]) {
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    let count = |kind: EventKind| kinds.iter().filter(|k| **k == kind).count();
    let endings = count(EventKind::Succeeded) + count(EventKind::Failed);
    assert_eq!(endings, usize::from(task.status.is_terminal()), "{kinds:?}");
    assert!(
        count(EventKind::Submitted) <= 1 && count(EventKind::Processing) <= 1,
        "{kinds:?}"
    );
    // The kinds stand in the order of a task's life, so `submitted` comes before the ending.
    assert!(kinds.is_sorted(), "{kinds:?}");
    assert!(
        kinds.is_empty() || kinds[0] == EventKind::Submitted,
        "{kinds:?}"
    );
    for event in events {
        assert_eq!(event.n, 1);
        assert_eq!(event.body.task.kling_task_id, Some(kling_id()));
    }
}

proptest! {
    #[test]
    fn any_order_and_repetition_gives_the_same_ending(
        mut seen in prop::collection::vec(any_observation(&[ObservedStatus::Succeeded]), 0..12),
        from in prop::sample::select(vec![Status::Requested, Status::Dispatching]),
        ending in any::<prop::sample::Index>(),
    ) {
        let place = ending.index(seen.len() + 1);
        seen.insert(place, observation(ObservedStatus::Succeeded));
        let (task, events) = run(&seen, from);
        check_laws(&task, &events);
        prop_assert_eq!(task.status, Status::Succeeded);
    }

    #[test]
    fn even_a_platform_that_contradicts_itself_ends_a_task_once(
        seen in prop::collection::vec(
            any_observation(&[ObservedStatus::Succeeded, ObservedStatus::Failed]),
            0..12,
        ),
    ) {
        let (task, events) = run(&seen, Status::Dispatching);
        check_laws(&task, &events);
        let first = seen.iter().find_map(|seen| match seen.status {
            ObservedStatus::Succeeded => Some(Status::Succeeded),
            ObservedStatus::Failed => Some(Status::Failed),
            ObservedStatus::Submitted | ObservedStatus::Processing => None,
        });
        if let Some(first) = first {
            prop_assert_eq!(task.status, first);
        }
    }
}
