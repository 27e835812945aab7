//! What the ledger's entries say of usage: each entry becomes cells, cells add up to a report, and
//! to how Kling's deductions drift from our estimates.
//!
//! Laws: the order of entries makes no difference; a task is counted once, however many units it
//! was billed in; what takes an entry back takes its count back as well.

mod report;
mod drift;

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::Value;

pub use drift::Drifts;
pub use report::{Dimension, GROUPS_MAX, Groups, Rates, TooManyGroups};

use crate::decide::ledger::{closes_task, is_comparable};
use crate::model::amount::{Amount, Unit};
use crate::model::ledger::{EntryKind, LedgerEntry};
use crate::model::request::KlingCall;
use crate::model::usage::{ByUnit, UsageCell, UsageFigures, UsageKey, UsageRecord};

/// The outcome of a task that ended well, as entries spell it.
const SUCCEEDED: &str = "succeeded";

/// Returns what an entry adds: to the cell of its labels what the task used, and to the cell
/// without labels what is held, since a hold carries none and could otherwise not be given back.
#[must_use]
pub fn cells_of(entry: &LedgerEntry) -> Vec<UsageCell> {
    let mut cells = Vec::with_capacity(2);
    if let Some(unit) = entry.unit.filter(|_| !entry.held_change.is_zero()) {
        let figures = UsageFigures {
            held: ByUnit::from([(unit, entry.held_change)]),
            ..UsageFigures::default()
        };
        let labels = BTreeMap::new();
        cells.push(UsageCell {
            key: key_of(entry, labels),
            figures,
        });
    }
    if is_usage(entry) {
        cells.push(UsageCell {
            key: key_of(entry, entry.labels.clone()),
            figures: used(entry),
        });
    }
    cells
}

/// Tells whether an entry says what was used: a closing, or a correction of what was taken.
fn is_usage(entry: &LedgerEntry) -> bool {
    match entry.kind {
        EntryKind::Settlement | EntryKind::Void => true,
        EntryKind::Adjustment => entry.outcome.is_some() || !entry.deducted_change.is_zero(),
        EntryKind::Hold | EntryKind::Limit => false,
    }
}

fn key_of(entry: &LedgerEntry, labels: BTreeMap<String, String>) -> UsageKey {
    UsageKey {
        product: entry.product,
        model: entry.model.clone(),
        mode: entry.mode.clone(),
        duration: entry.duration.clone(),
        audio: entry.audio,
        labels,
    }
}

fn used(entry: &LedgerEntry) -> UsageFigures {
    let mut figures = UsageFigures::default();
    if let Some(unit) = entry.unit {
        add(&mut figures.deducted, unit, entry.deducted_change);
    }
    let count = counts(entry);
    if count == 0 {
        return figures;
    }
    let sign = Decimal::from(count);
    match entry.outcome.as_deref() {
        Some(SUCCEEDED) => figures.succeeded = count,
        Some(_) | None => figures.failed = count,
    }
    if let Some(latency) = entry.latency_seconds {
        figures.timed = count;
        figures.latency_seconds = latency * sign;
    }
    if let Some(saved) = entry.saved {
        add(&mut figures.saved, saved.unit, saved.amount * sign);
    }
    if let Some(unit) = entry.unit.filter(|_| is_comparable(entry)) {
        figures.compared = count;
        add(&mut figures.estimated, unit, -entry.held_change);
        add(&mut figures.billed, unit, entry.deducted_change);
    }
    figures
}

/// Returns how many ended tasks an entry adds: an adjustment with an outcome takes one back.
fn counts(entry: &LedgerEntry) -> i64 {
    match entry.kind {
        EntryKind::Settlement | EntryKind::Void => i64::from(closes_task(entry)),
        EntryKind::Adjustment => -i64::from(entry.outcome.is_some()),
        EntryKind::Hold | EntryKind::Limit => 0,
    }
}

fn add(sums: &mut ByUnit, unit: Unit, amount: Decimal) {
    if !amount.is_zero() {
        let sum = sums.entry(unit).or_default();
        *sum = (*sum + amount).normalize();
    }
}

/// Adds one set of figures to another.
pub fn merge(into: &mut UsageFigures, more: &UsageFigures) {
    into.succeeded += more.succeeded;
    into.failed += more.failed;
    into.timed += more.timed;
    into.latency_seconds += more.latency_seconds;
    into.compared += more.compared;
    for (sums, more) in [
        (&mut into.held, &more.held),
        (&mut into.deducted, &more.deducted),
        (&mut into.saved, &more.saved),
        (&mut into.estimated, &more.estimated),
        (&mut into.billed, &more.billed),
    ] {
        for (unit, amount) in more {
            add(sums, *unit, *amount);
        }
    }
}

/// Returns sums as amounts, in the order of the units, without those that came to nothing.
fn amounts(sums: &ByUnit) -> Vec<Amount> {
    let some = sums.iter().filter(|(_, amount)| !amount.is_zero());
    some.map(|(unit, amount)| Amount::new(*amount, *unit))
        .collect()
}

/// What a cell takes beside its labels and names, in bytes of JSON, generously.
const CELL_BYTES: usize = 600;

/// Adds up entries by their cells.
#[derive(Debug, Default)]
pub struct Cells {
    cells: BTreeMap<UsageKey, UsageFigures>,
    bytes: usize,
}

impl Cells {
    /// Adds an entry.
    pub fn add(&mut self, entry: &LedgerEntry) {
        for cell in cells_of(entry) {
            if !self.cells.contains_key(&cell.key) {
                let labels = cell.key.labels.iter();
                // A character of text takes at most six bytes of JSON.
                let labels = labels.map(|(key, value)| 6 * (key.len() + value.len()) + 6);
                self.bytes += CELL_BYTES + labels.sum::<usize>();
            }
            merge(self.cells.entry(cell.key).or_default(), &cell.figures);
        }
    }

    /// Returns how large the cells are at most, in bytes of JSON.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the cells; those that came to nothing are left out.
    #[must_use]
    pub fn into_cells(self) -> Vec<UsageCell> {
        let cells = self.cells.into_iter().map(|(key, mut figures)| {
            for sums in [&mut figures.held, &mut figures.deducted, &mut figures.saved] {
                sums.retain(|_, amount| !amount.is_zero());
            }
            UsageCell { key, figures }
        });
        cells
            .filter(|cell| cell.figures != UsageFigures::default())
            .collect()
    }
}

/// Returns an entry as a usage record; `None` if it says nothing of usage.
#[must_use]
pub fn record_of(entry: LedgerEntry) -> Option<UsageRecord> {
    if !is_usage(&entry) {
        return None;
    }
    let closes = matches!(entry.kind, EntryKind::Settlement | EntryKind::Void);
    let estimate = (closes && closes_task(&entry)).then(|| (-entry.held_change).normalize());
    Some(UsageRecord {
        entry_id: entry.entry_id,
        kind: entry.kind,
        timestamp: entry.occurred_at,
        day: entry.day,
        tenant: entry.tenant,
        task_id: entry.task_id,
        kling_task_id: entry.kling_task_id,
        credits: entry.deducted_change.normalize(),
        unit: entry.unit,
        estimate,
        saved: entry.saved.filter(|_| estimate.is_some()),
        product: entry.product,
        model: entry.model,
        duration: entry.duration,
        mode: entry.mode,
        audio: entry.audio,
        outcome: entry.outcome,
        latency_seconds: entry.latency_seconds,
        labels: entry.labels,
        reason: entry.reason,
        prompt_preview: None,
    })
}

/// Returns the beginning of a call's prompt, on one line.
#[must_use]
pub fn prompt_preview(call: &KlingCall, characters: u16) -> Option<String> {
    let of_type = |entry: &&Value| entry["type"] == "prompt";
    let in_contents = || {
        let contents = call.body.get("contents")?.as_array()?;
        contents.iter().find(of_type)?["text"].as_str()
    };
    let alone = call.body.get("prompt").and_then(Value::as_str);
    let prompt = alone.or_else(in_contents)?.chars();
    let one_line = prompt.map(|c| if c.is_control() { ' ' } else { c });
    Some(one_line.take(usize::from(characters)).collect())
}
