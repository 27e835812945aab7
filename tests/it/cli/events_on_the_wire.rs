//! What a run leaves on the stream, message by message: headers, bodies, schemas, and what must not
//! stand there.

use std::collections::{HashMap, HashSet};

use async_nats::jetstream::consumer::pull::OrderedConfig;
use futures::StreamExt;
use kling_relay::edge::nats::server::endpoint_of;
use kling_relay::edge::nats::{Broker, topology};
use kling_relay::ops::schemas;
use serde_json::{Value, json};

use super::Dev;
use crate::schema::violations;
use crate::{broker, cli};

const CANARY: &str = "a canary in a coal mine";

/// One message as a consumer gets it.
struct Message {
    subject: String,
    headers: HashMap<String, String>,
    body: Value,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.unwrap_or_else(|| panic!("{} has no {name}", self.subject))
    }
}

async fn everything(dev: &Dev) -> Vec<Message> {
    let endpoint = endpoint_of(&dev.place.data_dir()).expect("its broker runs");
    let broker = Broker::connect(&broker::config(1), &endpoint)
        .await
        .unwrap();
    let context = async_nats::jetstream::new(broker.client().clone());
    let mut stream = context.get_stream(topology::LOG).await.unwrap();
    let last = stream.info().await.unwrap().state.last_sequence;
    let config = OrderedConfig {
        filter_subject: topology::PUBLIC.to_owned(),
        ..OrderedConfig::default()
    };
    let mut messages = stream
        .create_consumer(config)
        .await
        .unwrap()
        .messages()
        .await
        .unwrap();
    let mut all = Vec::new();
    loop {
        let message = tokio::time::timeout(cli::WITHIN, messages.next()).await;
        let message = message.expect("the stream is read").unwrap().unwrap();
        let info = message.info().unwrap();
        let (seq, left) = (info.stream_sequence, info.pending);
        let headers = message.headers.clone().unwrap_or_default();
        all.push(Message {
            subject: message.subject.to_string(),
            headers: headers
                .iter()
                .map(|(name, values)| (name.to_string(), values[0].to_string()))
                .collect(),
            body: serde_json::from_slice(&message.payload).unwrap(),
        });
        if left == 0 || seq >= last {
            return all;
        }
    }
}

/// Three endings, and a day so small that an alert is written.
async fn run() -> Vec<Message> {
    let dev = Dev::start(&[("KLING_RELAY_BUDGET__DAILY_LIMIT", "{ video-unit = \"5\" }")]).await;
    let fail = format!("{CANARY} [sim:fail=moderation]");
    let later = "2126-01-01T00:00:00Z";
    let (good, bad) = (
        [
            "submit",
            "--prompt",
            CANARY,
            "--label",
            "colour=red",
            "--wait",
            "--json",
        ],
        ["submit", "--prompt", &fail, "--wait", "--json"],
    );
    let parameters = format!(
        "{{\"first_frame\":\"https://example.com/{}.png\"}}",
        "secret-frame"
    );
    let frame = [
        "submit",
        "--product",
        "image-to-video",
        "--prompt",
        CANARY,
        "--parameters",
        &parameters,
        "--wait",
        "--json",
    ];
    let (good, bad, frame) = tokio::join!(dev.run(&good), dev.run(&bad), dev.run(&frame));
    good.is(0, "succeeded");
    bad.is(1, "failed");
    frame.is(0, "succeeded");
    let refused = dev
        .run(&["submit", "--prompt", CANARY, "--not-before", later])
        .await;
    assert_eq!(refused.code, 1);
    let all = everything(&dev).await;
    dev.stop().await;
    all
}

#[tokio::test]
async fn events_are_as_documented() {
    let all = run().await;
    let schemas: HashMap<String, Value> = schemas::all().into_iter().collect();
    let mut ids = HashSet::new();
    let mut kinds = HashSet::new();
    for message in &all {
        let (schema, ce_type) = names(message);
        kinds.insert(schema.clone());
        check_headers(message, &ce_type);
        assert!(
            ids.insert(message.header("ce-id").to_owned()),
            "{} twice",
            message.header("ce-id")
        );
        let wrong = violations(&schemas[&schema], &message.body);
        assert!(
            wrong.is_empty(),
            "{}: {wrong:?}\n{}",
            message.subject,
            message.body
        );
        check_privacy(message, &schema);
    }
    for kind in [
        "requested",
        "dispatching",
        "submitted",
        "succeeded",
        "failed",
        "stored",
        "settled",
        "ledger-entry",
        "budget-alert",
    ] {
        assert!(
            kinds.contains(&format!("event.{kind}.json")),
            "{kind} is missing: {kinds:?}"
        );
    }
    let alerts = all
        .iter()
        .filter(|message| message.subject.ends_with(".alert"));
    assert_eq!(alerts.count(), 1, "once per day and threshold");
}

/// Returns the schema's file and the documented type of a message, by its subject.
fn names(message: &Message) -> (String, String) {
    let tokens: Vec<&str> = message.subject.split('.').collect();
    match tokens[3] {
        "task" => {
            let kind = tokens[5];
            let file = format!("event.{kind}.json");
            (file, format!("dev.kling-relay.task.{kind}.v1"))
        }
        "ledger" => {
            let kind = message.body["kind"].as_str().unwrap();
            let file = "event.ledger-entry.json".to_owned();
            (file, format!("dev.kling-relay.ledger.{kind}.v1"))
        }
        _ => (
            "event.budget-alert.json".to_owned(),
            "dev.kling-relay.budget.alert.v1".to_owned(),
        ),
    }
}

fn check_headers(message: &Message, ce_type: &str) {
    assert_eq!(message.header("ce-specversion"), "1.0");
    assert_eq!(message.header("ce-type"), ce_type);
    assert_eq!(message.header("ce-source"), "/kling-relay/development");
    assert_eq!(message.header("content-type"), "application/json");
    assert_eq!(
        json!(message.header("ce-time")),
        message.body["occurred_at"]
    );
    let task = message.body["task_id"].as_str();
    let subject = task.or(message.body["tenant"].as_str());
    assert_eq!(Some(message.header("ce-subject")), subject);
    if message.subject.contains(".task.") {
        let kind = message.subject.rsplit('.').next().unwrap();
        let start = format!("{}.{kind}.", task.unwrap());
        let n = message.header("ce-id").strip_prefix(&start).unwrap();
        assert!(n.parse::<u32>().is_ok_and(|n| n > 0), "{n}");
    }
    let commit = message.header("kling-commit");
    assert!(
        commit.len() == 32 && commit.bytes().all(|b| b.is_ascii_hexdigit()),
        "{commit}"
    );
    let trace: Vec<&str> = message.header("traceparent").split('-').collect();
    assert_eq!(
        trace.iter().map(|part| part.len()).collect::<Vec<_>>(),
        [2, 32, 16, 2]
    );
}

/// The prompt and parameters stand in `requested` only, signed addresses in `succeeded` only.
fn check_privacy(message: &Message, schema: &str) {
    let text = format!("{} {:?} {}", message.subject, message.headers, message.body);
    if schema == "event.requested.json" {
        assert!(text.contains("coal mine"));
    } else {
        assert!(!text.contains("coal mine"), "{text}");
        assert!(!text.contains("secret-frame"), "{text}");
    }
    if schema == "event.succeeded.json" {
        let url = message.body["outputs"][0]["url"].as_str().unwrap();
        assert!(url.starts_with("https://"), "{url}");
    } else {
        assert!(message.body.get("outputs").is_none());
        assert!(!text.contains("https://localhost"), "{text}");
    }
}
