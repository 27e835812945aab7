//! Two versions side by side: what a newer one writes neither stops nor misleads this one.

use std::time::Duration;

use kling_relay::edge::nats::log::{Committed, Loaded, Log, LogError, ReadFrom};
use kling_relay::edge::nats::money::{AcceptError, Money, MoneyRules, NewTask};
use kling_relay::edge::nats::{Broker, topology};
use kling_relay::model::amount::Unit;
use kling_relay::model::ids::TaskId;
use kling_relay::model::task::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::broker::{Node, api, config, open, until};
use crate::kit::{billed, end, fresh_task_id, key, limits, new_task, video as amount};
use crate::world::{Expected, Options, World, legacy_video, video};

/// Writes an event as a newer version would: on the state that is there, with a kind and fields
/// that we do not know.
async fn write_newer(world: &World, id: &TaskId) {
    let log: &Log = world.app.log();
    let prefix = topology::task_prefix(id);
    until(
        "a newer version has its turn",
        Duration::from_secs(10),
        async || {
            let on = log.load(id).await.unwrap().unwrap();
            let mut body = serde_json::to_value(&on.task).unwrap();
            body["verdict"] = json!({ "score": 0.9 });
            body["relay"]["reviewed_at"] = json!("2027-01-01T00:00:00Z");
            body["relay"]["requested_seq"] = json!(on.requested_seq());
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Nats-Expected-Last-Subject-Sequence", on.seq.to_string());
            headers.insert(
                "Nats-Expected-Last-Subject-Sequence-Subject",
                prefix.as_str(),
            );
            headers.insert("ce-id", format!("{id}.reviewed.1"));
            let subject = prefix.replace(".>", ".reviewed");
            let request = async_nats::client::Request::new()
                .headers(headers)
                .payload(body.to_string().into());
            let answer = world
                .app
                .broker()
                .client()
                .send_request(subject, request)
                .await;
            let answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
            answer.get("error").is_none()
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_newer_version_is_passed_over_and_its_fields_are_kept() {
    let world = World::start(Options::default()).await;
    let waiting = "slow=2s";
    let ids = world
        .submit_all(&[video(waiting), legacy_video(waiting)])
        .await;
    for id in &ids {
        world.reaches(id, Status::Processing).await;
        write_newer(&world, id).await;
    }
    // The list and the history show what they know.
    let task = world.task(&ids[0]).await;
    assert_eq!(task.status, Status::Processing);
    let ended = world.finished(&ids).await;
    assert!(ended.values().all(|task| task.status == Status::Succeeded));
    for id in &ids {
        let last = world.app.log().history(id).await.unwrap();
        let last: Value = serde_json::from_slice(&last.last().unwrap().payload).unwrap();
        assert_eq!(last["status"], "succeeded");
        assert_eq!(last["verdict"]["score"], 0.9, "{last:#}");
        assert_eq!(
            last["relay"]["reviewed_at"], "2027-01-01T00:00:00Z",
            "{last:#}"
        );
    }
    world.stop(Expected::default()).await;
}

/// Repeats a ledger's last entry with what we do not know, as a newer version might write.
async fn write_newer_entry(broker: &Broker, log: &Log, change: fn(&mut Value)) {
    let subject = topology::ledger_subject(&key());
    let entries = log
        .read(&subject, ReadFrom::Sequence(1), 1_000)
        .await
        .unwrap();
    let (last, seq) = (entries.last().unwrap(), entries.last().unwrap().seq);
    let mut entry: Value = serde_json::from_slice(&last.payload).unwrap();
    change(&mut entry);
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Expected-Last-Subject-Sequence", seq.to_string());
    let request = async_nats::client::Request::new()
        .headers(headers)
        .payload(entry.to_string().into());
    let answer = broker.client().send_request(subject, request).await;
    let answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
    assert!(answer.get("error").is_none(), "{answer}");
}

/// A day's money with one task that waits to be settled, behind an entry of a newer version.
struct Behind {
    log: Log,
    money: Money,
    on: Loaded,
    _node: Node,
}

impl Behind {
    async fn new(change: fn(&mut Value)) -> Self {
        let node = Node::start();
        let (broker, log) = open(&node.endpoint(), &config(1)).await;
        let rules = MoneyRules::new(limits(100));
        let money = Money::start(log.clone(), rules, CancellationToken::new()).await;
        let money = money.unwrap();
        let id = fresh_task_id();
        accept(&money, new_task(&id, amount(5))).await.unwrap();
        let on = end(&log, &id).await;
        write_newer_entry(&broker, &log, change).await;
        Self {
            log,
            money,
            on,
            _node: node,
        }
    }

    async fn settle(&self) -> Result<Committed, LogError> {
        let closing = billed(&self.on.task, &[amount(5)]);
        self.money.settle(&self.on, closing).await
    }
}

async fn accept(money: &Money, task: NewTask) -> Result<(), AcceptError> {
    let accepted = money.accept(vec![task], Duration::from_secs(10)).await;
    accepted.map(|_| ())
}

/// The balance is read, whatever else the entry says, and money moves on it.
async fn moves_on(change: fn(&mut Value)) {
    let behind = Behind::new(change).await;
    let next = new_task(&fresh_task_id(), amount(5));
    accept(&behind.money, next).await.unwrap();
    behind.settle().await.unwrap();
    let balance = behind.log.balance(&key()).await.unwrap().unwrap();
    let unit = &balance[&Unit::Video];
    let five = amount(5).amount;
    assert_eq!((unit.held, unit.deducted), (five, five));
}

/// Money is not moved on a guess: behind a balance that cannot be read, the day stands still.
async fn stands_still(change: fn(&mut Value)) {
    let behind = Behind::new(change).await;
    let before = behind.log.last_sequence().await.unwrap();
    let refused = accept(&behind.money, new_task(&fresh_task_id(), amount(5))).await;
    assert_eq!(refused, Err(AcceptError::Unreadable(key())));
    let unsettled = behind.settle().await;
    assert!(matches!(unsettled, Err(LogError::Misconfigured { .. })));
    let after = behind.log.last_sequence().await.unwrap();
    assert_eq!(after, before, "it was written");
    let mut tomorrow = new_task(&fresh_task_id(), amount(5));
    tomorrow.event.task.relay.day = "2026-11-22".parse().unwrap();
    let other = accept(&behind.money, tomorrow).await;
    assert!(other.is_ok(), "another day is another matter");
}

#[tokio::test]
async fn money_moves_on_behind_a_ledger_entry_of_a_newer_kind() {
    moves_on(|entry| entry["kind"] = json!("grant")).await;
}

#[tokio::test]
async fn money_moves_on_behind_an_entry_for_a_newer_product() {
    moves_on(|entry| entry["product"] = json!("text-to-world")).await;
}

#[tokio::test]
async fn a_balance_in_a_newer_unit_is_no_ground_to_move_money_on() {
    stands_still(|entry| entry["balance"]["sound-unit"] = json!({ "held": "0", "deducted": "1" }))
        .await;
}

#[tokio::test]
async fn subjects_of_a_newer_version_stay_in_the_stream() {
    let node = Node::start();
    let (broker, _log) = open(&node.endpoint(), &config(1)).await;
    let info = api(&broker, "STREAM.INFO.KLING").await.unwrap();
    let mut newer = info["config"].clone();
    newer["subjects"]
        .as_array_mut()
        .unwrap()
        .push(json!("kling.v1.*.verdict.>"));
    // It also lacks one of ours, so that this version has something to mend.
    newer["subjects"]
        .as_array_mut()
        .unwrap()
        .retain(|one| one != topology::BUDGET_ALERTS);
    let update = broker
        .client()
        .request("$JS.API.STREAM.UPDATE.KLING", newer.to_string().into());
    update.await.unwrap();
    let (broker, _log) = open(&node.endpoint(), &config(1)).await;
    let info = api(&broker, "STREAM.INFO.KLING").await.unwrap();
    let subjects = info["config"]["subjects"].as_array().unwrap();
    for subject in [
        "kling.v1.*.verdict.>",
        topology::BUDGET_ALERTS,
        topology::TASK_EVENTS,
    ] {
        assert!(
            subjects.iter().any(|one| one == subject),
            "{subject}: {subjects:?}"
        );
    }
}
