//! A caller's trace, taken over from HTTP and NATS, and the words of the listener itself.

use kling_relay::model::event::EventKind;
use kling_relay::model::ids::TaskId;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Answer, KEY, WITHIN, World, video};

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// The `traceparent` of a task's first event, in its four parts.
async fn carried(world: &World, id: &Value) -> Vec<String> {
    let id = TaskId::parse(id.as_str().unwrap()).unwrap();
    let event = world.app.log().last(&id, EventKind::Requested).await;
    let event = event.unwrap().unwrap();
    let trace = event.traceparent().unwrap();
    trace.split('-').map(str::to_owned).collect()
}

/// Submits over HTTP with these headers.
async fn submitted(world: &World, path: &str, body: &Value, traces: &[String]) -> Answer {
    let mut request = world.request(KEY, Method::POST, path);
    for trace in traces {
        request = request.header("traceparent", trace);
    }
    let answer = Answer::of(request.body(body.to_string())).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer
}

#[tokio::test]
async fn events_carry_the_trace_of_whoever_submitted() {
    let world = World::start().await;
    let (header, body) = (format!("00-{ID}-{PARENT}-01"), video(&json!({})));
    let one = submitted(&world, "/v1/tasks", &body, std::slice::from_ref(&header)).await;
    let trace = carried(&world, &one.body["task_id"]).await;
    assert_eq!((trace[1].as_str(), trace[3].as_str()), (ID, "01"));
    assert_ne!(trace[2], PARENT, "under a span of ours");

    let batch = json!({"tasks": [body, body]});
    let batch = submitted(&world, "/v1/batches", &batch, std::slice::from_ref(&header)).await;
    for id in batch.body["task_ids"].as_array().unwrap() {
        assert_eq!(carried(&world, id).await[1], ID);
    }

    let client = async_nats::connect(world.node.endpoint().url)
        .await
        .unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("traceparent", header.as_str());
    let answer = client
        .request_with_headers("kling.v1.acme.submit", headers, body.to_string().into())
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(carried(&world, &answer["task_id"]).await[1], ID);
}

#[tokio::test]
async fn a_header_that_is_no_trace_begins_one() {
    let world = World::start().await;
    let (header, body) = (format!("00-{ID}-{PARENT}-01"), video(&json!({})));
    for traces in [
        vec![],
        vec!["nonsense".to_owned()],
        vec![format!("{header}-more")],
        vec![header.clone(), header.clone()],
    ] {
        let answer = submitted(&world, "/v1/tasks", &body, &traces).await;
        let trace = carried(&world, &answer.body["task_id"]).await;
        assert_ne!(trace[1], ID, "{traces:?}");
        assert_eq!(trace[1].len(), 32);
    }
}

#[tokio::test]
async fn a_request_that_is_not_finished_in_time_is_told_in_a_document() {
    let world = World::with(|config| {
        config.api.limits.request_timeout = std::time::Duration::from_millis(200);
    })
    .await;
    let address = world.app.address("api").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    tokio::time::timeout(WITHIN, read).await.unwrap().unwrap();
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(text.contains("application/problem+json"), "{text}");
    assert!(text.contains("\"code\":\"request-timeout\""), "{text}");
    assert!(text.contains("same Idempotency-Key"), "{text}");
}
