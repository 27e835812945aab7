//! Money entries and the balance after each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::{Amount, Unit};
use super::ids::{ACCOUNT, CommitId, Day, InvalidId, KlingTaskId, TaskId, Tenant};
use super::request::Product;

/// Whose ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LedgerOwner {
    /// One tenant's.
    Tenant(Tenant),
    /// The whole account's.
    Account,
}

impl LedgerOwner {
    /// Parses a tenant's name, or `_account`.
    ///
    /// # Errors
    /// [`InvalidId`] for anything else.
    pub fn parse(value: &str) -> Result<Self, InvalidId> {
        match value {
            ACCOUNT => Ok(LedgerOwner::Account),
            name => Tenant::parse(name).map(LedgerOwner::Tenant),
        }
    }

    /// Returns the owner's subject token: the tenant, or `_account`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            LedgerOwner::Tenant(tenant) => tenant.as_str(),
            LedgerOwner::Account => ACCOUNT,
        }
    }
}

/// One day of one owner's money.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerKey {
    /// Whose.
    pub owner: LedgerOwner,
    /// Which day.
    pub day: Day,
}

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// Money set aside when a task is accepted.
    Hold,
    /// A hold closed with a deduction, which may exceed it. What Kling deducts in further units
    /// follows as further entries of this kind that change nothing held.
    Settlement,
    /// A hold closed with nothing deducted.
    Void,
    /// A correction, with its reason.
    Adjustment,
    /// The day's limits, written when the day opens or when an operator changes them.
    Limit,
}

/// Where a settlement's figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// From Kling's own figures.
    Billed,
    /// Kling never said: the hold for a success, nothing for a failure.
    Assumed,
}

/// One unit's balance of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnitBalance {
    /// Set aside for open tasks.
    #[schemars(with = "String")]
    pub held: Decimal,
    /// Taken by ended tasks.
    #[schemars(with = "String")]
    pub deducted: Decimal,
    /// What held and deducted may not exceed at acceptance; absent where there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub limit: Option<Decimal>,
    /// The alert thresholds already crossed on this day, as shares of the limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub alerted: Vec<Decimal>,
}

/// A day's balance in every unit that the day has seen.
pub type Balance = BTreeMap<Unit, UnitBalance>;

const LIMIT_MIN: Decimal = Decimal::from_parts(1, 0, 0, false, 6);
const LIMIT_MAX: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);
/// What a limit may be, in words.
pub const LIMIT_RANGE: &str = "0, or from 0.000001 to 1000000000";

/// Tells whether a number can be a limit: beyond these bounds it is a slip, and shares of it would
/// be beyond what a decimal holds.
#[must_use]
pub fn is_limit(number: Decimal) -> bool {
    number.is_zero() || (LIMIT_MIN..=LIMIT_MAX).contains(&number)
}

/// A limit as the configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LimitSetting {
    /// Of the book's main unit; the other units keep what they had.
    Main(Decimal),
    /// By unit name; units that are not named have no limit, so nothing can be spent in them.
    ByUnit(BTreeMap<String, Decimal>),
}

/// One entry of the append-only ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerEntry {
    /// Unique: `<batch>.<n>`, the atomic batch that wrote it and its place in there.
    pub entry_id: String,
    /// The owner: a tenant, or `_account`.
    pub tenant: String,
    /// The task it belongs to; none for `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The commit that wrote it and the task event.
    pub commit_id: CommitId,
    /// The budget day.
    pub day: Day,
    /// What it does.
    pub kind: EntryKind,
    /// The unit of the two changes; of a `limit`, the one that a person changed, none where the day
    /// opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// What it adds to the held amount.
    #[schemars(with = "String")]
    pub held_change: Decimal,
    /// What it adds to the deducted amount.
    #[schemars(with = "String")]
    pub deducted_change: Decimal,
    /// Where a settlement's figure comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// Kling's own figures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub billed: Vec<Amount>,
    /// What was taken above the hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrun: Vec<Amount>,
    /// The balance after the entry, per unit.
    pub balance: Balance,
    /// What was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Product>,
    /// In Kling's spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// In Kling's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Seconds asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Whether sound was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<bool>,
    /// The caller's marks, on a settlement or void: the ledger outlives the task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Kling's id, on a settlement or void, if Kling had the task: its deduction records name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kling_task_id: Option<KlingTaskId>,
    /// Seconds from Kling's creation of the task to its end, on a settlement or void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub latency_seconds: Option<Decimal>,
    /// What an earlier result saved, on the closing of a task that reused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Amount>,
    /// `succeeded` or `failed`, on a settlement or void. On an adjustment: it takes the closing of
    /// a task back, which ended so; one that only corrects an amount has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
    /// Who, on an adjustment or a limit that a person made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Why, on an adjustment or a limit; the error's code on a void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `kling.v1.<tenant>.budget.<day>.alert`: a threshold was crossed, once per day and threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetAlert {
    /// The owner: a tenant, or `_account`.
    pub tenant: String,
    /// The budget day.
    pub day: Day,
    /// Which unit's budget.
    pub unit: Unit,
    /// The threshold, as a share of the limit.
    #[schemars(with = "String")]
    pub threshold: Decimal,
    /// Held and deducted, after the entry that crossed it.
    #[schemars(with = "String")]
    pub used: Decimal,
    /// The limit then.
    #[schemars(with = "String")]
    pub limit: Decimal,
    /// When.
    pub occurred_at: Timestamp,
}
