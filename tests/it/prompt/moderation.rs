//! The moderation hook: what it is asked, and that nothing passes without its word.

use std::time::Duration;

use kling_relay::config::Config;
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{Hook, Reply, pass};
use crate::api::{WITHIN, World, video};
use crate::broker::until;
use crate::http::logs::Kept;

const KEY: &str = "key-of-the-hook-0123456789";

fn asks(hook: &Hook) -> impl FnOnce(&mut Config) {
    let url = hook.url();
    move |config| {
        config.storage.allow_private = true;
        config.prompt.moderation.url = Some(url);
        config.prompt.moderation.key = Some(SecretString::from(KEY));
        config.check().expect("a good configuration");
    }
}

fn refuse(rule: &str) -> Reply {
    Reply::Body(json!({"allowed": false, "rule": rule, "score": 0.9}).to_string())
}

#[tokio::test]
async fn it_is_asked_once_a_task_and_its_word_counts() {
    let hook = Hook::start(|question| match question["prompt"].as_str() {
        Some(prompt) if prompt.contains("hare") => refuse("no-hares"),
        _ => pass(),
    })
    .await;
    let world = World::with(asks(&hook)).await;
    let fox = video(&json!({"prompt": " a\u{200B} fox", "negative_prompt": "rain"}));
    let first = world.submit_with_key("/v1/tasks", "k", &fox).await;
    assert_eq!(first.status, 202, "{}", first.body);
    let asked = hook.asked();
    let (headers, question) = &asked[0];
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(headers["content-type"], "application/json");
    let expected = json!({"tenant": "acme", "product": "text-to-video", "model": "kling-2.6",
        "prompt": "a fox", "negative_prompt": "rain", "texts": []});
    assert_eq!(
        *question, expected,
        "sanitised, and without the safety terms"
    );

    // A repeat is the same task, not another question; so is what fails by itself or is a mere
    // estimate; and a request without a text has nothing to judge.
    let again = world.submit_with_key("/v1/tasks", "k", &fox).await;
    assert_eq!((again.status, again.body), (202, first.body));
    assert_eq!(
        world.submit(&video(&json!({"duration": 7}))).await.status,
        400
    );
    let mail = video(&json!({"prompt": "ada@example.com"}));
    assert_eq!(world.submit(&mail).await.status, 422);
    let hare = video(&json!({"prompt": "a hare"}));
    let estimate = world.call(Method::POST, "/v1/estimates", &hare).await;
    assert_eq!(estimate.status, 200, "{}", estimate.body);
    let image = "https://example.com/a.png";
    let silent = json!({"product": "virtual-try-on",
        "parameters": {"human_image": image, "cloth_image": image}});
    world.accepted(&silent).await;
    assert_eq!(hook.asked().len(), 1);

    let words = "rule no-hares";
    let answer = world.submit_with_key("/v1/tasks", "h", &hare).await;
    answer.is_refusal("prompt-refused", 422, "prompt", words);
    let sound = json!({"product": "video-to-audio", "parameters":
        {"video_id": "1", "bgm_prompt": "calm"}});
    world.submit(&sound).await;
    let batch = json!({"tasks": [fox, hare, hare]});
    let answer = world.submit_with_key("/v1/batches", "b", &batch).await;
    answer.is_refusal("prompt-refused", 422, "tasks[1].prompt", words);
    let texts = &hook.asked()[2].1["texts"];
    assert_eq!(
        *texts,
        json!([{"field": "parameters.bgm_prompt", "text": "calm"}])
    );
    world.listed(3).await;
    // A refused key is not used up.
    hook.now(|_| pass());
    assert_eq!(
        world.submit_with_key("/v1/tasks", "h", &hare).await.status,
        202
    );
    assert_eq!(
        world
            .submit_with_key("/v1/batches", "b", &batch)
            .await
            .status,
        202
    );
}

#[tokio::test]
async fn it_speaks_tls() {
    let hook = Hook::over_tls(|_| pass()).await;
    let (url, ca) = (hook.url(), hook.ca.clone());
    let trusting = World::with(|config| {
        config.prompt.moderation.url = Some(url.clone());
        config.prompt.moderation.ca_file = Some(ca);
    })
    .await;
    trusting.accepted(&video(&json!({}))).await;
    assert!(!hook.asked()[0].0.contains_key("authorization"));
    let strange = World::with(|config| config.prompt.moderation.url = Some(url)).await;
    no_answer(&strange, "an unknown authority").await;
    assert_eq!(hook.asked().len(), 1);
}

/// Checks that a submission is told that nothing was accepted, and that this is so.
async fn no_answer(world: &World, why: &str) {
    let before = world.balance().await;
    let canary = video(&json!({"prompt": "a canary"}));
    let batch = json!({"tasks": [canary, canary]});
    for answer in [
        world.submit(&canary).await,
        world.call(Method::POST, "/v1/batches", &batch).await,
    ] {
        assert_eq!(answer.status, 503, "{why}: {}", answer.body);
        answer.is_refusal(
            "unavailable",
            503,
            "",
            "nothing was stored and nothing spent",
        );
        assert_eq!(answer.header("retry-after"), "5");
        assert!(!answer.body.to_string().contains("canary"), "{why}");
    }
    assert_eq!(world.balance().await, before, "{why}");
}

#[tokio::test]
async fn without_its_word_nothing_is_accepted() {
    let logs = Kept::default();
    let kept = logs.install();
    let hook = Hook::start(|_| pass()).await;
    let asks = asks(&hook);
    let world = World::with(|config| {
        asks(config);
        config.prompt.moderation.timeout = Duration::from_millis(400);
        config.prompt.moderation.response_max_bytes = 1 << 10;
    })
    .await;
    world.accepted(&video(&json!({}))).await;
    for status in [201, 204, 400, 401, 404, 429, 500, 503] {
        hook.now(move |_| Reply::Status(status));
        no_answer(&world, &status.to_string()).await;
    }
    hook.now(|_| Reply::Redirect);
    no_answer(&world, "a redirect is not followed").await;
    for body in [
        "",
        "true",
        "[]",
        "{}",
        "{\"allowed\": ",
        "{\"allowed\": \"true\"}",
        "{\"allowed\": null, \"rule\": \"canary\"}",
        "{\"allowed\": 1}",
        "<html>canary</html>",
    ] {
        hook.now(move |_| Reply::Body(body.to_owned()));
        no_answer(&world, body).await;
    }
    let long = format!("{{\"allowed\": true, \"rule\": \"{}\"}}", "x".repeat(2_000));
    hook.now(move |_| Reply::Body(long.clone()));
    no_answer(&world, "a flood").await;
    hook.now(|_| Reply::Silence);
    no_answer(&world, "silence").await;
    // One silent answer among many is enough.
    hook.now(|question| match question["prompt"].as_str() {
        Some("a hare") => Reply::Silence,
        _ => pass(),
    });
    let batch = json!({"tasks": [video(&json!({})), video(&json!({"prompt": "a hare"}))]});
    let answer = world.call(Method::POST, "/v1/batches", &batch).await;
    answer.is_refusal("unavailable", 503, "", "nothing was stored");
    drop(hook);
    no_answer(&world, "nobody there").await;
    world.listed(1).await;
    drop(kept);
    let logs = logs.text();
    assert!(logs.contains("HTTP status 401"), "the reason is logged");
    assert!(
        !logs.contains("canary") && !logs.contains(KEY),
        "nothing else is"
    );
}

#[tokio::test]
async fn a_reason_is_a_name_or_nothing() {
    let hook = Hook::start(|_| pass()).await;
    let world = World::with(asks(&hook)).await;
    for (rule, shown) in [
        (json!("violence/graphic"), "(rule violence/graphic)"),
        (json!("a canary is not allowed"), "(rule moderation)"),
        (json!("x".repeat(65)), "(rule moderation)"),
        (json!("<b>"), "(rule moderation)"),
        (json!(""), "(rule moderation)"),
        (Value::Null, "(rule moderation)"),
    ] {
        let body = json!({"allowed": false, "rule": rule}).to_string();
        hook.now(move |_| Reply::Body(body.clone()));
        let answer = world.submit(&video(&json!({"prompt": "a canary"}))).await;
        answer.is_refusal("prompt-refused", 422, "prompt", shown);
        assert!(!answer.body.to_string().contains("canary"));
    }
}

#[tokio::test]
async fn a_batch_asks_a_few_at_a_time() {
    let hook = Hook::start(|_| pass()).await;
    let asks = asks(&hook);
    let world = World::with(|config| {
        asks(config);
        config.prompt.moderation.timeout = Duration::from_secs(15);
        config.prompt.moderation.concurrency = 6;
    })
    .await;
    let held = hook.hold();
    let batch = json!({"tasks": vec![video(&json!({})); 40]});
    let single = video(&json!({}));
    let seen = async {
        until("the batch asks", WITHIN, async || hook.open().0 == 2).await;
        // A quarter of the calls is the batch's; the others pass beside it.
        let others = async {
            until("others ask", WITHIN, async || hook.open().0 == 6).await;
            held.cancel();
        };
        let one = || world.submit(&single);
        let (a, b, c, d, e, ()) = tokio::join!(one(), one(), one(), one(), one(), others);
        for answer in [a, b, c, d, e] {
            assert_eq!(answer.status, 202, "{}", answer.body);
        }
    };
    let (answer, ()) = tokio::join!(world.call(Method::POST, "/v1/batches", &batch), seen);
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(hook.asked().len(), 45);
    assert_eq!(hook.open(), (0, 6));
}
