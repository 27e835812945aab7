//! Events live as server-sent events, resumed without a gap.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};

use super::{KEY, OTHER, WITHIN, World, video};

/// One server-sent event.
#[derive(Debug)]
struct Sent {
    id: u64,
    kind: String,
    data: Value,
}

/// A connection that stays open.
struct Live {
    bytes: Pin<Box<dyn Stream<Item = Vec<u8>>>>,
    text: String,
}

impl Live {
    async fn open(world: &World, key: &str, path: &str, after: Option<u64>) -> Self {
        let mut request = world
            .request(key, Method::GET, path)
            .header("accept", "text/event-stream");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let bytes = response.bytes_stream().map(|part| part.unwrap().to_vec());
        Self {
            bytes: Box::pin(bytes),
            text: String::new(),
        }
    }

    async fn next(&mut self) -> Sent {
        let block = async {
            loop {
                if let Some((block, rest)) = self.text.split_once("\n\n") {
                    let (block, rest) = (block.to_owned(), rest.to_owned());
                    self.text = rest;
                    if block.contains("data:") {
                        return block;
                    }
                    continue;
                }
                let part = self.bytes.next().await.expect("the stream goes on");
                self.text.push_str(std::str::from_utf8(&part).unwrap());
            }
        };
        let block = tokio::time::timeout(WITHIN, block)
            .await
            .expect("an event comes");
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        Sent {
            id: field("id:").parse().unwrap(),
            kind: field("event:"),
            data: serde_json::from_str(&field("data:")).unwrap(),
        }
    }
}

#[tokio::test]
async fn events_come_live_and_resume_without_a_gap() {
    let world = World::start().await;
    let mut mine = Live::open(&world, KEY, "/v1/events", None).await;
    let mut theirs = Live::open(&world, OTHER, "/v1/events", None).await;
    let first = world.accepted(&video(&json!({}))).await;
    let second = world.accepted(&video(&json!({}))).await;
    let event = mine.next().await;
    assert_eq!(
        (event.kind.as_str(), &event.data["data"]["task_id"]),
        ("requested", &json!(first))
    );
    assert_eq!(event.data["sequence"], event.id);
    assert_eq!(event.data["id"], format!("{first}.requested.1"));
    let id = event.id;
    drop(mine);

    // What happens while nobody listens is not lost, and nothing comes twice.
    world
        .call(Method::DELETE, &format!("/v1/tasks/{first}"), &Value::Null)
        .await;
    let mut resumed = Live::open(&world, KEY, "/v1/events", Some(id)).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let event = resumed.next().await;
        assert!(event.id > id);
        seen.push((
            event.kind,
            event.data["data"]["task_id"].as_str().unwrap().to_owned(),
        ));
    }
    let expected = [
        ("requested", &second),
        ("failed", &first),
        ("settled", &first),
    ];
    assert_eq!(
        seen,
        expected.map(|(kind, task)| (kind.to_owned(), task.clone()))
    );

    // One task's stream begins with its `requested`, and another tenant sees only its own.
    let path = format!("/v1/tasks/{first}/events");
    let mut of_task = Live::open(&world, KEY, &path, None).await;
    for kind in ["requested", "failed", "settled"] {
        assert_eq!(of_task.next().await.kind, kind);
    }
    let request = world.request(OTHER, Method::POST, "/v1/tasks");
    request
        .body(video(&json!({})).to_string())
        .send()
        .await
        .unwrap();
    let event = theirs.next().await;
    assert_eq!(event.data["data"]["tenant"], "other");

    let bad = world
        .request(KEY, Method::GET, "/v1/events")
        .header("last-event-id", "x");
    let answer = super::Answer::of(bad).await;
    answer.is_refusal("invalid-request", 400, "Last-Event-ID", "a whole number");
}

#[tokio::test]
async fn after_the_greatest_number_nothing_old_comes() {
    let world = World::start().await;
    let old = world.accepted(&video(&json!({}))).await;
    for path in ["/v1/events".to_owned(), format!("/v1/tasks/{old}/events")] {
        let mut live = Live::open(&world, KEY, &path, Some(u64::MAX)).await;
        let event = tokio::time::timeout(Duration::from_secs(1), live.next()).await;
        assert!(event.is_err(), "{path}: {event:?}");
    }
}
