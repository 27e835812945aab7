//! A day without faults.

use kling_relay::model::task::Status;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::world::{Expected, Options, World, legacy_video, video, video_of};

/// Thirty tasks over both generations, three products and several models.
fn thirty() -> Vec<Value> {
    let mut requests = Vec::new();
    for _ in 0..6 {
        requests.extend([video(""), legacy_video(""), video_of("kling-3.0-turbo", "")]);
    }
    for n in 1..=4 {
        requests.push(json!({ "product": "image-generation", "model": "kling-v3",
            "prompt": "A folding chair", "parameters": { "n": n } }));
        requests.push(json!({ "product": "virtual-try-on", "parameters": {
            "human_image": "https://example.com/person.png",
            "cloth_image": "https://example.com/coat.png" } }));
        requests.push(json!({ "product": "image-to-video", "model": "kling-v2-6",
            "prompt": "It moves", "parameters": { "image": "https://example.com/still.png" } }));
    }
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_run_without_faults_asks_kling_nothing() {
    let world = World::start(Options::default()).await;
    let requests = thirty();
    let ids = world.submit_all(&requests).await;
    let ended = world.finished(&ids).await;
    let all_good = ended.values().all(|task| task.status == Status::Succeeded);
    assert!(all_good, "{ended:#?}");
    let files: usize = ended.values().map(|task| task.assets.len()).sum();
    assert_eq!(
        files,
        26 + 1 + 2 + 3 + 4,
        "one each, and the images of four requests"
    );
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 0, "{:?}", stats.queries);
    assert_eq!(stats.queries.account, 0);
    assert_eq!(stats.creates.requests, 30, "{:?}", stats.creates);
    assert_eq!(stats.creates.accepted, 30);
    assert!(
        stats.creates.by_generation.len() == 2,
        "{:?}",
        stats.creates
    );
    assert!(
        stats
            .deductions
            .values()
            .all(|taken| *taken > Decimal::ZERO)
    );
    assert_eq!(stats.deductions.len(), 3, "{:?}", stats.deductions);
    assert_eq!(stats.callbacks.answers.keys().collect::<Vec<_>>(), ["200"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_makes_one_task_however_often_it_comes() {
    let world = World::start(Options::default()).await;
    let request = video("");
    let post = async || {
        world
            .post("acme", "/v1/tasks", &request, Some("the-same"))
            .await
    };
    let answers = futures::future::join_all((0..20).map(|_| post())).await;
    let first = answers[0].1["task_id"].clone();
    for (status, body) in answers {
        assert_eq!((status, &body["task_id"]), (202, &first), "{body}");
    }
    let other = world
        .post("acme", "/v1/tasks", &legacy_video(""), Some("the-same"))
        .await;
    assert_eq!(other.0, 409, "{}", other.1);
    let id = world.note(&first);
    world.finished(&[id]).await;
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.requests, 1);
}
