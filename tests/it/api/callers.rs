//! Who may ask what: keys, tenants, paths, methods, rates.

use kling_relay::model::problem::ProblemCode;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Answer, KEY, OPERATOR, OTHER, WITHIN, World, video};
use crate::broker::until;

#[tokio::test]
async fn strangers_and_other_tenants_see_nothing() {
    let world = World::start().await;
    let list = format!("{}/v1/tasks", world.api);
    let answer = Answer::of(world.client.get(&list)).await;
    answer.is_refusal("unauthorized", 401, "", "Authorization: Bearer");
    let answer = Answer::of(
        world
            .client
            .get(&list)
            .header("authorization", "Basic YTpi"),
    )
    .await;
    answer.is_refusal("unauthorized", 401, "", "Authorization: Bearer");
    let answer = world
        .call_as("wrong", Method::GET, "/v1/tasks", &Value::Null)
        .await;
    answer.is_refusal("unauthorized", 401, "", "not known");
    assert!(!answer.body.to_string().contains("wrong"));

    let task = world.accepted(&video(&json!({}))).await;
    for (method, path) in [
        (Method::GET, format!("/v1/tasks/{task}")),
        (Method::DELETE, format!("/v1/tasks/{task}")),
        (Method::GET, format!("/v1/tasks/{task}/events")),
        (Method::GET, format!("/v1/events?task={task}")),
    ] {
        let answer = world.call_as(OTHER, method, &path, &Value::Null).await;
        answer.is_refusal("not-found", 404, "", "there is no task");
    }
    for path in [
        "/v1/tasks/acme_0",
        "/v1/tasks/%ff",
        "/v1/tasks/a%2fb",
        "/nothing",
    ] {
        assert_eq!(world.get(path).await.body["code"], "not-found", "{path}");
    }
    let path = format!("/v1/tasks/{task}");
    let seen = world.call_as(OPERATOR, Method::GET, &path, &Value::Null);
    assert_eq!(seen.await.status, 200, "an operator sees every tenant");
    let answer = world
        .call_as(OPERATOR, Method::POST, "/v1/tasks", &video(&json!({})))
        .await;
    answer.is_refusal("invalid-request", 400, "", "use a tenant's key");
}

#[tokio::test]
async fn paths_methods_and_parameters() {
    let world = World::start().await;
    for (method, path, allow) in [
        (Method::PUT, "/v1/tasks", "GET, POST"),
        (Method::POST, "/v1/tasks/x", "DELETE, GET"),
        (Method::GET, "/v1/batches", "POST"),
        (Method::DELETE, "/v1/budget", "GET, PUT"),
        (Method::POST, "/v1/events", "GET"),
    ] {
        let answer = world.call(method, path, &Value::Null).await;
        answer.is_refusal("method-not-allowed", 405, "", allow);
        assert_eq!(answer.header("allow"), allow);
    }
    for path in ["/openapi.json", "/asyncapi.json", "/console"] {
        world
            .get(path)
            .await
            .is_refusal("not-implemented", 501, "", "README");
    }
    for (query, field, words) in [
        ("status=done", "status", "requested, dispatching"),
        ("label=x", "label", "key:value"),
        ("limit=0", "limit", "1 to 500"),
        ("limit=501", "limit", "1 to 500"),
        ("cursor=x", "cursor", "next_cursor"),
        ("colour=red", "colour", "no such parameter"),
    ] {
        let answer = world.get(&format!("/v1/tasks?{query}")).await;
        answer.is_refusal("invalid-request", 400, field, words);
    }
}

#[tokio::test]
async fn a_key_has_its_rate() {
    let world = World::with(|config| {
        config.api.rate_limit = 1;
        config.api.rate_burst = 3;
    })
    .await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(world.get("/v1/budget").await);
    }
    let refused = answers.iter().find(|answer| answer.status == 429);
    let refused = refused.expect("five at once are more than three");
    refused.is_refusal("rate-limited", 429, "", "try again in 1 s");
    assert_eq!(refused.header("retry-after"), "1");
    let other = world
        .call_as(OTHER, Method::GET, "/v1/budget", &Value::Null)
        .await;
    assert_eq!(other.status, 200, "another key has its own");
}

#[tokio::test]
async fn a_tenant_has_so_many_live_streams() {
    let world = World::with(|config| config.api.streams_max = 2).await;
    let open = async |key| {
        let request = world.request(key, Method::GET, "/v1/events");
        request.send().await.unwrap()
    };
    let first = open(KEY).await;
    let second = open(KEY).await;
    for opened in [&first, &second] {
        assert_eq!(opened.status(), 200);
    }
    assert_eq!(open(KEY).await.status(), 429);
    let refused = world.get("/v1/events").await;
    refused.is_refusal("rate-limited", 429, "", "2 event streams are open");
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(
        open(OTHER).await.status(),
        200,
        "another tenant has its own"
    );
    drop(first);
    until("its place is free again", WITHIN, async || {
        open(KEY).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_tenants_bodies_leave_room_for_the_others() {
    let world = World::start().await;
    let address = world.app.address("api").unwrap();
    let mut slow = Vec::new();
    for _ in 0..16 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /v1/batches HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\
             Content-Length: 4194304\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    until("the tenant holds all that it may", WITHIN, async || {
        world.submit(&video(&json!({}))).await.status == 503
    })
    .await;
    let other = world
        .call_as(OTHER, Method::POST, "/v1/tasks", &video(&json!({})))
        .await;
    assert_eq!(other.status, 202, "{}", other.body);
    drop(slow);
    until("there is room again", WITHIN, async || {
        world.submit(&video(&json!({}))).await.status == 202
    })
    .await;
}

/// The documented codes, each with its status.
#[test]
fn codes_have_their_statuses() {
    let documented = [
        (ProblemCode::InvalidRequest, "invalid-request", 400),
        (ProblemCode::Unauthorized, "unauthorized", 401),
        (ProblemCode::BudgetExceeded, "budget-exceeded", 402),
        (ProblemCode::NotFound, "not-found", 404),
        (ProblemCode::MethodNotAllowed, "method-not-allowed", 405),
        (
            ProblemCode::IdempotencyConflict,
            "idempotency-conflict",
            409,
        ),
        (ProblemCode::NotCancellable, "not-cancellable", 409),
        (ProblemCode::TooLarge, "too-large", 413),
        (ProblemCode::UnknownPrice, "unknown-price", 422),
        (ProblemCode::PromptRefused, "prompt-refused", 422),
        (ProblemCode::RateLimited, "rate-limited", 429),
        (ProblemCode::NotImplemented, "not-implemented", 501),
        (ProblemCode::Unavailable, "unavailable", 503),
    ];
    for (code, name, status) in documented {
        assert_eq!((code.as_str(), code.status()), (name, status));
        assert_eq!(serde_json::to_value(code).unwrap(), name);
    }
}
