//! A fold as messages: alerts first, ledger entries after them, task events last. So a torn batch
//! never shows an event without its money, nor a threshold marked as alerted without its alert.

use std::collections::HashSet;

use async_nats::HeaderMap;

use super::fold::{Cause, Fold, Heads, PlannedAlert, PlannedEntry};
use crate::edge::nats::log::Log;
use crate::edge::nats::record;
use crate::edge::nats::topology;
use crate::edge::nats::wire::Outgoing;
use crate::model::ledger::{EntryKind, LedgerEntry};

/// Makes the messages of a fold; each entry's id is completed with the batch and its place.
pub(super) fn messages(
    log: &Log,
    fold: &mut Fold<'_>,
    heads: &Heads,
    batch: &str,
) -> Vec<Outgoing> {
    let mut messages = Vec::with_capacity(fold.message_count());
    let mut checked = HashSet::new();
    for planned in &fold.alerts {
        messages.push(alert_message(log, planned));
    }
    for planned in &mut fold.entries {
        planned.entry.entry_id = format!("{batch}.{}", messages.len() + 1);
        let expected = checked
            .insert(planned.key.clone())
            .then(|| heads.get(&planned.key).map_or(0, |head| head.seq));
        messages.push(entry_message(log, planned, expected));
    }
    for planned in &fold.events {
        let cause = &planned.cause;
        let event = planned.event.clone();
        messages.push(match &planned.on {
            Some(on) => log.next_event(on, event, &cause.commit_id),
            None => {
                let traceparent = cause.traceparent.as_deref();
                log.event_message(0, event, &cause.commit_id, traceparent, 0)
            }
        });
    }
    messages
}

fn entry_message(log: &Log, planned: &PlannedEntry, expected: Option<u64>) -> Outgoing {
    let headers = entry_headers(log, &planned.entry, &planned.cause);
    let subject = topology::ledger_subject(&planned.key);
    log.money_message(subject, expected, headers, &planned.entry)
}

/// Makes the CloudEvents headers of a money entry.
pub(super) fn entry_headers(log: &Log, entry: &LedgerEntry, cause: &Cause) -> HeaderMap {
    let subject = match &entry.task_id {
        Some(task) => task.as_str(),
        None => entry.tenant.as_str(),
    };
    let headers = log.event_headers(
        &entry.entry_id,
        &format!("dev.kling-relay.ledger.{}.v1", kind_name(entry.kind)),
        subject,
        entry.occurred_at,
        &cause.commit_id,
    );
    traced(headers, cause)
}

fn alert_message(log: &Log, planned: &PlannedAlert) -> Outgoing {
    let (alert, cause) = (&planned.alert, &planned.cause);
    let ce_id = format!(
        "{}.budget.{}.{}.{}",
        alert.tenant, alert.day, alert.unit, alert.threshold
    );
    let headers = log.event_headers(
        &ce_id,
        "dev.kling-relay.budget.alert.v1",
        &alert.tenant,
        alert.occurred_at,
        &cause.commit_id,
    );
    let subject = topology::alert_subject(&planned.key);
    log.money_message(subject, None, traced(headers, cause), alert)
}

fn traced(mut headers: HeaderMap, cause: &Cause) -> HeaderMap {
    if let Some(traceparent) = &cause.traceparent {
        headers.insert(record::TRACEPARENT, traceparent.as_str());
    }
    headers
}

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Hold => "hold",
        EntryKind::Settlement => "settlement",
        EntryKind::Void => "void",
        EntryKind::Adjustment => "adjustment",
        EntryKind::Limit => "limit",
    }
}
