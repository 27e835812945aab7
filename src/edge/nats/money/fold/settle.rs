//! Closings: what was held goes back, what Kling took is deducted, then `settled`.

use rust_decimal::Decimal;

use super::{Cause, Fold, PlannedEvent, describe, keys};
use crate::decide::ledger::{Closing, close, deduct};
use crate::edge::nats::log::Loaded;
use crate::model::amount::{Amount, Unit};
use crate::model::event::{EventKind, NewEvent};
use crate::model::ids::CommitId;
use crate::model::ledger::{Basis, EntryKind, LedgerEntry, LedgerKey};
use crate::model::task::Task;

impl Fold<'_> {
    /// Adds the closing of a task's hold.
    pub(super) fn settle(&mut self, on: &Loaded, closing: &Closing, commit_id: &CommitId) {
        let held = on.task.estimate;
        let cause = Cause {
            commit_id: commit_id.clone(),
            traceparent: on.traceparent().map(str::to_owned),
        };
        for key in keys(&on.task) {
            self.settle_one(key, on, closing, &cause);
        }
        let mut task = on.task.clone();
        task.occurred_at = self.now;
        task.held = Some(held);
        task.deduction = closing.deduction.clone();
        task.overrun = closing.overrun.clone();
        task.relay.settled_at = Some(self.now);
        self.events.push(PlannedEvent {
            event: NewEvent::plain(EventKind::Settled, 1, task),
            on: Some(on.clone()),
            cause,
        });
    }

    fn settle_one(&mut self, key: LedgerKey, on: &Loaded, closing: &Closing, cause: &Cause) {
        let held = on.task.estimate;
        let taken = closing
            .deduction
            .iter()
            .filter(|amount| amount.unit == held.unit)
            .map(|amount| amount.amount)
            .sum::<Decimal>();
        let kind = match closing.is_void() {
            true => EntryKind::Void,
            false => EntryKind::Settlement,
        };
        let before = self.opened(&key, cause);
        let mut entry = self.entry(kind, &key, &cause.commit_id);
        describe_end(&mut entry, &on.task);
        entry.basis = Some(closing.basis);
        entry.unit = Some(held.unit);
        let further = entry.clone();
        // The negative of nothing would print as -0.
        entry.held_change = (-held.amount).normalize();
        entry.deducted_change = taken;
        if closing.basis == Basis::Billed {
            entry.billed = on.task.billing.clone().unwrap_or_default();
        }
        entry.overrun = over(closing, held.unit);
        if kind == EntryKind::Void {
            entry.reason = on.task.error.as_ref().map(|error| error.code.clone());
        }
        self.push(key.clone(), close(&before, held, taken), entry, cause);
        let others = closing
            .deduction
            .iter()
            .filter(|amount| amount.unit != held.unit);
        for amount in others {
            let mut entry = further.clone();
            entry.unit = Some(amount.unit);
            entry.deducted_change = amount.amount;
            entry.overrun = over(closing, amount.unit);
            let before = self.opened(&key, cause);
            self.push(key.clone(), deduct(&before, *amount), entry, cause);
        }
    }
}

/// Adds what usage reports and reconciliation need once the task has expired.
fn describe_end(entry: &mut LedgerEntry, task: &Task) {
    describe(entry, task);
    entry.outcome = Some(task.status.as_str().to_owned());
    entry.labels.clone_from(&task.labels);
    entry.kling_task_id.clone_from(&task.kling_task_id);
    entry.saved = task.saved;
    entry.latency_seconds = task.relay.submitted_at.map(|submitted| {
        let milliseconds = task.relay.changed_at.duration_since(submitted).as_millis();
        let milliseconds = i64::try_from(milliseconds.max(0)).unwrap_or(i64::MAX);
        Decimal::new(milliseconds, 3).normalize()
    });
}

fn over(closing: &Closing, unit: Unit) -> Vec<Amount> {
    let of_unit = closing.overrun.iter().filter(|amount| amount.unit == unit);
    of_unit.copied().collect()
}
