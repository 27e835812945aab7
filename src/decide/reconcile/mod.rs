//! Our ledger against Kling's two accounts of the same tasks: each task's own bill, and the
//! deduction records.
//!
//! One budget day at a time: first the ledger's entries go in, then what Kling shows, then the
//! verdicts come out. What is held in memory is one day's tasks (some hundred bytes each) and at
//! most [`STRANGERS_MAX`] tasks of somebody else.

mod books;
mod judge;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde::Serialize;

pub use books::{DayBooks, SeenTask, Whose};

use crate::model::amount::{Amount, Unit};
use crate::model::ids::{Day, KlingTaskId, TaskId};

/// Tasks of somebody else that are told apart on one day; further ones are only counted.
pub const STRANGERS_MAX: usize = 1_000;

/// When a verdict may be given.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Now.
    pub now: Timestamp,
    /// How long Kling's records may stay behind what it took.
    pub lag: SignedDuration,
}

/// What the comparison makes of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Ledger, bill and records agree.
    Match,
    /// The task is open; nothing is due yet.
    Pending,
    /// Settled too recently for Kling's records to be complete.
    NotYet,
    /// Another amount or another unit, or Kling's own two figures disagree.
    Different,
    /// Settled by assumption, and Kling has figures now.
    Assumed,
    /// Kling took something for a task of ours, and we have no settlement.
    MissingInLedger,
    /// We settled a deduction, and Kling has no record of it.
    MissingAtKling,
    /// A record of Kling's cannot be read.
    Unreadable,
    /// A record of a task that is none of ours: others use the account as well.
    Unknown,
}

impl Class {
    /// Every class, in the order in which reports list them.
    pub const ALL: [Class; 9] = [
        Class::Match,
        Class::Pending,
        Class::NotYet,
        Class::Different,
        Class::Assumed,
        Class::MissingInLedger,
        Class::MissingAtKling,
        Class::Unreadable,
        Class::Unknown,
    ];

    /// Returns the class's name in reports and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Match => "match",
            Class::Pending => "pending",
            Class::NotYet => "not-yet",
            Class::Different => "different",
            Class::Assumed => "assumed",
            Class::MissingInLedger => "missing-in-ledger",
            Class::MissingAtKling => "missing-at-kling",
            Class::Unreadable => "unreadable",
            Class::Unknown => "unknown",
        }
    }

    /// Tells whether the books are wrong, one way or the other.
    #[must_use]
    pub fn is_difference(self) -> bool {
        match self {
            Class::Match | Class::Pending | Class::NotYet | Class::Unknown => false,
            Class::Different
            | Class::Assumed
            | Class::MissingInLedger
            | Class::MissingAtKling
            | Class::Unreadable => true,
        }
    }
}

/// What an adjustment would change: a task's deduction in one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// In which unit.
    pub unit: Unit,
    /// What the ledger says.
    pub from: Decimal,
    /// What Kling says.
    pub to: Decimal,
}

/// A task that a person should see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The budget day.
    pub day: Day,
    /// What it is.
    pub class: Class,
    /// Ours, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Kling's, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kling_task_id: Option<KlingTaskId>,
    /// What our ledger deducted, by unit.
    pub ledger: Vec<Amount>,
    /// What Kling's task says; absent where it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing: Option<Vec<Amount>>,
    /// What Kling's records add up to.
    pub records: Vec<Amount>,
    /// What an adjustment would change; empty where nobody can say from here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// What one unit adds up to, over all tasks of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// In our ledger.
    pub ledger: Decimal,
    /// In the tasks' own bills.
    pub billing: Decimal,
    /// In Kling's records.
    pub records: Decimal,
}

/// What one budget day comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayReport {
    /// Tasks by class.
    pub counts: BTreeMap<Class, u64>,
    /// Totals by unit.
    pub totals: BTreeMap<Unit, Totals>,
    /// Every difference, and tasks of somebody else.
    pub findings: Vec<Finding>,
}

impl DayReport {
    /// Counts the tasks whose figures differ.
    #[must_use]
    pub fn differences(&self) -> u64 {
        let differ = self
            .counts
            .iter()
            .filter(|(class, _)| class.is_difference());
        differ.map(|(_, count)| count).sum()
    }
}

/// Amounts by unit, without zeros, so that "nothing" has one spelling.
type Sums = BTreeMap<Unit, Decimal>;

fn sums(amounts: impl IntoIterator<Item = Amount>) -> Sums {
    let mut sums = Sums::new();
    for amount in amounts {
        *sums.entry(amount.unit).or_default() += amount.amount;
    }
    sums.retain(|_, amount| !amount.is_zero());
    sums
}

fn amounts(sums: &Sums) -> Vec<Amount> {
    let amounts = sums.iter().filter(|(_, amount)| !amount.is_zero());
    amounts
        .map(|(unit, amount)| Amount::new(*amount, *unit))
        .collect()
}
