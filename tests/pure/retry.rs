//! The error table row by row, waits, and what a look-up means.

use std::time::Duration;

use jiff::SignedDuration;
use kling_relay::decide::retry::{
    AfterLookUp, Backoff, Cause, CreateVerdict, RETRY_AFTER_MAX, WaitClass, When, after_lookup,
    after_read, backoff, classify_create, wait,
};
use kling_relay::model::observation::{Observation, ObservedStatus};
use kling_relay::model::reply::{CallFailure, Reply};
use kling_relay::model::task::{Status, TaskError};
use proptest::prelude::*;

use crate::a_task::{observation, requested_at, task};

const BACKOFF: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(60),
    attempts_max: 5,
};

fn reply(http: u16, code: Option<i64>, message: &str) -> CallFailure {
    CallFailure::Answered(Reply {
        http,
        code,
        message: message.to_owned(),
        request_id: Some("r".to_owned()),
        retry_after: None,
    })
}

/// What a create makes of an answer, in a word, and whether a query is tried again after it.
#[track_caller]
fn check(failure: &CallFailure, create: &str, read_again: bool) {
    let word = match classify_create(failure, false) {
        CreateVerdict::Refused(error) => format!("refused {}", error.code),
        CreateVerdict::NotCreated {
            class: WaitClass::Slot,
            ..
        } => "wait slot".to_owned(),
        CreateVerdict::NotCreated {
            class: WaitClass::Rate,
            ..
        } => "wait rate".to_owned(),
        CreateVerdict::NotCreated {
            class: WaitClass::Reach,
            ..
        } => "wait reach".to_owned(),
        CreateVerdict::AccountStop(error) => format!("stop {}", error.code),
        CreateVerdict::PackEmpty(error) => format!("pack {}", error.code),
        CreateVerdict::DuplicateId(error) => format!("duplicate {}", error.code),
        CreateVerdict::MayExist => "may exist".to_owned(),
    };
    assert_eq!(word, create, "{failure:?}");
    assert_eq!(
        after_read(failure, 1, BACKOFF, 0.0).is_some(),
        read_again,
        "{failure:?}"
    );
}

#[test]
fn every_row_of_the_error_table() {
    let table: &[(u16, i64, &str, bool)] = &[
        (401, 1000, "stop kling-1000", false),
        (401, 1001, "stop kling-1001", false),
        (401, 1002, "stop kling-1002", false),
        (401, 1003, "stop kling-1003", false),
        (401, 1004, "stop kling-1004", false),
        (429, 1100, "stop kling-1100", false),
        (429, 1101, "stop kling-1101", false),
        (429, 1102, "pack kling-1102", false),
        (403, 1103, "refused kling-1103", false),
        (400, 1200, "refused kling-1200", false),
        (400, 1201, "refused kling-1201", false),
        (404, 1202, "refused kling-1202", false),
        (404, 1203, "refused kling-1203", false),
        (400, 1300, "refused kling-1300", false),
        (400, 1301, "refused kling-1301", false),
        (429, 1302, "wait rate", true),
        (429, 1303, "wait slot", true),
        (429, 1304, "stop kling-1304", false),
        (500, 5000, "may exist", true),
        (503, 5001, "may exist", true),
        (504, 5002, "may exist", true),
    ];
    for (http, code, create, read_again) in table {
        check(&reply(*http, Some(*code), "words"), create, *read_again);
        // The code decides, whatever status it comes with.
        check(&reply(200, Some(*code), "words"), create, *read_again);
    }
}

#[test]
fn what_is_not_in_the_table() {
    check(&reply(400, Some(1299), ""), "refused kling-1299", false);
    check(&reply(403, Some(1399), ""), "refused kling-1399", false);
    check(&reply(429, Some(1399), ""), "wait rate", true);
    check(&reply(429, None, ""), "wait rate", true);
    check(&reply(404, None, ""), "refused kling-http-404", false);
    check(&reply(302, None, ""), "refused kling-http-302", false);
    check(&reply(401, None, ""), "stop kling-http-401", false);
    check(&reply(403, None, ""), "stop kling-http-403", false);
    for http in [408, 500, 502, 503, 504, 599] {
        check(&reply(http, None, ""), "may exist", true);
    }
    check(&reply(500, Some(9_999), ""), "may exist", true);
    // Success that cannot be read, or with a code that nobody knows.
    check(&reply(200, None, ""), "may exist", true);
    check(&reply(200, Some(9_999), ""), "may exist", true);
    check(
        &CallFailure::NotSent("refused".to_owned()),
        "wait reach",
        true,
    );
    check(
        &CallFailure::OutcomeUnknown("reset".to_owned()),
        "may exist",
        true,
    );
    check(
        &CallFailure::Impossible("path".to_owned()),
        "refused invalid-request",
        false,
    );
}

#[test]
fn a_taken_id_is_recognised_in_any_words() {
    for words in [
        "external_task_id already exists",
        "External task id is duplicated",
        "the value ALREADY EXISTS",
        "external_task_id 已存在",
    ] {
        check(
            &reply(400, Some(1201), words),
            "duplicate kling-1201",
            false,
        );
    }
    check(
        &reply(400, Some(1201), "contents cannot be empty"),
        "refused kling-1201",
        false,
    );
    check(
        &reply(400, Some(1201), "voice does not exist"),
        "refused kling-1201",
        false,
    );
}

#[test]
fn after_a_create_that_may_have_arrived_every_refusal_is_looked_into() {
    let verdict = classify_create(&reply(400, Some(1201), "invalid"), true);
    assert!(matches!(verdict, CreateVerdict::DuplicateId(_)));
    let verdict = classify_create(&reply(400, Some(1200), "invalid"), true);
    assert!(matches!(verdict, CreateVerdict::DuplicateId(_)));
    let verdict = classify_create(&reply(400, Some(1200), "invalid"), false);
    assert!(matches!(verdict, CreateVerdict::Refused(_)));
}

#[test]
fn a_refusal_keeps_klings_words() {
    let said = |failure| match classify_create(&failure, false) {
        CreateVerdict::Refused(error) => error,
        other => panic!("{other:?}"),
    };
    let error = said(reply(400, Some(1301), "content security"));
    assert_eq!(
        (error.message.as_str(), error.retryable),
        ("content security", false)
    );
    let error = said(reply(404, None, ""));
    assert_eq!(
        error.message,
        "Kling answered HTTP 404, no readable body, request r"
    );
}

#[test]
fn waits_double_up_to_the_cap() {
    let seconds =
        |attempt, jitter| backoff(attempt, BACKOFF.base, BACKOFF.cap, jitter).as_secs_f64();
    let waits: Vec<_> = (1..=8).map(|attempt| seconds(attempt, 0.0)).collect();
    assert_eq!(waits, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
    assert_eq!(seconds(1, 1.0), 1.5);
    assert_eq!(seconds(99, 1.0), 90.0);
    assert_eq!(seconds(0, f64::NAN), 1.0);
}

#[test]
fn a_wait_that_kling_asks_for_is_honoured_within_reason() {
    let asked = |seconds| wait(1, Some(Duration::from_secs(seconds)), BACKOFF, 0.0);
    assert_eq!(asked(0), Duration::from_secs(1));
    assert_eq!(asked(30), Duration::from_secs(30));
    assert_eq!(asked(u64::MAX), RETRY_AFTER_MAX);
}

#[test]
fn a_query_is_tried_so_often_and_no_more() {
    let failure = reply(503, None, "");
    let again: Vec<_> = (1..=6)
        .map(|attempt| after_read(&failure, attempt, BACKOFF, 0.0).is_some())
        .collect();
    assert_eq!(again, [true, true, true, true, false, false]);
}

fn created_hours_before(hours: i64) -> Observation {
    let created_at = requested_at() - SignedDuration::from_hours(hours);
    Observation {
        created_at: Some(created_at),
        ..observation(ObservedStatus::Processing)
    }
}

fn said(code: &str, message: &str) -> TaskError {
    TaskError {
        code: code.to_owned(),
        message: message.to_owned(),
        retryable: false,
    }
}

fn failed_as(decision: &AfterLookUp) -> Option<&str> {
    match decision {
        AfterLookUp::Fail(error) => Some(&error.code),
        AfterLookUp::Adopt | AfterLookUp::Recreate | AfterLookUp::LookAgain => None,
    }
}

#[test]
fn what_is_found_is_adopted_unless_it_is_from_another_life() {
    let task = task(Status::Dispatching);
    let taken = Cause::DuplicateId(said("kling-1201", "already exists"));
    for cause in [Cause::OutcomeUnknown, taken] {
        for when in [When::AtOnce, When::Later] {
            let decide =
                |found: &Observation| after_lookup(&task, false, &cause, when, Some(found));
            assert_eq!(decide(&created_hours_before(0)), AfterLookUp::Adopt);
            // By a clock of ours that is ahead.
            assert_eq!(decide(&created_hours_before(48)), AfterLookUp::Adopt);
            let reused = decide(&created_hours_before(31 * 24));
            assert_eq!(failed_as(&reused), Some("idempotency-key-reused"));
            let undated = Observation {
                created_at: None,
                ..created_hours_before(31 * 24)
            };
            assert_eq!(decide(&undated), AfterLookUp::Adopt);
        }
    }
}

#[test]
fn what_is_not_found_is_looked_for_again_before_anything_else() {
    let task = task(Status::Dispatching);
    let decide = |cause: &Cause, when| after_lookup(&task, false, cause, when, None);
    let unknown = Cause::OutcomeUnknown;
    assert_eq!(decide(&unknown, When::AtOnce), AfterLookUp::LookAgain);
    assert_eq!(decide(&unknown, When::Later), AfterLookUp::Recreate);
    let taken = Cause::DuplicateId(said("kling-1201", "external_task_id already exists"));
    assert_eq!(decide(&taken, When::AtOnce), AfterLookUp::LookAgain);
    let reused = decide(&taken, When::Later);
    assert_eq!(failed_as(&reused), Some("idempotency-key-reused"));
    // A 1201 that was about something else.
    let other = Cause::DuplicateId(said("kling-1201", "aspect_ratio is invalid"));
    assert_eq!(failed_as(&decide(&other, When::Later)), Some("kling-1201"));
}

/// Our own earlier create may have taken the id: that task may run and be billed.
#[test]
fn nothing_is_concluded_about_an_id_that_we_may_have_taken_ourselves() {
    let task = task(Status::Dispatching);
    let taken = Cause::DuplicateId(said("kling-1201", "external_task_id already exists"));
    for when in [When::AtOnce, When::Later] {
        let decision = after_lookup(&task, true, &taken, when, None);
        assert_eq!(decision, AfterLookUp::LookAgain);
    }
    let found = created_hours_before(0);
    let decision = after_lookup(&task, true, &taken, When::Later, Some(&found));
    assert_eq!(decision, AfterLookUp::Adopt);
    let other = Cause::DuplicateId(said("kling-1201", "aspect_ratio is invalid"));
    let decision = after_lookup(&task, true, &other, When::Later, None);
    assert_eq!(decision, AfterLookUp::LookAgain, "a look-up may lag");
    let mut looked_often = task.clone();
    looked_often.relay.lookups = 4;
    let decision = after_lookup(&looked_often, true, &other, When::Later, None);
    assert_eq!(failed_as(&decision), Some("kling-1201"));
}

proptest! {
    #[test]
    fn waits_stay_between_base_and_cap_and_a_half(
        attempt in any::<u32>(),
        base_ms in 0..10_000_u64,
        cap_ms in 0..600_000_u64,
        jitter in any::<f64>(),
    ) {
        let (base, cap) = (Duration::from_millis(base_ms), Duration::from_millis(cap_ms));
        let wait = backoff(attempt, base, cap, jitter);
        prop_assert!(wait >= base.min(cap));
        prop_assert!(wait <= cap + cap / 2 + Duration::from_nanos(1));
    }

    /// A task that may exist is never failed and never waits without a look-up.
    #[test]
    fn no_answer_makes_a_task_that_may_exist_disappear(
        http in 500..600_u16,
        code in prop::option::of(5000..6000_i64),
        message in ".*",
    ) {
        let verdict = classify_create(&reply(http, code, &message), false);
        prop_assert_eq!(verdict, CreateVerdict::MayExist);
    }

    /// Only what Kling's table marks as passing is sent again without a look-up.
    #[test]
    fn an_empty_account_is_never_taken_for_a_rate_limit(
        code in prop::sample::select(vec![1100, 1101, 1102, 1304]),
        http in 200..600_u16,
    ) {
        let verdict = classify_create(&reply(http, Some(code), ""), false);
        let waits = matches!(verdict, CreateVerdict::NotCreated { .. });
        prop_assert!(!waits);
    }
}
