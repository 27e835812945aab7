//! Estimates, budgets, and batches that are held whole or not at all.

use jiff::SignedDuration;
use kling_relay::config::Config;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{OPERATOR, World, video};

/// A day of ten units: a five-second video takes some of them.
async fn small() -> World {
    World::with(|config: &mut Config| {
        config.budget.daily_limit = serde_json::from_value(json!({"video-unit": "10"})).unwrap();
    })
    .await
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn over_budget_says_how_much_and_stores_nothing() {
    let world = small().await;
    let one = world
        .call(Method::POST, "/v1/estimates", &video(&json!({})))
        .await;
    assert_eq!(one.status, 200, "{}", one.body);
    assert_eq!(one.body["allowed"], true);
    let price = decimal(&one.body["total"][0]["amount"]);
    assert_eq!(one.body["estimates"], one.body["total"]);
    let fits = (Decimal::TEN / price).trunc();
    let count: usize = fits.to_string().parse::<usize>().unwrap() + 1;

    let batch = json!({"tasks": vec![video(&json!({})); count]});
    let estimate = world.call(Method::POST, "/v1/estimates", &batch).await;
    assert_eq!(estimate.body["allowed"], false);
    assert_eq!(estimate.body["estimates"].as_array().unwrap().len(), count);
    let refused = world.call(Method::POST, "/v1/batches", &batch).await;
    refused.is_refusal("budget-exceeded", 402, "", "video-unit");
    assert_eq!(refused.body["fits"], count - 1);
    assert_eq!(
        refused.body["remaining"],
        json!([{"amount": "10", "unit": "video-unit"}])
    );
    let needed = decimal(&refused.body["needed"][0]["amount"]);
    assert_eq!(needed, price * Decimal::from(count));
    assert_eq!(world.balance().await, ["0", "0", "10"], "all or nothing");

    let batch = json!({"tasks": vec![video(&json!({})); count - 1]});
    let accepted = world.call(Method::POST, "/v1/batches", &batch).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    assert_eq!(
        accepted.body["task_ids"].as_array().unwrap().len(),
        count - 1
    );
    let held = accepted.body["estimate"][0]["amount"].as_str().unwrap();
    assert_eq!(world.balance().await, [held, "0", "10"]);
    let one_more = world.submit(&video(&json!({"prompt": "a canary"}))).await;
    one_more.is_refusal("budget-exceeded", 402, "", "remain");
    assert!(!one_more.body.to_string().contains("canary"));

    // A delayed task is held on its own day, which is untouched.
    let tomorrow = (world.clock.now() + SignedDuration::from_hours(25)).to_string();
    let delayed = video(&json!({ "not_before": tomorrow }));
    let task = world.accepted(&delayed).await;
    let task = world.get(&format!("/v1/tasks/{task}")).await.body;
    assert_eq!(task["relay"]["day"], tomorrow[..10]);
    assert_eq!(world.balance().await, [held, "0", "10"]);
}

#[tokio::test]
async fn a_unit_without_a_limit_is_not_spent() {
    let world = World::with(|config| {
        let limits = json!({"video-unit": "10", "image-unit": "0"});
        config.budget.daily_limit = serde_json::from_value(limits).unwrap();
    })
    .await;
    let image = json!({"product": "image-generation", "model": "kling-v3", "prompt": "a fox"});
    let refused = world.submit(&image).await;
    refused.is_refusal("budget-exceeded", 402, "", "image-unit");
    assert_eq!(refused.body["fits"], 0);
}

#[tokio::test]
async fn budgets_are_shown_to_whom_they_belong() {
    let world = World::start().await;
    world.accepted(&video(&json!({}))).await;
    let mine = world.get("/v1/budget").await;
    assert_eq!(mine.body["tenant"], "acme");
    assert_ne!(mine.body["balance"]["video-unit"]["held"], "0");
    let as_operator = async |path| {
        let answer = world
            .call_as(OPERATOR, Method::GET, path, &Value::Null)
            .await;
        answer.body
    };
    assert_eq!(as_operator("/v1/budget?tenant=acme").await, mine.body);
    let other = as_operator("/v1/budget?tenant=other").await;
    assert_eq!(other["balance"]["video-unit"]["held"], "0");
    assert_eq!(as_operator("/v1/budget").await["tenant"], "_account");
    assert_eq!(
        as_operator("/v1/budget?tenant=A%20B").await["field"],
        "tenant"
    );
}
