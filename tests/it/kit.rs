//! Tasks, money and audits for tests of the log.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use kling_relay::decide::ledger::{Limits, closing};
use kling_relay::edge::nats::log::{Log, ReadFrom, new_commit_id};
use kling_relay::edge::nats::money::NewTask;
use kling_relay::edge::nats::money::repair::{self, Orphan};
use kling_relay::edge::nats::record::Recorded;
use kling_relay::edge::nats::topology;
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::event::{EventKind, NewEvent, TaskEvent};
use kling_relay::model::ids::{Day, TaskId, Tenant};
use kling_relay::model::ledger::{
    Balance, EntryKind, LedgerEntry, LedgerKey, LedgerOwner, UnitBalance,
};
use kling_relay::model::request::{KlingCall, Product};
use kling_relay::model::task::{Generation, Newer, RelayState, Reuse, Slots, Status, Task};
use rust_decimal::Decimal;

use crate::broker::until;

pub(crate) fn tenant() -> Tenant {
    Tenant::parse("acme").expect("a tenant name")
}

pub(crate) fn day() -> Day {
    "2026-11-21".parse().expect("a date")
}

pub(crate) fn key() -> LedgerKey {
    LedgerKey {
        owner: LedgerOwner::Tenant(tenant()),
        day: day(),
    }
}

pub(crate) fn account_key() -> LedgerKey {
    LedgerKey {
        owner: LedgerOwner::Account,
        day: day(),
    }
}

pub(crate) fn video(amount: i64) -> Amount {
    Amount::new(Decimal::from(amount), Unit::Video)
}

pub(crate) fn limits(video_units: i64) -> Limits {
    Limits::from([(Unit::Video, Decimal::from(video_units))])
}

pub(crate) fn fresh_task_id() -> TaskId {
    TaskId::derived(&tenant(), "test", new_commit_id().as_str())
}

pub(crate) fn task(id: &TaskId, hold: Amount) -> Task {
    let now: Timestamp = "2026-11-21T10:00:00Z".parse().expect("a time");
    Task {
        task_id: id.clone(),
        tenant: id.tenant(),
        kling_task_id: None,
        product: Product::TextToVideo,
        model: "kling-v2-6".to_owned(),
        status: Status::Requested,
        labels: BTreeMap::new(),
        occurred_at: now,
        retry_of: None,
        reused_from: None,
        mode: Some("std".to_owned()),
        duration: Some("5".to_owned()),
        audio: false,
        purpose: None,
        estimate: hold,
        error: None,
        billing: None,
        assets: Vec::new(),
        held: None,
        deduction: Vec::new(),
        overrun: Vec::new(),
        saved: None,
        relay: RelayState {
            requested_at: now,
            requested_seq: 0,
            expires_at: now,
            day: day(),
            account_held: false,
            price_book: "official-2026-09".to_owned(),
            request_digest: "digest".to_owned(),
            submitted_with: 1,
            reuse: Reuse::default(),
            generation: Generation::Legacy,
            path: "/v1/videos/text2video".to_owned(),
            slots: Slots {
                pool: "2.6/video".to_owned(),
                count: 1,
            },
            not_before: None,
            off_peak: false,
            attempts: 0,
            claim: None,
            may_exist: false,
            dispatching: 0,
            lookups: 0,
            changed_at: now,
            stalled: 0,
            stalled_at: None,
            rebuilt: false,
            retries: 0,
            submitted_at: None,
            outputs: 0,
            stored_at: None,
            settled_at: None,
            newer: Newer::new(),
        },
        newer: Newer::new(),
    }
}

pub(crate) fn new_task(id: &TaskId, hold: Amount) -> NewTask {
    let call = KlingCall {
        path: "/v1/videos/text2video".to_owned(),
        body: serde_json::Map::new(),
    };
    NewTask {
        event: TaskEvent {
            task: task(id, hold),
            call: Some(call),
            outputs: Vec::new(),
        },
        hold,
        commit_id: new_commit_id(),
        traceparent: None,
    }
}

pub(crate) fn fresh_tasks(count: usize, hold: Amount) -> Vec<NewTask> {
    (0..count)
        .map(|_| new_task(&fresh_task_id(), hold))
        .collect()
}

/// Returns the next claim of a task: an event whose number shows a lost update.
pub(crate) fn next_claim(mut task: Task) -> NewEvent {
    task.relay.attempts += 1;
    task.status = Status::Dispatching;
    NewEvent::plain(EventKind::Dispatching, task.relay.attempts, task)
}

pub(crate) fn failed(mut task: Task) -> NewEvent {
    task.status = Status::Failed;
    NewEvent::plain(EventKind::Failed, 1, task)
}

/// Ends a task and returns it as it stands then.
pub(crate) async fn end(log: &Log, id: &TaskId) -> kling_relay::edge::nats::log::Loaded {
    let on = log.load(id).await.expect("a broker").expect("a task");
    log.commit(&on, failed(on.task.clone()))
        .await
        .expect("a commit");
    log.load(id).await.expect("a broker").expect("a task")
}

/// Closes a task's hold with what Kling says.
pub(crate) fn billed(on: &Task, billing: &[Amount]) -> kling_relay::decide::ledger::Closing {
    closing(on.estimate, on.status, Some(billing))
}

/// Finds money without its task event, where no event has expired.
pub(crate) fn orphans(messages: &[Recorded]) -> Vec<Orphan> {
    repair::orphans(messages, 0, Timestamp::MIN)
}

/// Reads the whole log, in order.
pub(crate) async fn everything(log: &Log) -> Vec<Recorded> {
    let mut last = 0;
    until(
        "the log has a leader",
        Duration::from_secs(30),
        async || {
            let answer = log.last_sequence().await;
            last = *answer.as_ref().unwrap_or(&0);
            answer.is_ok()
        },
    )
    .await;
    let mut messages: Vec<Recorded> = Vec::new();
    until("the log was read", Duration::from_secs(60), async || {
        let next = messages.last().map_or(1, |message| message.seq + 1);
        if let Ok(page) = log.read(">", ReadFrom::Sequence(next), 1_000).await {
            messages.extend(page);
        }
        messages.last().map_or(0, |message| message.seq) >= last
    })
    .await;
    messages
}

/// Checks every law of the log over all that is stored: each check was made on the state that
/// was true, nobody's update was lost, entries add up to the balances, no hold was over a limit,
/// expiry never moved backwards, and all messages of a batch are there.
pub(crate) fn audit(messages: &[Recorded]) {
    assert_eq!(audit_torn(messages), 0, "half a batch");
}

/// Checks the same where a power cut may have torn batches; returns how many it has.
pub(crate) fn audit_torn(messages: &[Recorded]) -> usize {
    let steps = audit_chain(messages);
    for (before, after, seq) in &steps.claims {
        let claimed = u32::from(after.status == Status::Dispatching);
        let attempts = before.relay.attempts + claimed;
        assert_eq!(after.relay.attempts, attempts, "a lost update at {seq}");
    }
    steps.torn
}

/// What the chain of all events shows.
pub(crate) struct Steps {
    /// Batches without their last message.
    pub(crate) torn: usize,
    /// Each task before and after an event.
    claims: Vec<(Task, Task, u64)>,
}

/// Checks the laws that hold whoever wrote the events: a dispatcher that gives a task back writes a
/// claim that is none.
pub(crate) fn audit_chain(messages: &[Recorded]) -> Steps {
    let mut claims = Vec::new();
    let mut tasks: HashMap<TaskId, (u64, Task)> = HashMap::new();
    let mut ledgers: HashMap<LedgerKey, (u64, Balance, String)> = HashMap::new();
    let mut batches: HashMap<String, (u64, bool)> = HashMap::new();
    for message in messages {
        if let Some((batch, place, last)) = message.batch() {
            let seen = batches.entry(batch.to_owned()).or_default();
            assert_eq!(place, seen.0 + 1, "a gap in a batch at {}", message.seq);
            *seen = (place, last);
        }
        // Of a newer version's kind too: it follows the same rules.
        if let Some(id) = message.task() {
            let previous = tasks.get(&id);
            let expected = Some((
                previous.map_or(0, |(seq, _)| *seq),
                topology::task_prefix(&id),
            ));
            let found = message.expected().map(|(seq, text)| (seq, text.to_owned()));
            assert_eq!(found, expected, "decided on a state that was not true");
            let task = message.task_event().expect("a readable event").task;
            if let Some((_, previous)) = previous {
                check_step(previous, &task, message.seq);
                claims.push((previous.clone(), task.clone(), message.seq));
            }
            tasks.insert(id, (message.seq, task));
        } else if let Some(key) = message.ledger_key() {
            let entry = message.ledger_entry().expect("a readable entry");
            let batch = message.batch().map_or("", |(batch, _, _)| batch).to_owned();
            let previous = ledgers.get(&key).cloned().unwrap_or_default();
            match message.expected() {
                Some((seq, text)) => {
                    assert_eq!(text, topology::ledger_subject(&key));
                    assert_eq!(seq, previous.0, "a stale balance at {}", message.seq);
                }
                None => assert_eq!(batch, previous.2, "an unchecked entry at {}", message.seq),
            }
            check_entry(&previous.1, &entry, message.seq);
            ledgers.insert(key, (message.seq, entry.balance, batch));
        }
    }
    let torn = batches.values().filter(|(_, complete)| !complete).count();
    Steps { torn, claims }
}

fn check_step(previous: &Task, task: &Task, seq: u64) {
    let (before, after) = (&previous.relay, &task.relay);
    assert!(
        after.expires_at >= before.expires_at,
        "expiry moved back at {seq}"
    );
    assert!(
        before.settled_at.is_none() || after.settled_at.is_some(),
        "money reopened at {seq}"
    );
    assert!(
        task.status.rank() >= previous.status.rank(),
        "status moved back at {seq}"
    );
}

fn check_entry(before: &Balance, entry: &LedgerEntry, seq: u64) {
    let mut expected = before.clone();
    match (entry.kind, entry.unit) {
        (EntryKind::Limit, _) => {
            for (unit, after) in &entry.balance {
                expected.entry(*unit).or_default().limit = after.limit;
            }
        }
        (_, Some(unit)) => {
            let balance: &mut UnitBalance = expected.entry(unit).or_default();
            balance.held = (balance.held + entry.held_change).normalize();
            balance.deducted = (balance.deducted + entry.deducted_change).normalize();
        }
        (_, None) => panic!("an entry without a unit at {seq}"),
    }
    for (unit, after) in &entry.balance {
        let wanted = &expected[unit];
        let figures = (after.held, after.deducted, after.limit);
        assert_eq!(
            figures,
            (wanted.held, wanted.deducted, wanted.limit),
            "sum at {seq}"
        );
        assert!(after.held >= Decimal::ZERO, "held is negative at {seq}");
        if entry.held_change > Decimal::ZERO
            && entry.kind == EntryKind::Hold
            && Some(*unit) == entry.unit
        {
            let used = after.held + after.deducted;
            assert!(
                after.limit.is_some_and(|limit| used <= limit),
                "over the limit at {seq}"
            );
        }
    }
    assert_eq!(
        entry.balance.len(),
        expected.len(),
        "a unit vanished at {seq}"
    );
}

/// Counts the money entries of a kind on a ledger.
pub(crate) fn count(messages: &[Recorded], key: &LedgerKey, kind: EntryKind) -> usize {
    messages
        .iter()
        .filter(|message| message.ledger_key().as_ref() == Some(key))
        .filter(|message| message.ledger_entry().is_ok_and(|entry| entry.kind == kind))
        .count()
}
