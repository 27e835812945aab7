//! One budget day's tasks with everything that is said of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use super::judge::{Verdict, judge};
use super::{Class, DayReport, Finding, Patience, STRANGERS_MAX, Sums, amounts, sums};
use crate::model::amount::{Amount, Unit};
use crate::model::deduction::DeductionRecord;
use crate::model::ids::{Day, KlingTaskId, TaskId, Tenant};
use crate::model::ledger::{Basis, EntryKind, LedgerEntry};
use crate::model::request::Product;

/// What our ledger and Kling say of one task.
#[derive(Clone, Debug, Default)]
pub(super) struct Booked {
    pub(super) kling_task_id: Option<KlingTaskId>,
    /// Whether our ledger has entries of it.
    pub(super) in_ledger: bool,
    pub(super) held: Option<Amount>,
    /// When its hold was closed, and on what basis.
    pub(super) closed: Option<(Timestamp, Basis)>,
    pub(super) deducted: Sums,
    pub(super) billed: Vec<Amount>,
    /// Whether a person has adjusted it.
    pub(super) adjusted: bool,
    pub(super) shown: Option<Shown>,
    pub(super) records: Records,
}

/// What Kling's task says.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) ended_at: Option<Timestamp>,
    pub(super) billing: Option<Sums>,
}

/// What Kling's records say.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) sums: Sums,
    pub(super) count: u64,
    pub(super) unreadable: bool,
    pub(super) last_at: Option<Timestamp>,
}

impl Records {
    fn add(&mut self, record: &DeductionRecord) {
        self.count += 1;
        self.last_at = self.last_at.max(record.deducted_at);
        match record.amount {
            Some(amount) => *self.sums.entry(amount.unit).or_default() += amount.amount,
            None => self.unreadable = true,
        }
    }
}

/// A task as Kling lists it.
#[derive(Clone, Debug)]
pub struct SeenTask {
    /// Kling's id.
    pub kling_task_id: KlingTaskId,
    /// The external id that Kling repeats, if it does.
    pub external_id: Option<String>,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
    /// What it says was deducted.
    pub billing: Option<Vec<Amount>>,
}

/// Whose a listed task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// One of the books'; it has been entered.
    Entered,
    /// It has an id of our form, and the books do not have it: the log may know more.
    AskLog(TaskId),
    /// Not of our making, or not asked for.
    Others,
}

/// One budget day, or one tenant's part of it, while it is being compared.
#[derive(Debug)]
pub struct DayBooks {
    day: Day,
    tenant: Option<Tenant>,
    tasks: BTreeMap<TaskId, Booked>,
    by_kling: HashMap<KlingTaskId, TaskId>,
    /// Of ours, on other days.
    elsewhere: HashSet<KlingTaskId>,
    strangers: BTreeMap<KlingTaskId, Records>,
    strangers_more: u64,
    products: BTreeSet<Product>,
    last_entry_at: Option<Timestamp>,
}

impl DayBooks {
    /// Opens the books of a day: of every tenant, or of one.
    #[must_use]
    pub fn new(day: Day, tenant: Option<Tenant>) -> Self {
        Self {
            day,
            tenant,
            tasks: BTreeMap::new(),
            by_kling: HashMap::new(),
            elsewhere: HashSet::new(),
            strangers: BTreeMap::new(),
            strangers_more: 0,
            products: BTreeSet::new(),
            last_entry_at: None,
        }
    }

    /// Tells whether our ledger has nothing on this day.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Returns when the newest entry was written.
    #[must_use]
    pub fn last_entry_at(&self) -> Option<Timestamp> {
        self.last_entry_at
    }

    /// Returns what the day's tasks made.
    pub fn products(&self) -> impl Iterator<Item = Product> {
        self.products.iter().copied()
    }

    /// Enters an entry of a tenant's ledger; the account's repeat them.
    pub fn enter(&mut self, entry: &LedgerEntry) {
        let Some(task_id) = &entry.task_id else {
            return;
        };
        self.last_entry_at = self.last_entry_at.max(Some(entry.occurred_at));
        self.products.extend(entry.product);
        let booked = self.tasks.entry(task_id.clone()).or_default();
        booked.in_ledger = true;
        if let Some(unit) = entry.unit {
            *booked.deducted.entry(unit).or_default() += entry.deducted_change;
        }
        match entry.kind {
            EntryKind::Hold => {
                booked.held = entry.unit.map(|unit| Amount::new(entry.held_change, unit));
            }
            EntryKind::Settlement | EntryKind::Void => {
                let basis = entry.basis.unwrap_or(Basis::Billed);
                booked.closed = Some((entry.occurred_at, basis));
                booked.billed.extend(entry.billed.iter().copied());
            }
            EntryKind::Adjustment if entry.who.is_some() => booked.adjusted = true,
            // The repair of a torn batch: either the hold never was, or it is open again.
            EntryKind::Adjustment if entry.held_change < rust_decimal::Decimal::ZERO => {
                self.tasks.remove(task_id);
                return;
            }
            EntryKind::Adjustment => {
                booked.closed = None;
                booked.billed.clear();
            }
            EntryKind::Limit => {}
        }
        if let Some(kling_task_id) = &entry.kling_task_id {
            self.name(task_id, kling_task_id);
        }
    }

    /// Returns the tasks whose money is still open: only the log knows Kling's ids of them.
    #[must_use]
    pub fn open(&self) -> Vec<TaskId> {
        let open = self
            .tasks
            .iter()
            .filter(|(_, booked)| booked.closed.is_none());
        open.map(|(task_id, _)| task_id.clone()).collect()
    }

    /// Notes Kling's id of a task.
    pub fn name(&mut self, task_id: &TaskId, kling_task_id: &KlingTaskId) {
        if let Some(booked) = self.tasks.get_mut(task_id) {
            booked.kling_task_id = Some(kling_task_id.clone());
            self.by_kling.insert(kling_task_id.clone(), task_id.clone());
        }
    }

    /// Enters a task as Kling lists it, if it is in the books.
    pub fn show(&mut self, seen: &SeenTask) -> Whose {
        let ours = seen
            .external_id
            .as_deref()
            .and_then(|id| TaskId::parse(id).ok());
        let known = self.by_kling.get(&seen.kling_task_id).cloned();
        let named = ours.clone().filter(|id| self.tasks.contains_key(id));
        if let Some(task_id) = known.or(named) {
            self.attach(&task_id, seen);
            return Whose::Entered;
        }
        let Some(task_id) = ours else {
            return Whose::Others;
        };
        if self
            .tenant
            .as_ref()
            .is_some_and(|own| *own != task_id.tenant())
        {
            self.elsewhere(seen.kling_task_id.clone());
            return Whose::Others;
        }
        Whose::AskLog(task_id)
    }

    /// Notes that a task of ours belongs to another day.
    pub fn elsewhere(&mut self, kling_task_id: KlingTaskId) {
        self.elsewhere.insert(kling_task_id);
    }

    /// Enters a task with an id of our form that neither the ledger nor the log knows.
    pub fn adopt(&mut self, task_id: &TaskId, seen: &SeenTask) {
        self.tasks.entry(task_id.clone()).or_default();
        self.attach(task_id, seen);
    }

    fn attach(&mut self, task_id: &TaskId, seen: &SeenTask) {
        self.name(task_id, &seen.kling_task_id);
        if let Some(booked) = self.tasks.get_mut(task_id) {
            booked.shown = Some(Shown {
                ended_at: seen.ended_at,
                billing: seen.billing.as_ref().map(|bill| sums(bill.iter().copied())),
            });
        }
    }

    /// Enters a deduction record. `with_strangers` counts those of tasks that are none of ours:
    /// only where the record's task was created on the day itself, so that it is counted once.
    pub fn record(&mut self, record: &DeductionRecord, with_strangers: bool) {
        let id = &record.kling_task_id;
        if let Some(booked) = self.by_kling.get(id).and_then(|id| self.tasks.get_mut(id)) {
            booked.records.add(record);
        } else if with_strangers && self.tenant.is_none() && !self.elsewhere.contains(id) {
            if self.strangers.len() < STRANGERS_MAX || self.strangers.contains_key(id) {
                self.strangers.entry(id.clone()).or_default().add(record);
            } else {
                self.strangers_more += 1;
            }
        }
    }

    /// Closes the books: a verdict for each task.
    #[must_use]
    pub fn close(self, patience: Patience) -> DayReport {
        let mut report = DayReport::default();
        for (task_id, booked) in self.tasks {
            let Some(Verdict { class, changes }) = judge(&booked, patience) else {
                continue;
            };
            *report.counts.entry(class).or_default() += 1;
            report.add(&booked);
            if class.is_difference() {
                report.findings.push(Finding {
                    day: self.day,
                    class,
                    task_id: Some(task_id),
                    kling_task_id: booked.kling_task_id,
                    ledger: amounts(&booked.deducted),
                    billing: booked
                        .shown
                        .and_then(|shown| shown.billing)
                        .map(|b| amounts(&b)),
                    records: amounts(&booked.records.sums),
                    changes,
                });
            }
        }
        let strangers = self.strangers.len() as u64 + self.strangers_more;
        if strangers > 0 {
            report.counts.insert(Class::Unknown, strangers);
        }
        let unknown = self.strangers.into_iter().map(|(id, records)| Finding {
            day: self.day,
            class: Class::Unknown,
            task_id: None,
            kling_task_id: Some(id),
            ledger: Vec::new(),
            billing: None,
            records: amounts(&records.sums),
            changes: Vec::new(),
        });
        report.findings.extend(unknown);
        report
    }
}

impl DayReport {
    fn add(&mut self, booked: &Booked) {
        let billing = booked
            .shown
            .as_ref()
            .and_then(|shown| shown.billing.as_ref());
        for unit in Unit::ALL {
            let of = |sums: &Sums| sums.get(&unit).copied().unwrap_or_default();
            let parts = [
                of(&booked.deducted),
                billing.map(of).unwrap_or_default(),
                of(&booked.records.sums),
            ];
            if parts.iter().any(|part| !part.is_zero()) {
                let totals = self.totals.entry(unit).or_default();
                totals.ledger = (totals.ledger + parts[0]).normalize();
                totals.billing = (totals.billing + parts[1]).normalize();
                totals.records = (totals.records + parts[2]).normalize();
            }
        }
    }
}
