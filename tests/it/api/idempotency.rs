//! The same key and body is the same task, however often and however it is sent.

use std::collections::HashSet;

use futures::future::join_all;
use kling_relay::model::ids::TaskId;
use reqwest::Method;
use serde_json::json;

use super::{Answer, KEY, OTHER, WITHIN, World, video};
use crate::broker::until;
use crate::kit::{everything, orphans};
use crate::torn::power_cut;

const TASKS: &str = "/v1/tasks";
const BATCHES: &str = "/v1/batches";

#[tokio::test]
async fn a_repeated_request_is_the_same_task_and_another_is_a_conflict() {
    let world = World::start().await;
    let first = world.submit_with_key(TASKS, "k", &video(&json!({}))).await;
    assert_eq!(first.status, 202, "{}", first.body);
    let location = format!("/v1/tasks/{}", first.body["task_id"].as_str().unwrap());
    assert_eq!(first.header("location"), location);
    assert_eq!(first.body["status"], "requested");
    assert_eq!(first.body["estimate"]["unit"], "video-unit");
    // What a body means counts, not its text: 5 is the default length.
    let again = video(&json!({"duration": "5"}));
    let again = world.submit_with_key(TASKS, "k", &again).await;
    assert_eq!((again.status, &again.body), (202, &first.body));

    let other = video(&json!({"prompt": "a hare"}));
    let answer = world.submit_with_key(TASKS, "k", &other).await;
    answer.is_refusal(
        "idempotency-conflict",
        409,
        "Idempotency-Key",
        "use another key",
    );
    assert!(!answer.body.to_string().contains("hare"));
    // A batch that begins with the same request is another body.
    let batch = json!({"tasks": [video(&json!({})), video(&json!({}))]});
    let answer = world.submit_with_key(BATCHES, "k", &batch).await;
    answer.is_refusal(
        "idempotency-conflict",
        409,
        "Idempotency-Key",
        "use another key",
    );
    world.listed(1).await;

    // A key belongs to a tenant.
    let theirs = world.request(OTHER, Method::POST, TASKS);
    let theirs = theirs
        .header("idempotency-key", "k")
        .body(other.to_string());
    assert_eq!(Answer::of(theirs).await.status, 202);
}

#[tokio::test]
async fn fifty_at_once_are_one_task_and_one_hold() {
    let world = World::start().await;
    let body = video(&json!({}));
    let answers = join_all((0..50).map(|_| world.submit_with_key(TASKS, "once", &body))).await;
    let ids: HashSet<String> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 202, "{}", answer.body);
            answer.body["task_id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 1);
    let price = answers[0].body["estimate"]["amount"].as_str().unwrap();
    assert_eq!(world.balance().await[0], price);

    let batch = json!({"tasks": [body, video(&json!({"prompt": "a hare"}))]});
    let answers = join_all((0..20).map(|_| world.submit_with_key(BATCHES, "many", &batch))).await;
    let ids: HashSet<String> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 202, "{}", answer.body);
            answer.body["task_ids"].to_string()
        })
        .collect();
    assert_eq!(ids.len(), 1);
    world.listed(3).await;
}

#[tokio::test]
async fn a_batch_with_a_used_key_must_be_the_same_batch() {
    let world = World::start().await;
    let of = |prompts: &[&str]| {
        let tasks: Vec<_> = prompts
            .iter()
            .map(|prompt| video(&json!({ "prompt": prompt })))
            .collect();
        json!({ "tasks": tasks })
    };
    let first = world
        .submit_with_key(BATCHES, "k", &of(&["a", "b", "c"]))
        .await;
    assert_eq!(first.status, 202, "{}", first.body);
    let again = world
        .submit_with_key(BATCHES, "k", &of(&["a", "b", "c"]))
        .await;
    assert_eq!((again.status, &again.body), (202, &first.body));
    for other in [
        of(&["a", "b"]),
        of(&["a", "b", "c", "d"]),
        of(&["a", "x", "c"]),
    ] {
        let answer = world.submit_with_key(BATCHES, "k", &other).await;
        answer.is_refusal(
            "idempotency-conflict",
            409,
            "Idempotency-Key",
            "use another key",
        );
    }
    let single = world
        .submit_with_key(TASKS, "k", &video(&json!({"prompt": "a"})))
        .await;
    single.is_refusal(
        "idempotency-conflict",
        409,
        "Idempotency-Key",
        "use another key",
    );
    world.listed(3).await;
}

#[tokio::test]
async fn a_refused_request_does_not_use_its_key_up() {
    let world = World::start().await;
    let bad = video(&json!({"duration": 7}));
    let answer = world.submit_with_key(TASKS, "k", &bad).await;
    answer.is_refusal("invalid-request", 400, "duration", "5 or 10");
    let good = world.submit_with_key(TASKS, "k", &video(&json!({}))).await;
    assert_eq!(good.status, 202, "{}", good.body);

    for key in ["", &"k".repeat(129), "a\tb"] {
        let answer = world.submit_with_key(TASKS, key, &video(&json!({}))).await;
        answer.is_refusal("invalid-request", 400, "Idempotency-Key", "1 to 128");
    }
    let request = world
        .request(KEY, Method::POST, TASKS)
        .header("idempotency-key", "schlüssel");
    let answer = Answer::of(request.body(video(&json!({})).to_string())).await;
    answer.is_refusal("invalid-request", 400, "Idempotency-Key", "printable ASCII");
    let longest = "k".repeat(128);
    let answer = world
        .submit_with_key(TASKS, &longest, &video(&json!({})))
        .await;
    assert_eq!(answer.status, 202, "{}", answer.body);
}

/// On one node a power cut may leave the first tasks of a batch whose caller was never answered.
#[tokio::test]
async fn a_torn_batch_is_completed_by_the_same_request() {
    let mut world = World::start().await;
    let of = |count| json!({"tasks": vec![video(&json!({})); count]});
    let first = world.submit_with_key(BATCHES, "torn", &of(4)).await;
    assert_eq!(first.status, 202, "{}", first.body);
    let whole = world.balance().await;
    let third = TaskId::parse(first.body["task_ids"][2].as_str().unwrap()).unwrap();
    let log = world.app.log().clone();
    let (_, seq) = log.requested(&third).await.unwrap().unwrap();
    power_cut(&mut world.node, &log, seq).await;
    until("the other holds are taken back", WITHIN, async || {
        orphans(&everything(&log).await).is_empty()
    })
    .await;
    assert_ne!(world.balance().await, whole);
    for count in [1, 2, 3, 5] {
        let other = world.submit_with_key(BATCHES, "torn", &of(count)).await;
        assert_eq!(other.status, 409, "{}", other.body);
    }
    for _ in 0..2 {
        let again = world.submit_with_key(BATCHES, "torn", &of(4)).await;
        assert_eq!((again.status, &again.body), (202, &first.body));
        assert_eq!(world.balance().await, whole);
    }
}
