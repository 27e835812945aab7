//! What holds of everything that is stored at the end of a history.

use std::collections::{BTreeMap, HashSet};

use kling_relay::edge::nats::record::Recorded;
use kling_relay::model::amount::Unit;
use kling_relay::model::ids::TaskId;
use kling_relay::model::ledger::{EntryKind, LedgerKey};
use rust_decimal::Decimal;

use crate::kit::audit_torn;

/// Checks the log's own laws, that each hold closes once, and that no threshold is passed over.
pub(super) fn check(messages: &[Recorded], torn: usize) {
    assert_eq!(audit_torn(messages), torn, "batches torn by nobody");
    holds_close_once(messages);
    thresholds_are_alerted(messages, torn);
}

/// What a task holds in a ledger is nothing or its hold, after every entry: closed twice it would
/// be less than nothing. Adjustments of torn batches count as what they take back.
fn holds_close_once(messages: &[Recorded]) {
    let mut held: BTreeMap<(LedgerKey, TaskId), (Decimal, Decimal)> = BTreeMap::new();
    for message in messages {
        let Some(key) = message.ledger_key() else {
            continue;
        };
        let entry = message.ledger_entry().unwrap();
        let Some(task) = entry.task_id else {
            assert_eq!(entry.kind, EntryKind::Limit);
            continue;
        };
        let (now, hold) = held.entry((key, task.clone())).or_default();
        if entry.kind == EntryKind::Hold {
            *hold = entry.held_change;
        }
        *now += entry.held_change;
        let allowed = [Decimal::ZERO, *hold];
        assert!(
            allowed.contains(now),
            "{task} holds {now} at {}",
            message.seq
        );
    }
}

fn thresholds_are_alerted(messages: &[Recorded], torn: usize) {
    let mut alerted: HashSet<(String, String, Unit, Decimal)> = HashSet::new();
    let mut count = 0;
    for message in messages {
        if message.subject.ends_with(".alert") {
            let alert = message.budget_alert().unwrap();
            alerted.insert((
                alert.tenant,
                alert.day.to_string(),
                alert.unit,
                alert.threshold,
            ));
            count += 1;
        } else if message.ledger_key().is_some() {
            let entry = message.ledger_entry().unwrap();
            for (unit, of_unit) in &entry.balance {
                for threshold in &of_unit.alerted {
                    let place = (
                        entry.tenant.clone(),
                        entry.day.to_string(),
                        *unit,
                        *threshold,
                    );
                    assert!(
                        alerted.contains(&place),
                        "{place:?} marked at {}",
                        message.seq
                    );
                }
            }
        }
    }
    // Only a torn batch says one again, at most all of its own.
    assert!(count <= alerted.len() + 6 * torn, "{count} alerts");
}
