//! What holds at the end, whatever has happened: read from log, ledger, files and platform.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::StreamExt;
use kling_relay::edge::nats::Broker;
use kling_relay::edge::nats::log::Log;
use kling_relay::model::amount::Unit;
use kling_relay::model::event::EventKind;
use kling_relay::model::ids::{Day, TaskId, Tenant};
use kling_relay::model::ledger::{LedgerKey, LedgerOwner};
use kling_relay::model::task::{Status, Task};
use kling_relay::sim::Control;
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};
use url::Url;

use super::stored::false_successes;
use super::{Expected, all_events};
use crate::broker;
use crate::kit::{audit_chain, everything};

/// Compares log, ledger, files and platform; returns what is broken, in words.
pub(crate) async fn audit(
    broker: &Broker,
    log: &Log,
    control: &Control,
    ids: &[TaskId],
    expected: Expected,
) -> Vec<String> {
    let mut breaches = Vec::new();
    let histories = histories(log).await;
    for (id, events) in &histories {
        if !ids.contains(id) {
            breaches.push(format!("{id} was made, and nobody knows of it"));
        }
        breaches.extend(laws_of_a_history(id, events));
        breaches.extend(laws_of_reuse(id, events, &histories));
    }
    let ended: HashMap<&TaskId, &Task> = histories
        .iter()
        .filter_map(|(id, events)| Some((id, &events.last()?.1)))
        .collect();
    for id in ids.iter().filter(|id| !ended.contains_key(id)) {
        breaches.push(format!("{id} was accepted and is not in the log"));
    }
    if !expected.lost {
        breaches.extend(false_successes(broker, control).await);
    }
    if audit_chain(&everything(log).await).torn > 0 {
        breaches.push("half a batch".to_owned());
    }
    breaches.extend(spending(control, &ended));
    breaches.extend(money(log, control, &ended).await);
    breaches.extend(ended.values().flat_map(|task| files(task)));
    let info = broker::api(broker, "STREAM.INFO.KLING_DEAD").await;
    let dead = info.and_then(|info| info["state"]["messages"].as_u64());
    if dead != Some(expected.dead_letters) {
        breaches.push(format!(
            "{dead:?} dead letters and not {}: {:#?}",
            expected.dead_letters,
            reasons(broker, dead.unwrap_or_default()).await
        ));
    }
    breaches
}

/// Why messages were set aside, as far as they can be read.
async fn reasons(broker: &Broker, dead: u64) -> Vec<String> {
    let stream = broker.jetstream().get_stream("KLING_DEAD").await;
    let stream = stream.expect("the stream is there");
    let mut reasons = Vec::new();
    for seq in 1..=dead {
        if let Ok(message) = stream.get_raw_message(seq).await {
            let reason = message.headers.get("kling-dead-reason");
            reasons.push(format!("{}: {reason:?}", message.subject));
        }
    }
    reasons
}

type Histories = HashMap<TaskId, Vec<(EventKind, Task)>>;

async fn histories(log: &Log) -> Histories {
    let mut histories = Histories::new();
    let last = log.last_event_sequence().await.expect("the log answers");
    let mut events = all_events(log).await;
    let mut seq = 0;
    while seq < last {
        let recorded = events
            .next()
            .await
            .expect("it never ends")
            .expect("readable");
        seq = recorded.seq;
        // A newer version's kind is none of ours to judge.
        let Some((id, kind)) = recorded.task_subject() else {
            continue;
        };
        let task = recorded.task_event().expect("an event").task;
        histories.entry(id).or_default().push((kind, task));
    }
    histories
}

/// Statuses only move forward; one beginning, one completion, one settlement.
fn laws_of_a_history(id: &TaskId, events: &[(EventKind, Task)]) -> Vec<String> {
    let mut breaches = Vec::new();
    let count = |wanted: &[EventKind]| {
        let of_these = events.iter().filter(|(kind, _)| wanted.contains(kind));
        of_these.count()
    };
    let ends = count(&[EventKind::Succeeded, EventKind::Failed]);
    let created = events.last().map(|(_, last)| last.kling_task_id.is_some());
    let created = usize::from(created == Some(true));
    for (what, found, wanted) in [
        ("beginnings", count(&[EventKind::Requested]), 1..=1),
        (
            "submissions",
            count(&[EventKind::Submitted]),
            created..=created,
        ),
        ("completions", ends, 1..=1),
        ("settlements", count(&[EventKind::Settled]), 1..=1),
        ("storings", count(&[EventKind::Stored]), 0..=1),
    ] {
        if !wanted.contains(&found) {
            breaches.push(format!("{id} has {found} {what}"));
        }
    }
    let ranks: Vec<u8> = events.iter().map(|(_, task)| task.status.rank()).collect();
    if !ranks.is_sorted() {
        breaches.push(format!("{id} went back: {ranks:?}"));
    }
    if let Some((_, last)) = events.last().filter(|(_, last)| !last.is_finished()) {
        breaches.push(format!("{id} is not finished: {:?}", last.status));
    }
    breaches
}

/// What an earlier result answers was never at the platform, cost nothing, and is that result: of
/// the same tenant, asked for in the same words, made by itself and stored before.
fn laws_of_reuse(id: &TaskId, events: &[(EventKind, Task)], histories: &Histories) -> Vec<String> {
    let Some((_, last)) = events.last() else {
        return Vec::new();
    };
    let Some(source_id) = &last.reused_from else {
        let saved = events.iter().any(|(_, task)| task.saved.is_some());
        return saved
            .then(|| format!("{id} saved, and reused nothing"))
            .into_iter()
            .collect();
    };
    let Some(source) = histories.get(source_id).and_then(|events| events.last()) else {
        return vec![format!("{id} reuses {source_id}, which is unknown")];
    };
    let (_, source) = source;
    let never = [EventKind::Submitted, EventKind::Processing];
    let succeeded = last.status == Status::Succeeded;
    let laws = [
        (
            "was never at the platform",
            events.iter().all(|(kind, _)| !never.contains(kind)) && last.kling_task_id.is_none(),
        ),
        (
            "reuses an equal task of its tenant",
            source.tenant == last.tenant && source.relay.reuse.key == last.relay.reuse.key,
        ),
        ("reuses what was made", source.reused_from.is_none()),
        (
            "has that task's files",
            !succeeded || source.assets == last.assets,
        ),
        (
            "was stored after that task",
            !succeeded || source.relay.stored_at <= last.relay.stored_at,
        ),
        (
            "cost nothing",
            last.deduction.iter().all(|amount| amount.amount.is_zero()),
        ),
        (
            "saved its price",
            succeeded == last.saved.is_some_and(|saved| !saved.amount.is_zero()),
        ),
    ];
    let broken = laws.into_iter().filter(|(_, holds)| !holds);
    broken
        .map(|(law, _)| format!("not so: {id} {law} ({source_id})"))
        .collect()
}

/// A request made at most one task, and what it made is known.
fn spending(control: &Control, ended: &HashMap<&TaskId, &Task>) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut made: HashMap<String, u32> = HashMap::new();
    for task in control.tasks() {
        *made
            .entry(task.external_id.unwrap_or_default())
            .or_default() += 1;
    }
    for (id, count) in &made {
        let ours = TaskId::parse(id).is_ok_and(|id| ended.contains_key(&id));
        if *count != 1 || !ours {
            breaches.push(format!("{id}: created {count} times; ours: {ours}"));
        }
    }
    for (id, task) in ended {
        let taken = control.task(id.as_str()).and_then(|task| task.deducted);
        // What was paid in cash stands in the platform's records, not in its count of units.
        let units = task.deduction.iter().filter(|a| !is_cash(a.unit));
        let ours: Decimal = units.map(|amount| amount.amount).sum();
        if taken.unwrap_or_default() != ours {
            breaches.push(format!("{id}: the platform took {taken:?}, we say {ours}"));
        }
        let there = made.contains_key(id.as_str());
        if there != task.kling_task_id.is_some() {
            breaches.push(format!(
                "{id}: at the platform {there}, and here not the same"
            ));
        }
    }
    breaches
}

fn is_cash(unit: Unit) -> bool {
    matches!(unit, Unit::Usd | Unit::Cny)
}

type Sums = BTreeMap<Unit, Decimal>;

/// Nothing is held, and what was deducted is what the platform took.
async fn money(log: &Log, control: &Control, ended: &HashMap<&TaskId, &Task>) -> Vec<String> {
    let mut breaches = Vec::new();
    let owners: HashSet<(Tenant, Day)> = ended
        .values()
        .map(|task| (task.tenant.clone(), task.relay.day))
        .collect();
    let mut deducted = Sums::new();
    let mut by_day: HashMap<Day, Sums> = HashMap::new();
    for (tenant, day) in owners {
        let key = LedgerKey {
            owner: LedgerOwner::Tenant(tenant),
            day,
        };
        let taken = closed(log, &key, &mut breaches).await;
        for (unit, amount) in taken.expect("the day has entries") {
            *deducted.entry(unit).or_default() += amount;
            *by_day.entry(day).or_default().entry(unit).or_default() += amount;
        }
    }
    for (day, sums) in by_day {
        breaches.extend(account(log, day, &sums, ended).await);
    }
    let taken = control.stats().deductions;
    for (unit, pack) in [
        (Unit::Video, "video"),
        (Unit::Image, "image"),
        (Unit::TryOn, "try-on"),
    ] {
        let ours = deducted.get(&unit).copied().unwrap_or_default();
        let theirs = taken.get(pack).copied().unwrap_or_default();
        if ours != theirs {
            breaches.push(format!("{unit}: we say {ours}, the platform took {theirs}"));
        }
    }
    breaches
}

/// What was deducted of a ledger's day, in which nothing may be held any more.
async fn closed(log: &Log, key: &LedgerKey, breaches: &mut Vec<String>) -> Option<Sums> {
    let balance = log.balance(key).await.expect("the log answers")?;
    let mut deducted = Sums::new();
    for (unit, of_unit) in balance {
        if !of_unit.held.is_zero() {
            breaches.push(format!("{key:?}: {} {unit} are still held", of_unit.held));
        }
        deducted.insert(unit, of_unit.deducted);
    }
    Some(deducted)
}

/// The account's day is the sum of its tenants', where every task was held there too.
async fn account(
    log: &Log,
    day: Day,
    tenants: &Sums,
    ended: &HashMap<&TaskId, &Task>,
) -> Vec<String> {
    let mut breaches = Vec::new();
    let of_day = ended.values().filter(|task| task.relay.day == day);
    let held: HashSet<bool> = of_day.map(|task| task.relay.account_held).collect();
    let key = LedgerKey {
        owner: LedgerOwner::Account,
        day,
    };
    let account = closed(log, &key, &mut breaches).await;
    if account.is_some() != held.contains(&true) {
        breaches.push(format!("{day}: the account's ledger: {account:?}"));
    }
    if let Some(account) = account.filter(|account| !held.contains(&false) && account != tenants) {
        breaches.push(format!(
            "{day}: of the account {account:?}, of its tenants {tenants:?}"
        ));
    }
    breaches
}

/// Every output is on disk and is what was recorded.
fn files(task: &Task) -> Vec<String> {
    let mut breaches = Vec::new();
    if task.status == Status::Succeeded && task.assets.len() != task.relay.outputs as usize {
        let (files, outputs) = (task.assets.len(), task.relay.outputs);
        breaches.push(format!(
            "{}: {files} files of {outputs} outputs",
            task.task_id
        ));
    }
    for asset in &task.assets {
        let path = Url::parse(&asset.uri)
            .expect("a URI")
            .to_file_path()
            .expect("a file");
        let content = std::fs::read(&path).unwrap_or_default();
        if hex::encode(Sha256::digest(&content)) != asset.sha256 || content.is_empty() {
            breaches.push(format!("{} is not what was recorded", path.display()));
        }
    }
    breaches
}
