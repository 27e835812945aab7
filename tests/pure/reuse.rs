//! One result for several requests: what counts as the same, and who is made, waits or is answered.

mod races;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kling_relay::decide::dispatch;
use kling_relay::decide::placement::stored;
use kling_relay::decide::progress::{self, LastWord, Progress};
use kling_relay::decide::reuse::{self, Group, Phase, Rules, Turn, reuse_key};
use kling_relay::model::ids::Tenant;
use kling_relay::model::observation::ObservedStatus;
use kling_relay::model::request::KlingCall;
use kling_relay::model::task::{Asset, Status, Task};
use serde_json::{Value, json};

use crate::a_task;

const HOUR: Duration = Duration::from_secs(3_600);

fn rules() -> Rules {
    Rules::new(24 * HOUR, HOUR)
}

fn at(seconds: i64) -> Timestamp {
    a_task::requested_at() + SignedDuration::from_secs(seconds)
}

fn key_of(tenant: &str, path: &str, body: &Value) -> String {
    let call = KlingCall {
        path: path.to_owned(),
        body: body.as_object().unwrap().clone(),
    };
    reuse_key(&Tenant::parse(tenant).unwrap(), &call)
}

#[test]
fn the_same_wish_has_one_key() {
    let path = "/text-to-video/kling-2.6";
    let plain = json!({"contents": [{"type": "prompt", "text": "A paper boat"}],
        "settings": {"duration": 5, "resolution": "720p"}});
    let same = json!({"settings": {"resolution": "720p", "duration": 5},
        "contents": [{"text": " A  paper\nboat ", "type": "prompt"}]});
    let key = key_of("acme", path, &plain);
    assert_eq!(key.len(), 64);
    assert_eq!(key, key_of("acme", path, &same));
    let legacy = |prompt: &str, negative: &str| {
        let body = json!({"prompt": prompt, "negative_prompt": negative, "duration": "5"});
        key_of("acme", "/v1/videos/text2video", &body)
    };
    assert_eq!(legacy("a boat", "no text"), legacy("a\tboat ", "no  text"));
    let others = [
        key_of("zeta", path, &plain),
        key_of("acme", "/text-to-video/kling-3.0", &plain),
        legacy("a boat", "no text"),
        legacy("A boat", "no text"),
        legacy("a boat", "no texts"),
    ];
    let mut distinct: Vec<&String> = others.iter().chain([&key]).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), others.len() + 1);
}

#[test]
fn blanks_count_where_they_are_no_prompt() {
    let frame = |url: &str| {
        let body = json!({"contents": [{"type": "first_frame", "url": url, "text": url}]});
        key_of("acme", "/image-to-video/kling-2.6", &body)
    };
    assert_ne!(frame("https://e.com/a b"), frame("https://e.com/a  b"));
}

#[track_caller]
fn check(tasks: &[(u64, Phase)], place: u64, expected: Turn) {
    let group = Group::of(tasks.iter().copied(), at(0), &rules());
    assert_eq!(group.turn(place), expected, "{tasks:?}");
}

#[test]
fn who_is_made_waits_or_is_answered() {
    let hour = 3_600;
    let waits = Phase::Waiting(None);
    let claimed = |hours: i64| Phase::Claimed {
        seq: 9,
        at: at(-hours * hour),
    };
    let made = |hours: i64| Phase::Made(at(-hours * hour));
    let stored = |hours: i64| Phase::Stored(at(-hours * hour));
    check(&[(5, waits)], 5, Turn::Make);
    check(&[(5, waits), (7, waits)], 5, Turn::Make);
    check(&[(5, waits), (7, waits)], 7, Turn::Wait);
    // What waits for its time does not hold up another, and what is back-off's does.
    check(
        &[(5, Phase::Waiting(Some(at(9)))), (7, waits)],
        7,
        Turn::Make,
    );
    check(
        &[(5, Phase::Waiting(Some(at(0)))), (7, waits)],
        7,
        Turn::Wait,
    );
    // Younger or older: what Kling has is waited for, but not for ever.
    check(&[(5, waits), (7, claimed(0))], 5, Turn::Wait);
    check(&[(5, claimed(1)), (7, waits)], 7, Turn::Wait);
    check(&[(5, claimed(2)), (7, waits)], 7, Turn::Make);
    check(&[(5, made(1)), (7, waits)], 7, Turn::Wait);
    check(&[(5, made(2)), (7, waits)], 7, Turn::Make);
    // A result answers as long as it may.
    check(&[(5, stored(24)), (7, waits)], 7, Turn::Answered);
    check(&[(5, stored(25)), (7, waits)], 7, Turn::Make);
    check(
        &[(5, claimed(0)), (6, stored(1)), (7, waits)],
        7,
        Turn::Answered,
    );
}

#[test]
fn what_is_answered_is_never_taken_for_kling_and_believes_no_callback() {
    let source = made_and_stored();
    let mut task = a_task::task(Status::Requested);
    (task.relay.not_before, task.relay.may_exist) = (None, false);
    reuse::answer_at_acceptance(&mut task, &source);
    assert!(task.estimate.amount.is_zero());
    assert!(
        !dispatch::may_take(&task, at(1)),
        "it could be sent to Kling"
    );
    assert!(reuse::may_be_answered(&task));
    let answered = reuse::answered(&task, &source, at(2)).body.task;
    let gone = reuse::result_gone(&task, at(2)).body.task;
    assert_eq!(answered.saved, Some(source.estimate));
    assert_eq!(answered.assets, source.assets);
    assert_eq!((gone.saved, gone.status), (None, Status::Failed));
    for task in [&task, &answered, &gone] {
        for status in [ObservedStatus::Processing, ObservedStatus::Succeeded] {
            let seen = a_task::observation(status);
            let next = progress::next(task, &seen, LastWord::Yes, at(3));
            assert!(matches!(next, Progress::Contradiction(_)), "{next:?}");
        }
    }
}

#[test]
fn only_a_result_of_the_same_tenant_and_key_that_was_made_and_stored_answers() {
    let source = made_and_stored();
    let (tenant, key) = (source.tenant.clone(), source.relay.reuse.key.clone());
    assert!(reuse::can_answer(&source, &tenant, &key));
    assert!(!reuse::can_answer(
        &source,
        &Tenant::parse("zeta").unwrap(),
        &key
    ));
    assert!(!reuse::can_answer(&source, &tenant, &"1".repeat(64)));
    let changes: [fn(&mut Task); 5] = [
        |task| task.status = Status::Failed,
        |task| task.reused_from = Some(a_task::task_id()),
        |task| task.relay.stored_at = None,
        |task| task.assets.clear(),
        |task| task.relay.reuse.key.clear(),
    ];
    for change in changes {
        let mut other = source.clone();
        change(&mut other);
        assert!(
            !reuse::can_answer(&other, &tenant, &other.relay.reuse.key),
            "{other:?}"
        );
    }
}

fn made_and_stored() -> Task {
    let mut task = a_task::task(Status::Succeeded);
    task.relay.reuse.key = "0".repeat(64);
    task.relay.outputs = 1;
    stored(&task, vec![asset()], at(0)).unwrap().body.task
}

fn asset() -> Asset {
    Asset {
        key: "team-a/x/1-0.mp4".to_owned(),
        uri: "file:///1-0.mp4".to_owned(),
        bytes: 1,
        media_type: "video/mp4".to_owned(),
        sha256: "0".repeat(64),
    }
}
