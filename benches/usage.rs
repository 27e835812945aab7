//! How long `usage report` takes over a million ended tasks, and how much memory: the release
//! binary as a process of its own, without and with the pages that the accountant writes.
//! Run it alone: `make bench`. It needs 5 GB of disk for some minutes.
#![expect(clippy::print_stdout, reason = "printing is what a measurement is for")]

#[path = "../tests/it/broker.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod broker;
#[path = "../tests/it/kit.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod kit;

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Request};
use jiff::SignedDuration;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::log::{Log, ReadFrom, new_commit_id};
use kling_relay::edge::nats::money::{Money, MoneyRules};
use kling_relay::edge::nats::topology;
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::event::{EventKind, NewEvent};
use kling_relay::model::ids::{Day, KlingTaskId, TaskId, Tenant};
use kling_relay::model::ledger::{EntryKind, LedgerEntry, LedgerKey, LedgerOwner};
use kling_relay::model::task::Status;
use kling_relay::stage::digest::Digest;
use rust_decimal::Decimal;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::broker::{Node, config, open};
use crate::kit::{billed, fresh_task_id, limits, new_task};

const TASKS: usize = 1_000_000;
const DAYS: usize = 30;
const TENANTS: [&str; 4] = ["acme", "zeta", "northwind", "contoso"];
const MODELS: [&str; 5] = [
    "kling-v2-6",
    "kling-3.0",
    "kling-2.5-turbo",
    "kling-v3-omni",
    "kling-3.0-turbo",
];
const PROJECTS: usize = 20;
/// Messages of one atomic batch: what the money writer folds at most.
const BATCH: usize = 400;
/// Headers that the copies get anew, or that only the broker sets.
const OWN: &str = "Nats-";

type Headers = Vec<(String, String)>;

/// A hold and its settlement as the money writer makes them, headers included.
async fn template(log: &Log) -> [(Headers, LedgerEntry); 2] {
    let rules = MoneyRules::new(limits(100_000_000));
    let money = Money::start(log.clone(), rules, CancellationToken::new()).await;
    let money = money.expect("a writer");
    let (id, hold) = (
        fresh_task_id(),
        Amount::new(Decimal::new(15, 1), Unit::Video),
    );
    let new = new_task(&id, hold);
    money
        .accept(vec![new], Duration::from_secs(5))
        .await
        .expect("accepted");
    let on = log.load(&id).await.expect("a broker").expect("a task");
    let mut task = on.task.clone();
    task.status = Status::Succeeded;
    task.billing = Some(vec![hold]);
    task.labels.insert("project".to_owned(), String::new());
    task.relay.submitted_at = Some(task.relay.changed_at - SignedDuration::from_secs(90));
    let ended = NewEvent::plain(EventKind::Succeeded, 1, task);
    log.commit(&on, ended).await.expect("a commit");
    let on = log.load(&id).await.expect("a broker").expect("a task");
    let closing = billed(&on.task, &[hold]);
    money.settle(&on, closing).await.expect("settled");
    let entries = log
        .read(topology::LEDGER_ENTRIES, ReadFrom::Sequence(1), 10)
        .await;
    let entries = entries.expect("a broker");
    [EntryKind::Hold, EntryKind::Settlement].map(|kind| {
        let mut of_kind = entries.iter().filter_map(|message| {
            let entry = message.ledger_entry().expect("an entry");
            (entry.kind == kind).then_some((message, entry))
        });
        let (message, entry) = of_kind.next().expect("one of each kind");
        let headers = message.headers.iter();
        let headers = headers.map(|(name, values)| (name.to_string(), values[0].to_string()));
        let kept = |(name, _): &(String, String)| !name.starts_with(OWN) || name == "Nats-TTL";
        (headers.filter(kept).collect(), entry)
    })
}

/// The same entries for another task.
fn messages(
    number: usize,
    template: &[(Headers, LedgerEntry); 2],
) -> Vec<(String, HeaderMap, Vec<u8>)> {
    let tenant = Tenant::parse(TENANTS[number % TENANTS.len()]).expect("a tenant");
    let day = format!("2026-10-{:02}", 1 + number * DAYS / TASKS);
    let day: Day = day.parse().expect("a day");
    let task = TaskId::derived(&tenant, "usage", &number.to_string());
    let key = LedgerKey {
        owner: LedgerOwner::Tenant(tenant.clone()),
        day,
    };
    let commit = new_commit_id();
    let of = |(headers, entry): &(Headers, LedgerEntry)| {
        let mut entry = entry.clone();
        entry.entry_id = format!("{}.1", commit.as_str());
        (entry.tenant, entry.day) = (tenant.to_string(), day);
        (entry.task_id, entry.commit_id) = (Some(task.clone()), commit.clone());
        entry.model = Some(MODELS[number % MODELS.len()].to_owned());
        if entry.kind == EntryKind::Settlement {
            let project = format!("project-{}", number / 7 % PROJECTS);
            entry.labels.insert("project".to_owned(), project);
            let seconds = i64::try_from(30_000 + number % 90_000).expect("a small number");
            entry.latency_seconds = Some(Decimal::new(seconds, 3));
            let kling_task_id = format!("8{number:017}");
            entry.kling_task_id = KlingTaskId::parse(&kling_task_id).ok();
        }
        let mut all = HeaderMap::new();
        headers
            .iter()
            .for_each(|(name, value)| all.insert(name.as_str(), value.as_str()));
        all.insert("ce-id", entry.entry_id.as_str());
        all.insert("ce-subject", task.as_str());
        all.insert("kling-commit", commit.as_str());
        let body = serde_json::to_vec(&entry).expect("an entry is JSON");
        (topology::ledger_subject(&key), all, body)
    };
    template.iter().map(of).collect()
}

async fn fill(client: &Client, template: &[(Headers, LedgerEntry); 2]) {
    let mut batch = Vec::new();
    for number in 0..TASKS {
        batch.extend(messages(number, template));
        if batch.len() < BATCH && number + 1 < TASKS {
            continue;
        }
        let (id, count) = (new_commit_id(), batch.len());
        for (index, (subject, mut headers, body)) in batch.drain(..).enumerate() {
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", (index + 1).to_string());
            if index + 1 < count {
                let sent = client
                    .publish_with_headers(subject, headers, body.into())
                    .await;
                sent.expect("a connection");
                continue;
            }
            headers.insert("Nats-Batch-Commit", "1");
            let request = Request::new().headers(headers).payload(body.into());
            let answer = client
                .send_request(subject, request)
                .await
                .expect("an answer");
            let answer = String::from_utf8_lossy(&answer.payload).into_owned();
            assert!(!answer.contains("error"), "{answer}");
        }
    }
}

/// Runs the report as a person would, and prints its time and the most memory that it had.
async fn measure(node: &Node, what: &str, group_by: &str) {
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kling-relay"))
        .args([
            "usage",
            "report",
            "--json",
            "--from",
            "2026-10-01",
            "--to",
            "2026-10-30",
        ])
        .args(["--group-by", group_by])
        .env("KLING_RELAY_NATS__URL", node.endpoint().url)
        .env("KLING_RELAY_NATS__LOG_MAX_BYTES", LOG_MAX_BYTES.to_string())
        .env("KLING_RELAY_NATS__CALLBACKS_MAX_BYTES", "67108864")
        .env("KLING_RELAY_NATS__DEAD_MAX_BYTES", "67108864")
        .env("KLING_RELAY_NATS__REPLAY_MAX_BYTES", "67108864")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let (clock, mut most_kb) = (Clock::system(), 0);
    while child.try_wait().expect("our own child").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        most_kb = kb.unwrap_or(most_kb).max(most_kb);
        clock.sleep(Duration::from_millis(5)).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let output = child.wait_with_output().expect("our own child");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["total"]["tasks"], TASKS, "{}", report["total"]);
    let groups = report["groups"].as_array().map_or(0, Vec::len);
    let megabytes: i64 = most_kb / 1_024;
    println!("{what}, by {group_by}: {groups} groups, {seconds:.2} s, {megabytes} MB");
}

const LOG_MAX_BYTES: i64 = 3 << 30;

#[tokio::main]
async fn main() {
    // `cargo test --benches` only wants to know that it runs.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    // Filling need not wait for the disk.
    let node = Node::single("2m");
    let mut nats = config(1);
    nats.log_max_bytes = LOG_MAX_BYTES;
    let (broker, log) = open(&node.endpoint(), &nats).await;
    let template = template(&log).await;
    let started = Instant::now();
    fill(broker.client(), &template).await;
    println!(
        "{TASKS} ended tasks over {DAYS} days: filled in {:.0?}",
        started.elapsed()
    );
    measure(&node, "without pages", "day").await;
    let started = Instant::now();
    let digest = Digest::new(log, Clock::system(), Duration::from_secs(300));
    let pages = digest.pass(&mut HashMap::new()).await.expect("pages");
    println!("{pages} pages of usage: made in {:.0?}", started.elapsed());
    for group_by in ["day", "model,tenant", "label:project"] {
        measure(&node, "with pages", group_by).await;
    }
}
