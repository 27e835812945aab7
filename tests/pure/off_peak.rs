//! The off-peak window: which moments it holds, over midnight and over changes of the clocks.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kling_relay::decide::off_peak::{OffPeak, ready_at};
use kling_relay::decide::reuse::Rules;
use kling_relay::decide::schedule::Waiting;
use kling_relay::model::event::EventKind;
use kling_relay::model::ids::TaskId;
use kling_relay::model::task::Status;
use kling_relay::model::window::DayWindow;
use kling_relay::stage::views::Fold;
use proptest::prelude::*;

use crate::a_task::task;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(text: &str, zone: &str) -> OffPeak {
    let window: DayWindow = text.parse().unwrap();
    OffPeak::new(window, TimeZone::get(zone).unwrap())
}

#[track_caller]
fn check(window: &OffPeak, moment: &str, expected: &str) {
    assert_eq!(window.first_from(at(moment)), at(expected), "from {moment}");
}

#[test]
fn inside_is_at_once_and_outside_is_the_next_start() {
    let night = window("22:00-06:00", "UTC");
    check(&night, "2026-11-21T12:00:00Z", "2026-11-21T22:00:00Z");
    check(&night, "2026-11-21T21:59:59.999Z", "2026-11-21T22:00:00Z");
    check(&night, "2026-11-21T22:00:00Z", "2026-11-21T22:00:00Z");
    check(&night, "2026-11-22T05:59:59Z", "2026-11-22T05:59:59Z");
    check(&night, "2026-11-22T06:00:00Z", "2026-11-22T22:00:00Z");
    let day = window("09:30-17:00", "Asia/Kolkata");
    check(&day, "2026-11-21T03:59:59Z", "2026-11-21T04:00:00Z");
    check(&day, "2026-11-21T11:29:00Z", "2026-11-21T11:29:00Z");
    check(&day, "2026-11-21T11:30:00Z", "2026-11-22T04:00:00Z");
    // A year's end.
    check(&night, "2026-12-31T23:30:00Z", "2026-12-31T23:30:00Z");
    check(&night, "2027-01-01T06:30:00Z", "2027-01-01T22:00:00Z");
}

#[test]
fn clocks_that_change_at_night_move_the_ends_with_the_wall_clock() {
    // Berlin: forward at 02:00 on 2026-03-29, back at 03:00 on 2026-10-25.
    let night = window("22:00-06:00", "Europe/Berlin");
    check(&night, "2026-03-28T12:00:00Z", "2026-03-28T21:00:00Z");
    check(&night, "2026-03-29T03:59:59Z", "2026-03-29T03:59:59Z");
    check(&night, "2026-03-29T04:00:00Z", "2026-03-29T20:00:00Z");
    check(&night, "2026-10-24T19:59:59Z", "2026-10-24T20:00:00Z");
    check(&night, "2026-10-25T04:59:59Z", "2026-10-25T04:59:59Z");
    check(&night, "2026-10-25T05:00:00Z", "2026-10-25T21:00:00Z");
    // A start that is skipped: 02:30 is shown as 03:30.
    let skipped = window("02:30-04:00", "Europe/Berlin");
    check(&skipped, "2026-03-29T00:00:00Z", "2026-03-29T01:30:00Z");
    check(&skipped, "2026-03-29T02:00:00Z", "2026-03-30T00:30:00Z");
    // A window that is swallowed whole: the next night's.
    let swallowed = window("02:15-03:00", "Europe/Berlin");
    check(&swallowed, "2026-03-29T00:00:00Z", "2026-03-30T00:15:00Z");
    // A window that is shown twice holds the first time.
    let twice = window("02:15-02:45", "Europe/Berlin");
    check(&twice, "2026-10-24T23:00:00Z", "2026-10-25T00:15:00Z");
    check(&twice, "2026-10-25T01:20:00Z", "2026-10-26T01:15:00Z");
}

#[test]
fn a_day_that_a_zone_skips_is_passed_over() {
    // Samoa went from 2011-12-29 to 2011-12-31.
    let noon = window("12:00-13:00", "Pacific/Apia");
    check(&noon, "2011-12-29T23:30:00Z", "2011-12-30T22:00:00Z");
    check(&noon, "2011-12-30T23:30:00Z", "2011-12-31T22:00:00Z");
}

#[test]
fn only_what_wants_the_window_waits_for_it() {
    let night = window("22:00-06:00", "UTC");
    let (noon, ten) = (at("2026-11-21T12:00:00Z"), at("2026-11-21T22:00:00Z"));
    let one = at("2026-11-21T13:00:00Z");
    let late = at("2026-11-21T23:00:00Z");
    assert_eq!(ready_at(Some(&night), true, false, None, noon), Some(ten));
    assert_eq!(
        ready_at(Some(&night), true, false, Some(one), noon),
        Some(ten)
    );
    assert_eq!(
        ready_at(Some(&night), true, false, Some(late), noon),
        Some(late)
    );
    assert_eq!(
        ready_at(Some(&night), false, false, Some(one), noon),
        Some(one)
    );
    assert_eq!(ready_at(Some(&night), false, false, None, noon), None);
    assert_eq!(ready_at(None, true, false, Some(one), noon), Some(one));
    // What may be at Kling is looked up at once.
    assert_eq!(ready_at(Some(&night), true, true, None, noon), None);
}

fn sharing() -> Rules {
    Rules::new(Duration::from_secs(60), Duration::from_secs(60))
}

/// Who waits for the night does not make those wait that could share its result by day.
#[test]
fn a_task_of_the_night_does_not_hold_up_one_of_the_day() {
    let night = window("22:00-06:00", "UTC");
    let mut fold = Fold::default();
    let ids = [
        "team-a_01j5zx8q4kfw2m6r7t9v0bcdeg",
        "team-a_01j5zx8q4kfw2m6r7t9v0bcdeh",
    ];
    for (place, id) in (1..).zip(ids) {
        let mut waits = task(Status::Requested);
        waits.task_id = TaskId::parse(id).unwrap();
        waits.relay.off_peak = place == 1;
        (waits.relay.claim, waits.relay.not_before) = (None, None);
        (waits.relay.reuse.key, waits.relay.reuse.asked) = ("a".repeat(64), true);
        fold.apply(&waits, Some(EventKind::Requested), place);
    }
    let ready = |now: &str| {
        let now = at(now);
        let possible = fold.dispatchable(now, &sharing(), Some(&night), |_| false);
        let ready = |task: &&Waiting| task.ready_at.is_none_or(|at| at <= now);
        let ready = possible.waiting.iter().filter(ready);
        ready.map(|task| task.requested_seq).collect::<Vec<_>>()
    };
    assert_eq!(ready("2026-11-02T12:00:00Z"), [2]);
    assert_eq!(
        ready("2026-11-02T23:00:00Z"),
        [1],
        "the first is made, the second shares it"
    );
}

/// A task that found no slot in its window waits for the next one.
#[test]
fn a_missed_window_is_followed_by_the_next() {
    let night = window("22:00-06:00", "UTC");
    let mut waits = task(Status::Requested);
    waits.relay.off_peak = true;
    waits.relay.claim = None;
    waits.relay.not_before = Some(at("2026-11-01T22:00:00Z"));
    let mut fold = Fold::default();
    fold.apply(&waits, Some(EventKind::Requested), 1);
    let ready_at = |now: &str| {
        let possible = fold.dispatchable(at(now), &sharing(), Some(&night), |_| false);
        possible.waiting[0].ready_at.unwrap()
    };
    assert_eq!(ready_at("2026-11-01T12:00:00Z"), at("2026-11-01T22:00:00Z"));
    assert!(ready_at("2026-11-02T05:59:00Z") <= at("2026-11-02T05:59:00Z"));
    assert_eq!(ready_at("2026-11-02T06:00:00Z"), at("2026-11-02T22:00:00Z"));
    let waiting = fold
        .dispatchable(at("2026-11-02T06:00:00Z"), &sharing(), None, |_| false)
        .waiting;
    assert_eq!(
        waiting[0].ready_at, waits.relay.not_before,
        "no window any more"
    );
}

#[test]
fn windows_are_read_and_written_the_same() {
    for text in ["22:00-06:00", "00:00-00:01", "09:30-17:00"] {
        let window: DayWindow = text.parse().unwrap();
        assert_eq!(window.to_string(), text);
    }
    for text in [
        "",
        "22:00",
        "22-6",
        "22:00-22:00",
        "24:00-06:00",
        "22:0-6:00",
        "22:00–06:00",
    ] {
        assert!(text.parse::<DayWindow>().is_err(), "{text}");
    }
}

proptest! {
    /// The moment is the first one inside, by the wall clock of a zone that changes its clocks.
    #[test]
    fn the_first_moment_inside(
        from in 0u32..1440, length in 1u32..1439, minute in 0i64..(366 * 1440),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns"]),
    ) {
        let clock = |minute: u32| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
        let text = format!("{}-{}", clock(from), clock(from + length));
        let night = window(&text, zone);
        let start = at("2026-01-01T00:00:00Z") + SignedDuration::from_mins(minute);
        let first = night.first_from(start);
        prop_assert!(first >= start);
        prop_assert_eq!(night.first_from(first), first, "it is inside");
        prop_assert!(first.duration_since(start) <= SignedDuration::from_hours(49));
        if zone == "UTC" {
            let inside = |moment: Timestamp| {
                let time = moment.to_zoned(TimeZone::UTC).time();
                let minute = u32::try_from(time.hour()).unwrap() * 60
                    + u32::try_from(time.minute()).unwrap();
                (minute + 1440 - from) % 1440 < length
            };
            let mut moment = start;
            while !inside(moment) {
                moment += SignedDuration::from_mins(1);
            }
            prop_assert_eq!(first, moment);
        }
    }
}
