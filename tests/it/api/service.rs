//! The same submission over NATS, and what a consumer's account may do.

use std::time::Duration;

use async_nats::HeaderMap;
use serde_json::{Value, json};

use super::{World, video};
use crate::broker;

/// Asks as a program with a plain client would.
async fn ask(client: &async_nats::Client, key: Option<&str>, body: &Value) -> (Value, HeaderMap) {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        headers.insert("Idempotency-Key", key);
    }
    let request = async_nats::Request::new()
        .headers(headers)
        .payload(body.to_string().into())
        .timeout(Some(Duration::from_secs(20)));
    let answer = client
        .send_request("kling.v1.acme.submit", request)
        .await
        .unwrap();
    let headers = answer.headers.clone().unwrap_or_default();
    (serde_json::from_slice(&answer.payload).unwrap(), headers)
}

#[tokio::test]
async fn submissions_over_nats_are_those_over_http() {
    let world = World::start().await;
    let url = world.node.endpoint().url;
    let client = async_nats::connect(url).await.unwrap();
    let (single, headers) = ask(&client, Some("k"), &video(&json!({}))).await;
    assert_eq!(single["status"], "requested", "{single}");
    assert!(headers.get("Nats-Service-Error").is_none());
    // The key is the same one, whichever way it came.
    let http = world
        .submit_with_key("/v1/tasks", "k", &video(&json!({})))
        .await;
    assert_eq!(http.body, single);
    let batch = json!({"tasks": [video(&json!({})), video(&json!({}))]});
    let (batch, _) = ask(&client, None, &batch).await;
    assert_eq!(batch["task_ids"].as_array().unwrap().len(), 2, "{batch}");

    let bad = video(&json!({"duration": 7, "prompt": "a canary"}));
    let (problem, headers) = ask(&client, None, &bad).await;
    assert_eq!(
        headers.get("Nats-Service-Error-Code").unwrap().as_str(),
        "400"
    );
    assert!(headers.get("Nats-Service-Error").is_some());
    assert_eq!(
        problem,
        world.submit(&bad).await.body,
        "the same document as over HTTP"
    );
    let (problem, headers) = ask(&client, Some("k"), &video(&json!({"prompt": "a hare"}))).await;
    assert_eq!(
        headers.get("Nats-Service-Error-Code").unwrap().as_str(),
        "409"
    );
    assert_eq!(problem["code"], "idempotency-conflict");
    let (problem, _) = ask(&client, None, &json!("no object")).await;
    assert_eq!(problem["code"], "invalid-request");

    let info = client
        .request("$SRV.INFO.kling-relay", "".into())
        .await
        .unwrap();
    let info: Value = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!(info["name"], "kling-relay");
    let endpoints = info["endpoints"].as_array().unwrap();
    let submit = endpoints.iter().find(|e| e["name"] == "submit").unwrap();
    assert_eq!(submit["subject"], "kling.v1.*.submit");
}

#[tokio::test]
async fn a_consumer_submits_and_reads_and_writes_nothing() {
    let world = World::with(|config| {
        config.nats.url = None;
        config.nats.listen = "127.0.0.1:0".parse().unwrap();
        config.nats.server_binary = Some(broker::program().to_owned());
    })
    .await;
    let file = std::fs::read(world.dir.path().join("nats.json")).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap();
    let text = |name: &str| file[name].as_str().unwrap().to_owned();
    let client = async_nats::ConnectOptions::new()
        .user_and_password(text("consumer_user"), text("consumer_password"))
        .connect(text("url"))
        .await
        .unwrap();
    let (accepted, _) = ask(&client, None, &video(&json!({}))).await;
    let task = accepted["task_id"]
        .as_str()
        .expect("it is accepted")
        .to_owned();
    let last = world.app.log().last_sequence().await.unwrap();
    for subject in [
        format!("kling.v1.acme.task.{task}.succeeded"),
        "kling.v1.acme.ledger.2026-11-22".to_owned(),
        "kling.v1.acme.budget.2026-11-22.alert".to_owned(),
        format!("kling.callback.v1.acme.{task}"),
        "kling.v1.acme.cancel".to_owned(),
    ] {
        client.publish(subject, "{}".into()).await.unwrap();
    }
    let raise = json!({
        "tenant": "acme", "unit": "video-unit", "limit": "1000000", "who": "me", "reason": "mine",
    });
    let raise = raise.to_string().into();
    client
        .publish("kling.operator.v1.set-limit", raise)
        .await
        .unwrap();
    client.flush().await.unwrap();
    // Whatever was sent before it has arrived when this is answered.
    let (again, _) = ask(&client, None, &json!({})).await;
    assert_eq!(again["code"], "invalid-request");
    assert_eq!(world.app.log().last_sequence().await.unwrap(), last);
    world.app.stop().await;
}
