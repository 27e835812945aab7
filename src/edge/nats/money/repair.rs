//! Repair of a torn batch: on a single node a power cut can leave half of one.
//!
//! Ledger entries stand before task events, so what can be left over is money without its event.
//! Each such entry is taken back by an `adjustment`. Clusters propose a batch as a whole and have
//! no torn ones. Source: broker reference 4.

use std::collections::{HashMap, HashSet};

use rust_decimal::Decimal;
use serde_json::json;

use super::fold::Cause;
use super::message;
use crate::decide::ledger::closes_task;
use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::record::Recorded;
use crate::edge::nats::{topology, wire};
use crate::model::event::EventKind;
use crate::model::ids::TaskId;
use crate::model::ledger::{Balance, EntryKind, LedgerEntry, LedgerKey};

/// Looks again this often when other writers are at work on the same ledger.
const TRIES_MAX: u32 = 20;

/// Takes back the ledger entries of a torn batch, if there is one; returns how many.
///
/// # Errors
/// [`LogError`] when the log cannot be read or the adjustment not written.
pub async fn repair(log: &Log) -> Result<usize, LogError> {
    if log.inner.replicas > 1 {
        return Ok(0);
    }
    let mut repaired = 0;
    for _ in 0..TRIES_MAX {
        let before = orphans(&scan(log).await?);
        if before.is_empty() {
            return Ok(repaired);
        }
        // A batch that is being stored right now looks torn as well. Whatever was begun before
        // the answer to a probe is complete after it.
        log.probe().await?;
        let window = scan(log).await?;
        // One that begins only now is not torn either, so it must have stood in both scans.
        let torn = orphans(&window)
            .into_iter()
            .find(|orphan| before.contains(orphan));
        let Some(orphan) = torn else {
            return Ok(repaired);
        };
        repaired += usize::from(take_back(log, &window, &orphan).await?);
    }
    let operation = "repair a torn batch";
    Err(LogError::Unavailable { operation })
}

/// A ledger entry whose task event does not exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Orphan {
    /// Its ledger.
    pub key: LedgerKey,
    /// Its sequence.
    pub seq: u64,
    /// The entry.
    pub entry: LedgerEntry,
}

/// Finds ledger entries of batches without their last message whose task event is not among the
/// messages of the same batch, and which nothing has taken back yet.
///
/// `window` is a stretch of the log in order and without gaps, up to its end.
#[must_use]
pub fn orphans(window: &[Recorded]) -> Vec<Orphan> {
    let mut committed = HashSet::new();
    let mut events: HashMap<&str, HashSet<TaskId>> = HashMap::new();
    let mut taken_back = HashSet::new();
    let mut entries = Vec::new();
    for message in window {
        let Some((batch, _, last)) = message.batch() else {
            taken_back.extend(reversed(message));
            continue;
        };
        if last {
            committed.insert(batch);
        }
        match message.task_subject() {
            Some((task, EventKind::Requested | EventKind::Settled)) => {
                events.entry(batch).or_default().insert(task);
            }
            Some(_) | None => entries.push((batch, message)),
        }
    }
    let is_orphan = |batch: &str, message: &Recorded| {
        let entry = message.ledger_entry().ok()?;
        let task = entry.task_id.as_ref()?;
        let has_event = events.get(batch).is_some_and(|tasks| tasks.contains(task));
        let stands = !has_event && !taken_back.contains(&entry.entry_id);
        stands.then_some(Orphan {
            key: message.ledger_key()?,
            seq: message.seq,
            entry,
        })
    };
    entries
        .into_iter()
        .filter(|(batch, _)| !committed.contains(batch))
        .filter_map(|(batch, message)| is_orphan(batch, message))
        .collect()
}

const REASON: &str = "torn batch: takes back entry ";

/// Returns the id of the entry that an adjustment of ours takes back.
fn reversed(message: &Recorded) -> Option<String> {
    message.ledger_key()?;
    let entry = message.ledger_entry().ok()?;
    let reason = entry.reason?;
    reason.strip_prefix(REASON).map(str::to_owned)
}

/// Reads the newest messages, from the beginning of the first one's batch.
async fn scan(log: &Log) -> Result<Vec<Recorded>, LogError> {
    let last = log.last_sequence().await?;
    let mut first = last.saturating_sub(topology::REPAIR_WINDOW - 1).max(1);
    if let Some(message) = log.get(first).await?
        && let Some((_, place, _)) = message.batch()
    {
        first = first.saturating_sub(place - 1).max(1);
    }
    let mut window: Vec<Recorded> = Vec::new();
    while first <= last {
        let query = json!({ "seq": first, "batch": 500, "next_by_subj": ">" });
        let page = log.read_direct("look for a torn batch", &query).await?;
        let Some(newest) = page.last() else {
            break;
        };
        first = newest.seq + 1;
        window.extend(page);
    }
    Ok(window)
}

/// Writes the adjustment; `false` when the ledger has moved on meanwhile.
async fn take_back(log: &Log, window: &[Recorded], orphan: &Orphan) -> Result<bool, LogError> {
    let Some((head, seq)) = log.ledger(&orphan.key).await? else {
        return Ok(false);
    };
    // An adjustment by another process may stand behind the window.
    if window.last().is_none_or(|newest| newest.seq < seq) {
        return Ok(false);
    }
    let entry = adjustment(log, orphan, head.balance);
    let cause = Cause {
        commit_id: entry.commit_id.clone(),
        traceparent: None,
    };
    let headers = message::entry_headers(log, &entry, &cause);
    let subject = topology::ledger_subject(&orphan.key);
    let message = log.money_message(subject, Some(seq), headers, &entry);
    let started = std::time::Instant::now();
    let inner = &log.inner;
    let result = wire::publish(&inner.broker, message, inner.commit_timeout).await;
    log.measure("money", started, &result);
    match result {
        Ok(ack) => {
            tracing::error!(
                seq = ack.seq,
                torn_seq = orphan.seq,
                tenant.id = entry.tenant,
                day = %entry.day,
                "a torn batch was repaired: the machine of the broker lost power"
            );
            Ok(true)
        }
        // Unknown as well: the next look shows what became of it.
        Err(wire::Refusal::Conflict { .. } | wire::Refusal::Unknown) => Ok(false),
        Err(refusal) => Err(LogError::of_refusal("repair a torn batch", refusal)),
    }
}

fn adjustment(log: &Log, orphan: &Orphan, mut balance: Balance) -> LedgerEntry {
    let torn = &orphan.entry;
    if let Some(unit) = torn.unit {
        let unit_balance = balance.entry(unit).or_default();
        unit_balance.held = (unit_balance.held - torn.held_change).normalize();
        unit_balance.deducted = (unit_balance.deducted - torn.deducted_change).normalize();
    }
    LedgerEntry {
        entry_id: format!("{}.1", wire::fresh_id()),
        kind: EntryKind::Adjustment,
        held_change: negated(torn.held_change),
        deducted_change: negated(torn.deducted_change),
        // What closed a task did not: usage must not count it.
        basis: torn.basis.filter(|_| closes_task(torn)),
        outcome: torn.outcome.clone().filter(|_| closes_task(torn)),
        billed: Vec::new(),
        overrun: Vec::new(),
        balance,
        occurred_at: log.inner.clock.now(),
        reason: Some(format!("{REASON}{}", torn.entry_id)),
        ..torn.clone()
    }
}

fn negated(value: Decimal) -> Decimal {
    (Decimal::ZERO - value).normalize()
}
