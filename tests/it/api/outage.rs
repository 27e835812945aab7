//! With the broker gone nothing is said to be accepted, and the same key finds out later.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{World, video};
use crate::broker::until;

#[tokio::test]
async fn without_the_broker_the_answer_is_unavailable() {
    let mut world = World::with(|config| {
        config.nats.commit_timeout = Duration::from_millis(300);
        config.nats.read_timeout = Duration::from_millis(300);
        config.api.accept_timeout = Duration::from_secs(1);
    })
    .await;
    let task = world.accepted(&video(&json!({}))).await;
    world.node.kill();
    let prompt = video(&json!({"prompt": "a canary"}));
    let answers = [
        world.submit(&prompt).await,
        world.submit_with_key("/v1/tasks", "k", &prompt).await,
        world
            .call(Method::POST, "/v1/batches", &json!({"tasks": [prompt]}))
            .await,
        world.call(Method::POST, "/v1/estimates", &prompt).await,
        world.get(&format!("/v1/tasks/{task}")).await,
        world.get(&format!("/v1/tasks/{task}/events")).await,
        world.get("/v1/events").await,
        world.get("/v1/budget").await,
        world
            .call(Method::DELETE, &format!("/v1/tasks/{task}"), &Value::Null)
            .await,
    ];
    for answer in answers {
        answer.is_refusal("unavailable", 503, "", "again");
        assert!(!answer.header("retry-after").is_empty());
        assert!(!answer.body.to_string().contains("canary"));
    }
    let unknown = world.submit(&prompt).await;
    unknown.is_refusal(
        "unavailable",
        503,
        "",
        "repeat it with the same Idempotency-Key",
    );

    world.node.restart();
    world.node.wait_ready();
    until(
        "the same key finds out",
        Duration::from_secs(60),
        async || {
            world
                .submit_with_key("/v1/tasks", "k", &prompt)
                .await
                .status
                == 202
        },
    )
    .await;
}
