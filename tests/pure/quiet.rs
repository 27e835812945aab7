//! How long a task may be silent.

use jiff::{SignedDuration, Timestamp};
use kling_relay::decide::quiet::{ASK_GAP_MAX, STALLED_GAP_MAX, ask_at, stalled, stalled_at};
use kling_relay::model::event::EventKind;
use kling_relay::model::task::Status;
use proptest::prelude::*;

use crate::a_task::task;

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(seconds)
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[test]
fn kling_is_asked_after_the_silence_and_then_ever_more_rarely() {
    let after = seconds(300);
    assert_eq!(ask_at(at(0), None, 0, after), at(300));
    assert_eq!(ask_at(at(0), Some(at(300)), 1, after), at(600));
    assert_eq!(ask_at(at(0), Some(at(600)), 2, after), at(1_200));
    assert_eq!(ask_at(at(0), Some(at(1_200)), 3, after), at(2_400));
    let late = ask_at(at(0), Some(at(9_000)), 9, after);
    assert_eq!(late.duration_since(at(9_000)), ASK_GAP_MAX);
}

#[test]
fn a_report_comes_after_the_silence_and_then_ever_more_rarely() {
    let after = seconds(600);
    assert_eq!(stalled_at(at(0), None, None, 0, after), at(600));
    assert_eq!(stalled_at(at(0), None, Some(at(600)), 1, after), at(1_800));
    assert_eq!(
        stalled_at(at(0), None, Some(at(1_800)), 2, after),
        at(4_200)
    );
    let late = stalled_at(at(0), None, Some(at(9_000)), 30, after);
    assert_eq!(late.duration_since(at(9_000)), STALLED_GAP_MAX);
}

#[test]
fn a_task_that_is_to_wait_is_not_silent_until_then() {
    assert_eq!(
        stalled_at(at(0), Some(at(5_000)), None, 0, seconds(600)),
        at(5_600)
    );
    assert_eq!(
        stalled_at(at(0), Some(at(5)), None, 0, seconds(600)),
        at(605)
    );
}

#[test]
fn a_report_changes_nothing_but_the_report() {
    let before = task(Status::Processing);
    let event = stalled(&before, at(7_000));
    assert_eq!(event.kind, EventKind::Stalled);
    let mut after = event.body.task;
    assert_eq!(
        (after.relay.stalled, after.relay.stalled_at),
        (1, Some(at(7_000)))
    );
    after.relay.stalled = before.relay.stalled;
    after.relay.stalled_at = before.relay.stalled_at;
    after.occurred_at = before.occurred_at;
    assert_eq!(after, before);
}

proptest! {
    #[test]
    fn gaps_only_grow_and_have_a_bound(times in 0..200u32, after_s in 1..600_000i64) {
        let after = seconds(after_s);
        let ask = |times| ask_at(at(0), Some(at(0)), times, after).duration_since(at(0));
        prop_assert!(ask(times) <= ask(times + 1));
        prop_assert!(ask(times) <= ASK_GAP_MAX && ask(times) > SignedDuration::ZERO);
        let report = |times| stalled_at(at(0), None, Some(at(0)), times, after);
        let report = |times| report(times).duration_since(at(0));
        prop_assert!(report(times) <= report(times + 1));
        prop_assert!(report(times) <= STALLED_GAP_MAX && report(times) > SignedDuration::ZERO);
    }
}
