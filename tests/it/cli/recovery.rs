//! The day after: past events again for one consumer, and messages that were set aside.

use std::collections::BTreeMap;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures::StreamExt;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::Broker;
use kling_relay::edge::nats::callbacks::CallbackToStore;
use kling_relay::edge::nats::log::{Log, ReadFrom};
use kling_relay::edge::nats::record::Recorded;
use kling_relay::edge::nats::server::endpoint_of;
use kling_relay::edge::nats::topology::Consumer;
use kling_relay::model::dead_letter::DeadLetter;
use kling_relay::model::event::EventKind;
use kling_relay::model::ids::TaskId;
use kling_relay::model::observation::Proof;
use serde_json::{Value, json};

use super::{Dev, WITHIN};
use crate::broker::{api, config, open, until};

async fn link(dev: &Dev) -> (Broker, Log) {
    let endpoint = endpoint_of(&dev.place.data_dir()).expect("dev runs a broker");
    open(&endpoint, &config(1)).await
}

/// Every consumer's place, and every balance: what a replay to somebody else must leave alone.
async fn untouched(broker: &Broker, dev: &Dev) -> Value {
    let mut seen = json!({});
    for consumer in Consumer::ALL {
        let info = format!("CONSUMER.INFO.{}.{}", consumer.stream(), consumer.name());
        let info = api(broker, &info).await.expect("a consumer");
        seen[consumer.name()] = info["num_ack_pending"].clone();
        if consumer.replays() == consumer {
            seen[consumer.name()] = info["delivered"]["consumer_seq"].clone();
        }
    }
    seen["budget"] = dev.run(&["budget", "show", "--json"]).await.json()["balance"].clone();
    seen
}

/// Reads what has been delivered again to one consumer, as a service of any language would.
pub(crate) async fn received(
    broker: &Broker,
    name: &str,
    count: usize,
) -> Vec<(String, String, String)> {
    let wanted = pull::Config {
        filter_subject: format!("kling.replay.v1.{name}.>"),
        ack_policy: AckPolicy::Explicit,
        ..pull::Config::default()
    };
    let consumer = broker
        .jetstream()
        .create_consumer_on_stream(wanted, "KLING_REPLAY");
    let consumer = consumer.await.expect("a consumer of its own");
    let mut found = Vec::new();
    let mut messages = consumer.messages().await.expect("messages");
    let all = async {
        while found.len() < count {
            let message = messages.next().await.expect("one more").expect("a message");
            let headers = message.headers.clone().expect("headers");
            let header = |name: &str| headers.get(name).expect("a header").as_str().to_owned();
            let replay = header("kling-replay");
            found.push((message.subject.to_string(), header("ce-id"), replay));
            message.ack().await.expect("acknowledged");
        }
    };
    tokio::time::timeout(WITHIN, all).await.expect("in time");
    found
}

#[tokio::test]
async fn a_replay_reaches_one_consumer_and_nobody_else() {
    let dev = Dev::start(&[]).await;
    let from = Clock::system().now().to_string();
    for label in ["a", "b", "a"] {
        let label = format!("kind={label}");
        let submit = ["submit", "--prompt", "a fox", "--label", &label, "--wait"];
        dev.run(&submit).await.is(0, "succeeded");
    }
    let (broker, log) = link(&dev).await;
    let before = untouched(&broker, &dev).await;

    let range = ["replay", "--consumer", "billing", "--from", &from];
    let with = |more: &[&'static str]| [range.as_slice(), more].concat();
    let dry = dev.run(&with(&["--dry-run", "--json"])).await;
    let dry = dry.json();
    assert_eq!(dry["counts"]["succeeded"], 3, "{dry}");
    assert_eq!(dry["delivered"], 0);
    let total = dry["total"].as_u64().expect("a number");
    dev.run(&with(&[])).await.is(2, "--reason");

    let why = ["--reason", "an outage", "--who", "olga", "--json"];
    let first = dev.run(&with(&why)).await.json();
    assert_eq!(first["delivered"], total, "{first}");
    let second = dev.run(&with(&why)).await.json();
    assert_ne!(first["replay"], second["replay"]);
    let only = ["--event", "succeeded", "--label", "kind=a"];
    let some = dev.run(&with(&[&only[..], &why].concat())).await.json();
    assert_eq!(some["delivered"], 2, "{some}");

    let count = usize::try_from(total * 2 + 2).expect("a small number");
    let found = received(&broker, "billing", count).await;
    let mut by_replay: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (subject, ce_id, replay) in &found {
        assert!(subject.starts_with("kling.replay.v1.billing.kling.v1.dev.task."));
        by_replay.entry(replay).or_default().push(ce_id);
    }
    let of = |answer: &Value| by_replay[answer["replay"].as_str().expect("an id")].clone();
    assert_eq!(of(&first), of(&second), "the same ids in the same order");
    assert_eq!(of(&some).len(), 2);
    assert_eq!(
        before,
        untouched(&broker, &dev).await,
        "the others received nothing"
    );

    let audits = log
        .audits(
            first["replay"].as_str().expect("an id"),
            ReadFrom::Sequence(1),
        )
        .await
        .expect("the records");
    let said: Vec<(&str, u64)> = audits
        .iter()
        .map(|a| (a.who.as_str(), a.messages))
        .collect();
    assert_eq!(said, [("olga", 0), ("olga", total)]);
    dev.stop().await;
}

#[tokio::test]
async fn what_was_set_aside_is_listed_shown_given_back_and_thrown_away() {
    let dev = Dev::start(&[]).await;
    let (_broker, log) = link(&dev).await;
    let task = dev
        .run(&["submit", "--prompt", "a fox", "--wait", "--json"])
        .await
        .json();
    let task = TaskId::parse(task["task_id"].as_str().expect("an id")).expect("a task id");
    dev.run(&["dead", "list"])
        .await
        .is(0, "nothing is set aside");

    // One that its stage can handle by now, and one that it never can.
    let succeeded = log.last(&task, EventKind::Succeeded).await.expect("a read");
    set_aside(&log, &succeeded.expect("the event")).await;
    let never = "dev_0123456789abcdefghjkmnpqrs";
    let body = json!({ "task_id": "1", "secret": "wq8" }).to_string();
    store(&log, never, body).await;
    let listed = async || dev.run(&["dead", "list", "--json"]).await.lines();
    until("both are set aside", WITHIN, async || {
        listed().await.len() == 2
    })
    .await;
    let completer = ["dead", "list", "--stage", "completer", "--json"];
    let poison = dev.run(&completer).await.lines().remove(0);
    assert_eq!(poison["task_id"], never);
    let text = dev.run(&["dead", "list"]).await;
    text.is(0, "REASON");
    let number = poison["letter"].to_string();
    let shown = dev.run(&["dead", "show", &number]).await;
    shown.is(0, "completer");
    assert!(
        !shown.stdout.contains("wq8"),
        "bodies are shown when asked for"
    );
    dev.run(&["dead", "show", &number, "--payload"])
        .await
        .is(0, "wq8");

    dev.run(&["dead", "requeue", "--all"])
        .await
        .is(2, "--reason");
    let why = ["--reason", "the disk is back", "--who", "olga"];
    let dry = dev
        .run(&["dead", "requeue", "--all", "--dry-run", "--json"])
        .await;
    assert_eq!(dry.lines().len(), 2);
    let requeue = [&["dead", "requeue", "--all", "--json"][..], &why].concat();
    assert_eq!(dev.run(&requeue).await.json()["messages"], 2);
    until("one is handled, one set aside anew", WITHIN, async || {
        let letters = listed().await;
        letters.len() == 1
            && letters[0]["task_id"] == never
            && letters[0]["letter"] != poison["letter"]
    })
    .await;

    let discard = [
        &["dead", "discard", "--all", "--stage", "completer"][..],
        &why,
    ]
    .concat();
    dev.run(&discard).await.is(0, "1 thrown away");
    dev.run(&["dead", "list"])
        .await
        .is(0, "nothing is set aside");
    dev.run(&["dead", "show", &number]).await.is(1, "no letter");
    dev.stop().await;
}

async fn set_aside(log: &Log, message: &Recorded) {
    let letter = DeadLetter {
        stage: "downloader".to_owned(),
        reason: "the disk was full".to_owned(),
        attempts: 20,
        subject: message.subject.clone(),
        sequence: message.seq,
    };
    log.set_aside(message, &letter).await.expect("set aside");
}

async fn store(log: &Log, task: &str, body: String) {
    let callback = CallbackToStore {
        tenant: "dev".to_owned(),
        task: task.to_owned(),
        body: body.into(),
        proof: Proof::Signed,
        received_at: Clock::system().now(),
        webhook_id: None,
    };
    log.store_callback(callback).await.expect("stored");
}
