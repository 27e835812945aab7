//! Repair of a torn batch: on a single node a power cut can leave half of one.
//!
//! Ledger entries stand before task events, so what can be left over is money without its event.
//! Each such entry is taken back by an `adjustment`, all of them in one batch; what is torn of that
//! one again is right as it stands. Clusters propose a batch as a whole and have no torn ones.
//! Source: broker reference 4.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde_json::json;

use super::fold::{Cause, Head, Heads};
use super::message;
use crate::decide::ledger::closes_task;
use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::record::Recorded;
use crate::edge::nats::topology;
use crate::edge::nats::wire::{self, Outgoing, Refusal};
use crate::model::event::EventKind;
use crate::model::ids::TaskId;
use crate::model::ledger::{Balance, EntryKind, LedgerEntry, LedgerKey};

/// Rounds in a row that may come to nothing: other writers were first on the same ledgers.
const TRIES_MAX: u32 = 20;
/// A task's events are kept at least so long, less than what the configuration may say.
const EVENTS_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Takes back the ledger entries of a torn batch, if there is one; returns how many.
///
/// # Errors
/// [`LogError`] when the log cannot be read or the adjustments not written.
pub async fn repair(log: &Log) -> Result<usize, LogError> {
    if log.inner.replicas > 1 {
        return Ok(0);
    }
    // Where the window begins stays: what is written from now on must not push the rest of the
    // batch out of sight.
    let mut window = Vec::new();
    let end = read_on(log, &mut window, begin(log).await?).await?;
    let retention = SignedDuration::try_from(log.inner.task_retention).unwrap_or(EVENTS_KEPT);
    let kept_since = log.inner.clock.now() - retention.min(EVENTS_KEPT);
    let before = orphans(&window, end, kept_since);
    if before.is_empty() {
        return Ok(0);
    }
    // A batch that is being stored right now looks torn as well. Whatever was begun before
    // the answer to a probe is complete after it; and one that begins only now is not torn either,
    // so what is must have stood there before.
    log.probe_log().await?;
    let (mut repaired, mut in_vain) = (0, 0);
    while in_vain < TRIES_MAX {
        let next = window.last().map_or(1, |newest| newest.seq + 1);
        let end = read_on(log, &mut window, next).await?;
        let mut torn = orphans(&window, end, kept_since);
        torn.retain(|orphan| before.contains(orphan));
        torn.truncate(topology::BATCH_MESSAGES_MAX);
        if torn.is_empty() {
            return Ok(repaired);
        }
        match take_back(log, &window, &torn).await? {
            true => (repaired, in_vain) = (repaired + torn.len(), 0),
            false => in_vain += 1,
        }
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
/// `window` is a stretch of the log in order, whose last sequence is `end`. Events stored after
/// `kept_since` are still there. Those before may have expired, which leaves a gap where they were:
/// their money lives longer, and is no orphan. A torn batch ends where the next message follows.
#[must_use]
pub fn orphans(window: &[Recorded], end: u64, kept_since: Timestamp) -> Vec<Orphan> {
    let mut committed = HashSet::new();
    let mut newest: HashMap<&str, &Recorded> = HashMap::new();
    let mut events: HashMap<&str, HashSet<TaskId>> = HashMap::new();
    let mut taken_back = HashSet::new();
    let mut entries = Vec::new();
    for message in window {
        // In a torn batch as well: each takes back one entry, with or without the others.
        if let Some(entry) = reversed(message) {
            taken_back.insert(entry);
            continue;
        }
        let Some((batch, _, last)) = message.batch() else {
            continue;
        };
        newest.insert(batch, message);
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
    let is_torn = |batch: &str| {
        let is_whole = newest.get(batch).is_none_or(|newest| {
            let next = window.binary_search_by_key(&(newest.seq + 1), |message| message.seq);
            newest.stored_at <= kept_since && newest.seq < end && next.is_err()
        });
        !committed.contains(batch) && !is_whole
    };
    entries
        .into_iter()
        .filter(|(batch, _)| is_torn(batch))
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

/// Returns where the newest messages begin, with the whole batch of the first.
async fn begin(log: &Log) -> Result<u64, LogError> {
    let last = log.last_sequence().await?;
    let first = last.saturating_sub(topology::REPAIR_WINDOW - 1).max(1);
    let message = log.get(first).await?;
    let place = message.and_then(|message| Some(message.batch()?.1));
    Ok(first.saturating_sub(place.unwrap_or(1) - 1).max(1))
}

/// Reads from a sequence on to the end, and returns which that is.
async fn read_on(log: &Log, window: &mut Vec<Recorded>, mut next: u64) -> Result<u64, LogError> {
    let last = log.last_sequence().await?;
    while next <= last {
        let query = json!({ "seq": next, "batch": 500, "next_by_subj": ">" });
        let page = log.read_direct("look for a torn batch", &query).await?;
        let Some(newest) = page.last() else {
            break;
        };
        next = newest.seq + 1;
        window.extend(page);
    }
    Ok(last)
}

/// Writes the adjustments in one batch; `false` when a ledger has moved on meanwhile.
async fn take_back(log: &Log, window: &[Recorded], torn: &[Orphan]) -> Result<bool, LogError> {
    let Some(heads) = heads(log, window, torn).await? else {
        return Ok(false);
    };
    let batch = wire::fresh_id();
    let messages = messages(log, torn, heads, &batch);
    let started = std::time::Instant::now();
    let inner = &log.inner;
    let result = wire::publish_batch(&inner.broker, &batch, messages, inner.commit_timeout).await;
    log.measure("money", started, &result);
    match result {
        Ok(ack) => {
            tracing::error!(
                seq = ack.seq,
                torn_seq = torn.first().map(|orphan| orphan.seq),
                entries = torn.len(),
                "a torn batch was repaired: the machine of the broker lost power"
            );
            Ok(true)
        }
        // Unknown as well: the next look shows what became of it.
        Err(Refusal::Conflict { .. } | Refusal::Incomplete | Refusal::Unknown) => Ok(false),
        Err(refusal) => Err(LogError::of_refusal("repair a torn batch", refusal)),
    }
}

/// Reads where the ledgers stand; `None` if one does not stand within the window any more, since
/// an adjustment by another process may be what stands behind it.
async fn heads(log: &Log, window: &[Recorded], torn: &[Orphan]) -> Result<Option<Heads>, LogError> {
    let newest = window.last().map_or(0, |newest| newest.seq);
    let mut heads = Heads::new();
    for orphan in torn {
        if heads.contains_key(&orphan.key) {
            continue;
        }
        match log.ledger(&orphan.key).await? {
            Some((balance, seq)) if seq <= newest => {
                heads.insert(orphan.key.clone(), Head { seq, balance });
            }
            Some(_) | None => return Ok(None),
        }
    }
    Ok(Some(heads))
}

fn messages(log: &Log, torn: &[Orphan], mut heads: Heads, batch: &str) -> Vec<Outgoing> {
    let mut checked = HashSet::new();
    let mut messages = Vec::with_capacity(torn.len());
    for orphan in torn {
        let head = heads.entry(orphan.key.clone()).or_default();
        let entry_id = format!("{batch}.{}", messages.len() + 1);
        let entry = adjustment(log, orphan, entry_id, &head.balance);
        head.balance.clone_from(&entry.balance);
        let cause = Cause {
            commit_id: entry.commit_id.clone(),
            traceparent: None,
        };
        let headers = message::entry_headers(log, &entry, &cause);
        let subject = topology::ledger_subject(&orphan.key);
        let expected = checked.insert(&orphan.key).then_some(head.seq);
        messages.push(log.money_message(subject, expected, headers, &entry));
    }
    messages
}

fn adjustment(log: &Log, orphan: &Orphan, entry_id: String, before: &Balance) -> LedgerEntry {
    let torn = &orphan.entry;
    let mut balance = before.clone();
    if let Some(unit) = torn.unit {
        let unit_balance = balance.entry(unit).or_default();
        unit_balance.held = (unit_balance.held - torn.held_change).normalize();
        unit_balance.deducted = (unit_balance.deducted - torn.deducted_change).normalize();
    }
    LedgerEntry {
        entry_id,
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
