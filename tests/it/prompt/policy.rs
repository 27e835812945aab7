//! Local rules over HTTP and NATS, what of a request reaches Kling, and what reaches nobody.

use std::time::Duration;

use kling_relay::model::policy::{Detector, Sensitive};
use kling_relay::model::task::Status;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{World, video};
use crate::http::logs::Kept;
use crate::world::{self, Expected, Options};

const AVOID: &str = "\nAvoid: gore, weapons";

fn terms_file() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("terms.txt");
    std::fs::write(
        &file,
        "# ours\nno-brands: Mickey Mouse\ncodes: /project-x\\d/\n",
    )
    .unwrap();
    (folder, file)
}

fn cases() -> Vec<(Value, &'static str, &'static str)> {
    let mail = "canary@example.com";
    let refused = |body: Value, field: &'static str, words: &'static str| (body, field, words);
    vec![
        refused(
            video(&json!({"prompt": format!("write to {mail}")})),
            "prompt",
            "prompt holds what looks like an e-mail address (rule email); remove it",
        ),
        refused(
            video(&json!({"negative_prompt": format!("no {mail}")})),
            "negative_prompt",
            "(rule email)",
        ),
        refused(
            json!({"product": "video-to-audio", "parameters":
                {"video_id": "1", "bgm_prompt": format!("sing {mail}")}}),
            "parameters.bgm_prompt",
            "(rule email)",
        ),
        refused(
            video(&json!({"prompt": "canary mickey\u{200B} MOUSE"})),
            "prompt",
            "prompt breaks this service's rule no-brands",
        ),
        refused(
            video(&json!({"prompt": "canary Project-X7"})),
            "prompt",
            "rule codes",
        ),
    ]
}

async fn submit_over_nats(world: &World, body: &Value) -> Value {
    let url = world.node.endpoint().url;
    let client = async_nats::connect(url).await.unwrap();
    let request = async_nats::Request::new()
        .payload(body.to_string().into())
        .timeout(Some(Duration::from_secs(20)));
    let answer = client.send_request("kling.v1.acme.submit", request).await;
    serde_json::from_slice(&answer.unwrap().payload).unwrap()
}

#[tokio::test]
async fn refusals_name_the_rule_and_nothing_else() {
    let (_folder, file) = terms_file();
    let logs = Kept::default();
    let kept = logs.install();
    let world = World::with(|config| config.prompt.terms_file = Some(file)).await;
    for (body, field, words) in &cases() {
        let answer = world.submit(body).await;
        answer.is_refusal("prompt-refused", 422, field, words);
        // An estimate says what a submission would.
        let estimate = world.call(Method::POST, "/v1/estimates", body).await;
        assert_eq!(estimate.status, 422);
        assert_eq!(estimate.body["detail"], answer.body["detail"]);
        let batch = json!({"tasks": [video(&json!({})), body]});
        let batch = world.call(Method::POST, "/v1/batches", &batch).await;
        batch.is_refusal("prompt-refused", 422, &format!("tasks[1].{field}"), words);
        assert_eq!(submit_over_nats(&world, body).await, answer.body);
        let said = format!("{} {}", answer.body, batch.body).to_lowercase();
        assert!(
            !said.contains("canary") && !said.contains("mickey"),
            "{said}"
        );
    }
    let nothing = world.get("/v1/tasks").await;
    assert_eq!(nothing.body["tasks"], json!([]), "a refusal stores nothing");
    assert_eq!(world.balance().await[0], "0", "and holds nothing");
    drop(kept);
    let logs = logs.text().to_lowercase();
    assert!(
        logs.contains("the prompt policy refused a request"),
        "the logs were kept"
    );
    assert!(
        !logs.contains("canary") && !logs.contains("mickey"),
        "a prompt is in the logs"
    );
}

#[tokio::test]
async fn a_changed_policy_neither_breaks_nor_judges_a_repeat() {
    let (_folder, file) = terms_file();
    let world = World::start().await;
    let body = video(&json!({"prompt": "Mickey\u{200B} Mouse"}));
    let first = world.submit_with_key("/v1/tasks", "k", &body).await;
    assert_eq!(first.status, 202, "{}", first.body);
    let batch = json!({"tasks": [body, body]});
    let many = world.submit_with_key("/v1/batches", "b", &batch).await;
    assert_eq!(many.status, 202, "{}", many.body);
    // The same broker, another policy.
    let url = world.node.endpoint().url;
    let strict = World::with(|config| {
        config.nats.url = Some(url);
        config.prompt.terms_file = Some(file);
        config.prompt.negative_prompt = "rain".to_owned();
    })
    .await;
    let again = strict.submit_with_key("/v1/tasks", "k", &body).await;
    assert_eq!((again.status, again.body), (202, first.body));
    let again = strict.submit_with_key("/v1/batches", "b", &batch).await;
    assert_eq!((again.status, again.body), (202, many.body));
    strict
        .submit_with_key("/v1/tasks", "new", &body)
        .await
        .is_refusal("prompt-refused", 422, "prompt", "no-brands");
}

fn platform(change: impl FnOnce(&mut kling_relay::config::Prompt) + 'static) -> Options {
    Options::default().service(|config| {
        config.prompt.negative_prompt = "gore, weapons".to_owned();
        change(&mut config.prompt);
    })
}

/// Submits, waits for the end, and returns the body that Kling received.
async fn received(world: &world::World, request: &Value) -> Value {
    let id = world.submit(request).await;
    world.reaches(&id, Status::Succeeded).await;
    let task = world.control().task(id.as_str()).expect("Kling has it");
    task.body
}

#[tokio::test(flavor = "multi_thread")]
async fn kling_gets_what_the_policy_leaves() {
    let world = world::World::start(platform(|prompt| {
        prompt.sensitive = Sensitive::Redact;
        prompt.detectors = vec![Detector::Email];
    }))
    .await;
    let request = |model: &str| {
        json!({"product": "text-to-video", "model": model,
            "prompt": " a\u{200B} fox, ada@example.com, cafe\u{301} ",
            "negative_prompt": "rain, Gore"})
    };
    let sent = "a fox, [email], café";
    let legacy = received(&world, &request("kling-v2-6")).await;
    assert_eq!(legacy["prompt"], sent);
    assert_eq!(legacy["negative_prompt"], "rain, Gore, weapons");
    let new = received(&world, &request("kling-2.6")).await;
    assert_eq!(new["prompt"], format!("{sent}\nAvoid: rain, Gore{AVOID}"));
    let image = json!({"product": "image-to-video", "model": "kling-2.6", "prompt": "it moves",
        "parameters": {"first_frame": "https://example.com/a.png"}});
    let image = received(&world, &image).await;
    assert_eq!(image["contents"][0]["text"], format!("it moves{AVOID}"));
    let sound = json!({"product": "video-to-audio", "parameters":
        {"video_url": "https://example.com/a.mp4", "bgm_prompt": "for ada@example.com"}});
    let sound = received(&world, &sound).await;
    assert_eq!(sound["bgm_prompt"], "for [email]");
    assert!(sound.get("negative_prompt").is_none());
    // What is stored is what was sent: the address is nowhere.
    let found = world.app.log().read(
        "kling.v1.*.task.*.requested",
        kling_relay::edge::nats::log::ReadFrom::Sequence(1),
        100,
    );
    for recorded in found.await.unwrap() {
        let call = recorded
            .task_event()
            .unwrap()
            .call
            .expect("it has the call");
        assert!(!Value::Object(call.body).to_string().contains("ada@"));
    }
    world.stop(Expected::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_off_changes_nothing_but_what_is_hidden() {
    let world = world::World::start(platform(|prompt| {
        prompt.sensitive = Sensitive::Allow;
        prompt.negative_prompt = String::new();
    }))
    .await;
    for model in ["kling-2.6", "kling-v2-6"] {
        let body = json!({"product": "text-to-video", "model": model,
            "prompt": "ada@example.com\u{200B} runs"});
        let body = received(&world, &body).await;
        assert_eq!(body["prompt"], "ada@example.com runs");
        assert!(body.get("negative_prompt").is_none());
    }
    world.stop(Expected::default()).await;
}
