//! The budget day over clock changes, and the limits that a configuration resolves to.

use std::collections::BTreeMap;

use jiff::civil::time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kling_relay::decide::budget::{day_of, ends_at, parse_day_starts, resolve, starts_at};
use kling_relay::decide::ledger::Limits;
use kling_relay::model::amount::Unit;
use kling_relay::model::ledger::LimitSetting;
use proptest::prelude::*;
use rust_decimal::Decimal;

/// Central Europe: clocks go from 02:00 to 03:00 in March and from 03:00 to 02:00 in October.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("the rule is sound")
}

/// A zone whose clocks go back over midnight: from 00:01 on Sunday to 23:01 on Saturday.
fn over_midnight() -> TimeZone {
    TimeZone::posix("AAA3BBB2,M3.2.0/0:01,M11.1.0/0:01").expect("the rule is sound")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[track_caller]
fn check(now: &str, zone: &TimeZone, starts: &str, expected: &str) {
    let starts = parse_day_starts(starts).expect("a time of day");
    assert_eq!(day_of(at(now), zone, starts).to_string(), expected, "{now}");
}

#[test]
fn days_in_utc() {
    let utc = TimeZone::UTC;
    check("2026-11-21T00:00:00Z", &utc, "00:00", "2026-11-21");
    check("2026-11-20T23:59:59.999Z", &utc, "00:00", "2026-11-20");
    check("2026-11-21T05:59:59Z", &utc, "06:00", "2026-11-20");
    check("2026-11-21T06:00:00Z", &utc, "06:00", "2026-11-21");
    check("2026-11-21T23:58:00Z", &utc, "23:59", "2026-11-20");
}

#[test]
fn days_follow_the_zone() {
    check("2026-11-21T22:59:59Z", &berlin(), "00:00", "2026-11-21");
    check("2026-11-21T23:00:00Z", &berlin(), "00:00", "2026-11-22");
    check("2026-07-21T22:00:00Z", &berlin(), "00:00", "2026-07-22");
}

#[test]
fn a_start_that_clocks_skip_comes_later() {
    // 02:30 does not exist on 29 March 2026: the day starts at 03:30, 01:30 in UTC.
    check("2026-03-29T01:29:59Z", &berlin(), "02:30", "2026-03-28");
    check("2026-03-29T01:30:00Z", &berlin(), "02:30", "2026-03-29");
}

#[test]
fn a_start_that_clocks_repeat_counts_once() {
    // 02:30 comes twice on 25 October 2026: at 00:30 and 01:30 in UTC.
    check("2026-10-25T00:29:59Z", &berlin(), "02:30", "2026-10-24");
    check("2026-10-25T00:30:00Z", &berlin(), "02:30", "2026-10-25");
    check("2026-10-25T01:15:00Z", &berlin(), "02:30", "2026-10-25");
    check("2026-10-25T01:30:00Z", &berlin(), "02:30", "2026-10-25");
}

#[test]
fn a_day_that_has_begun_stays_when_clocks_go_back_over_midnight() {
    // 1 November 2026 begins at 02:00 in UTC; a minute later the clock shows 31 October again.
    check(
        "2026-11-01T01:59:59Z",
        &over_midnight(),
        "00:00",
        "2026-10-31",
    );
    check(
        "2026-11-01T02:00:30Z",
        &over_midnight(),
        "00:00",
        "2026-11-01",
    );
    check(
        "2026-11-01T02:30:00Z",
        &over_midnight(),
        "00:00",
        "2026-11-01",
    );
    check(
        "2026-11-01T03:30:00Z",
        &over_midnight(),
        "00:00",
        "2026-11-01",
    );
}

/// A clock that is set back and forth by ten minutes across midnight names the two days that are
/// there, and no third.
#[test]
fn a_clock_set_back_and_forth_names_the_same_two_days() {
    let utc = TimeZone::UTC;
    let midnight = at("2026-11-22T00:00:00Z");
    for minutes in [-10, 5, -5, 10, 0, -1, 1] {
        let now = midnight + SignedDuration::from_mins(minutes);
        let day = day_of(now, &utc, time(0, 0, 0, 0)).to_string();
        assert_eq!(
            day,
            if minutes < 0 {
                "2026-11-21"
            } else {
                "2026-11-22"
            }
        );
    }
}

proptest! {
    /// Every moment lies in its day's window, and days never go backwards.
    #[test]
    fn moments_lie_in_their_day(
        second in 1_700_000_000i64..2_000_000_000,
        ahead in 0i64..400_000,
        minutes in 0i8..60,
        hours in 0i8..24,
        zone in prop::sample::select(vec![TimeZone::UTC, berlin(), over_midnight()]),
    ) {
        let starts = time(hours, minutes, 0, 0);
        let now = Timestamp::from_second(second).expect("in range");
        let day = day_of(now, &zone, starts);
        prop_assert!(starts_at(day, &zone, starts).expect("in range") <= now);
        prop_assert!(now < ends_at(day, &zone, starts).expect("in range"));
        let later = now + SignedDuration::from_secs(ahead);
        prop_assert!(day <= day_of(later, &zone, starts));
    }

    /// The start of the day is read or refused, never a panic.
    #[test]
    fn any_start_of_the_day_is_read_or_refused(text in "\\PC{0,8}") {
        let _ = parse_day_starts(&text);
    }
}

#[test]
fn ends_of_time_have_a_day() {
    for now in [Timestamp::MIN, Timestamp::MAX] {
        for zone in [TimeZone::UTC, berlin(), over_midnight()] {
            let _ = day_of(now, &zone, time(23, 59, 0, 0));
        }
    }
}

#[test]
fn starts_of_the_day() {
    assert_eq!(parse_day_starts("06:30"), Ok(time(6, 30, 0, 0)));
    for bad in [
        "6:30", "24:00", "06:60", "0630", "", "06:30:00", "-1:00", "+6:30",
    ] {
        let error = parse_day_starts(bad).expect_err("it is no time");
        assert!(error.to_string().contains("HH:MM"), "{error}");
    }
}

fn limits(of: &[(Unit, i64)]) -> Limits {
    of.iter()
        .map(|(unit, limit)| (*unit, Decimal::from(*limit)))
        .collect()
}

#[test]
fn settings_resolve_over_what_they_replace() {
    let book = limits(&[(Unit::Video, 100), (Unit::Image, 1_000), (Unit::TryOn, 50)]);
    let over = |setting: Option<&LimitSetting>, without: &Limits| {
        resolve(setting, without, Unit::Video).expect("the setting is sound")
    };
    assert_eq!(over(None, &book), book);
    let main = LimitSetting::Main(Decimal::from(7));
    let daily = over(Some(&main), &book);
    assert_eq!(
        daily,
        limits(&[(Unit::Video, 7), (Unit::Image, 1_000), (Unit::TryOn, 50)])
    );
    let table = LimitSetting::ByUnit(BTreeMap::from([("image-unit".to_owned(), Decimal::ONE)]));
    assert_eq!(over(Some(&table), &daily), limits(&[(Unit::Image, 1)]));
}

#[test]
fn bad_settings_are_refused() {
    let book = limits(&[(Unit::Video, 100)]);
    let table = |unit: &str, limit: i64| {
        LimitSetting::ByUnit(BTreeMap::from([(unit.to_owned(), Decimal::from(limit))]))
    };
    for (setting, words) in [
        (table("euro", 1), "\"euro\" is no unit; known: video-unit"),
        (table("USD", -1), "the limit of USD is -1"),
        (
            LimitSetting::Main(Decimal::from(-1)),
            "the limit of video-unit is -1",
        ),
    ] {
        let error = resolve(Some(&setting), &book, Unit::Video).expect_err("it is bad");
        assert!(error.to_string().contains(words), "{error}");
    }
}
