//! Usage over HTTP: to whom it belongs, and what it is asked with.

use kling_relay::config::Config;
use reqwest::Method;
use serde_json::{Value, json};

use super::{KEY, OPERATOR, OTHER, WITHIN, World, video};
use crate::broker::until;

/// A tenant with one task that was cancelled, which costs nothing.
async fn cancels(world: &World, key: &str) {
    let soon = (world.clock.now() + jiff::SignedDuration::from_mins(1)).to_string();
    let body = video(&json!({ "not_before": soon, "labels": {"project": "x"} }));
    let accepted = world.call_as(key, Method::POST, "/v1/tasks", &body).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    let path = format!("/v1/tasks/{}", accepted.body["task_id"].as_str().unwrap());
    let cancelled = world
        .call_as(key, Method::DELETE, &path, &Value::Null)
        .await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
}

async fn usage(world: &World, key: &str, query: &str) -> Value {
    let path = format!("/v1/usage{query}");
    let answer = world.call_as(key, Method::GET, &path, &Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

#[tokio::test]
async fn usage_is_shown_to_whom_it_belongs() {
    let world = World::start().await;
    cancels(&world, KEY).await;
    cancels(&world, OTHER).await;
    until("both are settled", WITHIN, async || {
        usage(&world, OPERATOR, "").await["total"]["failed"] == 2
    })
    .await;
    let mine = usage(&world, KEY, "?group_by=tenant,label:project").await;
    assert_eq!(mine["tenant"], "acme");
    let group = json!({ "tenant": "acme", "label:project": "x" });
    assert_eq!(mine["groups"][0]["group"], group);
    assert_eq!(mine["groups"].as_array().unwrap().len(), 1, "{mine}");
    assert_eq!(mine["total"]["tasks"], 1);
    let all = usage(&world, OPERATOR, "?group_by=tenant&group_by=product").await;
    assert_eq!(all["groups"].as_array().unwrap().len(), 2);
    let other = usage(&world, OPERATOR, "?tenant=other&label=project:x").await;
    assert_eq!(
        (&other["tenant"], &other["total"]["tasks"]),
        (&json!("other"), &json!(1))
    );
    let none = usage(&world, OPERATOR, "?from=2026-01-01&to=2026-01-02T23:00:00Z").await;
    assert_eq!(
        (&none["from"], &none["to"]),
        (&json!("2026-01-01"), &json!("2026-01-02"))
    );
    assert_eq!(
        (&none["groups"], &none["total"]["tasks"]),
        (&json!([]), &json!(0))
    );

    world
        .get("/v1/usage?tenant=other")
        .await
        .is_refusal("invalid-request", 400, "tenant", "yours");
    for (query, field, words) in [
        ("?group_by=week", "group_by", "label:KEY"),
        ("?from=yesterday", "from", "2026-11-21"),
        (
            "?from=2026-11-22&to=2026-11-21",
            "from",
            "after the last day",
        ),
        ("?label=x", "label", "key=value"),
        ("?cursor=1", "parameter", "group_by"),
    ] {
        let refused = world.get(&format!("/v1/usage{query}")).await;
        refused.is_refusal("invalid-request", 400, field, words);
    }
}

#[tokio::test]
async fn usage_is_bounded_in_number_and_time() {
    let world = World::with(|config: &mut Config| config.usage.reports_max = 0).await;
    let refused = world.get("/v1/usage").await;
    refused.is_refusal("rate-limited", 429, "", "other usage reports");

    let mut world = World::with(|config: &mut Config| {
        config.usage.report_timeout = std::time::Duration::from_millis(200);
    })
    .await;
    world.node.kill();
    let refused = world.get("/v1/usage").await;
    refused.is_refusal("unavailable", 503, "", "fewer days");
    assert_eq!(refused.header("retry-after"), "60");
}
