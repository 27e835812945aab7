//! What ended tasks used: the figures that the ledger's entries add up to, and how they are shown.
//!
//! A usage record is the entry that closes a task's hold. How entries become figures is
//! `decide::usage`'s.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::{Amount, Unit};
use super::ids::{Day, KlingTaskId, TaskId};
use super::ledger::EntryKind;
use super::request::Product;

/// Sums by unit.
pub type ByUnit = BTreeMap<Unit, Decimal>;

/// What tells one cell of a day's usage from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UsageKey {
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
    /// The caller's marks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What entries add up to. Counts can be negative: a correction takes back what another entry,
/// perhaps of another page, has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageFigures {
    /// Tasks that ended well.
    pub succeeded: i64,
    /// Tasks that ended badly, or were refused or cancelled before Kling created them.
    pub failed: i64,
    /// Tasks whose latency is known.
    pub timed: i64,
    /// The sum of their latencies, seconds.
    pub latency_seconds: Decimal,
    /// What is held for open tasks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub held: ByUnit,
    /// What was taken.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub deducted: ByUnit,
    /// What earlier results saved.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub saved: ByUnit,
    /// Successes for which Kling's own figure can be compared with the estimate.
    pub compared: i64,
    /// What was estimated for them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub estimated: ByUnit,
    /// What Kling billed for them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub billed: ByUnit,
}

/// What a tenant's day has used of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageCell {
    /// Of what kind.
    pub key: UsageKey,
    /// How much.
    pub figures: UsageFigures,
}

/// `kling.usage.v1.<tenant>.<day>`: what a stretch of a day's ledger adds up to, so that a report
/// need not read each entry again. Pages of a day follow one another without gap or overlap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsagePage {
    /// The tenant.
    pub tenant: String,
    /// The budget day.
    pub day: Day,
    /// The entries after this sequence of the log,
    pub after_seq: u64,
    /// up to this one, itself included.
    pub to_seq: u64,
    /// How many entries those are.
    pub entries: u64,
    /// What they add up to.
    pub cells: Vec<UsageCell>,
}

/// Money in a currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// The sum of what has a rate, as a decimal string.
    #[schemars(with = "String")]
    pub amount: Decimal,
    /// The currency, for example `USD`.
    pub currency: String,
    /// Units that were used and have no rate: they are not in the amount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Unit>,
}

/// What a group of ended tasks used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageTotals {
    /// Tasks that ended.
    pub tasks: i64,
    /// Those that ended well.
    pub succeeded: i64,
    /// Those that did not, and those that were refused or cancelled before Kling created them.
    pub failed: i64,
    /// Succeeded as a share of tasks, a decimal string of at most four places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub success_rate: Option<Decimal>,
    /// From Kling's creation of a task to its end, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub mean_latency_seconds: Option<Decimal>,
    /// What was taken, by unit.
    pub deducted: Vec<Amount>,
    /// What is still held for open tasks, by unit. A hold carries no labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Amount>,
    /// What earlier results saved, by unit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub saved: Vec<Amount>,
    /// What that is in money, if `[pricing.cost]` has a currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// One group of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageGroup {
    /// Its day, model, tenant, product or label; null for tasks that have none.
    pub group: BTreeMap<String, Option<String>>,
    /// What it used.
    #[serde(flatten)]
    pub totals: UsageTotals,
}

/// `usage report --json` and `GET /v1/usage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageReport {
    /// The first budget day.
    pub from: Day,
    /// The last budget day, itself included.
    pub to: Day,
    /// Whose usage; everybody's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// With which mark only, `key=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What the groups are made by, in their order.
    pub group_by: Vec<String>,
    /// The groups, in order.
    pub groups: Vec<UsageGroup>,
    /// All of them together.
    pub total: UsageTotals,
}

/// `usage export`: one entry that closed a task, or corrected that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageRecord {
    /// The ledger entry's id: the same however often it is exported.
    pub entry_id: String,
    /// `settlement`, `void` or `adjustment`.
    pub kind: EntryKind,
    /// When it was written.
    pub timestamp: Timestamp,
    /// The budget day, which is that of the hold.
    pub day: Day,
    /// The tenant.
    pub tenant: String,
    /// The task; none on some adjustments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Kling's id, if Kling had the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kling_task_id: Option<KlingTaskId>,
    /// What was taken; negative where a correction gives back.
    #[schemars(with = "String")]
    pub credits: Decimal,
    /// What the credits count. A task that was billed in two units has two records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// What had been held for it, in the same unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub estimate: Option<Decimal>,
    /// What an earlier result saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Amount>,
    /// What was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Product>,
    /// In Kling's spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Seconds asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// In Kling's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Whether sound was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<bool>,
    /// `succeeded` or `failed`; on an adjustment, the end that it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// From Kling's creation of the task to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub latency_seconds: Option<Decimal>,
    /// The caller's marks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The error's code on a void, the reason of an adjustment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The beginning of the prompt, if it was asked for and the task is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_preview: Option<String>,
}

/// How Kling's deductions compare with our estimates, for one kind of task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// What was made.
    pub product: Product,
    /// In Kling's spelling.
    pub model: String,
    /// In Kling's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Seconds asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Whether sound was asked for.
    pub audio: bool,
    /// How many tasks were compared.
    pub tasks: i64,
    /// What was estimated for them.
    pub estimated: Amount,
    /// What Kling billed.
    pub billed: Amount,
    /// Billed over estimated, at most four places; absent where the estimate was 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ratio: Option<Decimal>,
    /// Whether the estimate is the documented maximum, since only the end tells the length.
    pub by_design: bool,
    /// What to change in a price book of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// `usage drift --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftReport {
    /// The first budget day.
    pub from: Day,
    /// The last budget day, itself included.
    pub to: Day,
    /// Whose usage; everybody's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// With which mark only, `key=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The price book that the suggestions speak of.
    pub book: String,
    /// How many kinds of task were billed just as estimated.
    pub agreeing: usize,
    /// The others, in order.
    pub drifts: Vec<Drift>,
}
