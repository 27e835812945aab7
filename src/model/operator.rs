//! What an operator asks of the running service, over HTTP and the broker alike.

use jiff::Timestamp;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::{Amount, Unit};
use super::ids::{Day, KlingTaskId, TaskId, Tenant};
use super::request::Product;

/// Longest name of who does something, characters.
pub const WHO_MAX: usize = 64;
/// Longest reason, characters.
pub const REASON_MAX: usize = 256;

/// Tells whether a name or a reason can be kept with the money: one line that says something.
#[must_use]
pub fn is_line(text: &str, length_max: usize) -> bool {
    let fits = !text.trim().is_empty() && text.chars().count() <= length_max;
    fits && !text.chars().any(char::is_control)
}

/// Changes one limit of one day: `PUT /v1/budget`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimit {
    /// The tenant, or `_account`.
    pub tenant: String,
    /// The budget day; today without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// Which unit's limit.
    pub unit: Unit,
    /// The limit from now on. Below what is held and deducted, nothing more is accepted.
    #[schemars(with = "String")]
    pub limit: Decimal,
    /// Who changes it.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// Corrects deductions of one tenant's day: `reconcile --post`. A task is corrected only while its
/// deduction is what the change says, and all of its changes together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adjust {
    /// The tenant.
    pub tenant: String,
    /// The budget day that holds the money.
    pub day: Day,
    /// What changes; at most 200.
    pub changes: Vec<AdjustChange>,
    /// Who corrects.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// One task's deduction in one unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustChange {
    /// Whose deduction.
    pub task_id: TaskId,
    /// In which unit.
    pub unit: Unit,
    /// What our ledger says.
    #[schemars(with = "String")]
    pub from: Decimal,
    /// What it should say.
    #[schemars(with = "String")]
    pub to: Decimal,
}

/// Begins histories anew for tasks that Kling lists and the log has lost: `recover --rebuild`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rebuild {
    /// At most 200.
    pub tasks: Vec<LostTask>,
    /// A tenant that is ours although the service's configuration does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// Only say which tenants are not ours: nobody has to sign for that.
    #[serde(default)]
    pub dry_run: bool,
    /// Who rebuilds.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// What Kling still knows of a task that the log has lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LostTask {
    /// Ours: Kling's `external_task_id`.
    pub task_id: TaskId,
    /// Kling's id.
    pub kling_task_id: KlingTaskId,
    /// When Kling created it: its budget day.
    pub created_at: Timestamp,
    /// What was made, as far as Kling's bill tells.
    pub product: Product,
    /// The path that it is read from, where Kling has only the legacy lists for us.
    pub path: String,
    /// What Kling deducted, in the unit of the task's pack; 0 while it has not ended.
    pub hold: Amount,
    /// What Kling's deduction records say it took: the bill of a task that Kling shows without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorded: Vec<Amount>,
}
