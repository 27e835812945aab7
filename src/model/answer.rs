//! What the service answers to submissions and estimates, over HTTP and NATS alike.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::advice::Advice;
use super::amount::{Amount, Unit};
use super::ids::{Day, TaskId, Tenant};
use super::ledger::Balance;
use super::task::{Status, Task};

/// The answer to an accepted request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The task's id, ours and Kling's `external_task_id`.
    pub task_id: TaskId,
    /// How far it has come: `requested`, or further when an idempotency key was repeated.
    pub status: Status,
    /// What is held for it.
    pub estimate: Amount,
    /// The model that makes it, in Kling's spelling.
    pub model: String,
    /// The mode that was priced, which a draft's purpose may have lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The task whose stored result answers it, where that is known already: nothing is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<TaskId>,
}

/// The answer to an accepted batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AcceptedBatch {
    /// In the order of the requests.
    pub task_ids: Vec<TaskId>,
    /// What is held for all of them, by unit.
    pub estimate: Vec<Amount>,
}

/// What one request would cost, and what it would make for that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// What would be held.
    #[serde(flatten)]
    pub price: Amount,
    /// The model that would make it, in Kling's spelling.
    pub model: String,
    /// The mode that was priced, where the product has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Seconds, where the product has a length of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Whether it would have sound.
    pub audio: bool,
    /// The budget day that would hold it.
    pub day: Day,
    /// With advice: the same for tasks whose results could stand for one another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse_key: Option<String>,
}

/// What one budget day would have to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DayEstimate {
    /// Which day.
    pub day: Day,
    /// The price of its tasks, by unit.
    pub needed: Vec<Amount>,
    /// What is left of its limits in these units; a unit without a limit is not there.
    pub remaining: Vec<Amount>,
}

/// What requests would cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimates {
    /// In the order of the requests.
    pub estimates: Vec<Estimate>,
    /// All of them, by unit.
    pub total: Vec<Amount>,
    /// Whether the limits would allow all of them now.
    pub allowed: bool,
    /// How many of them, from the first, the limits would allow.
    pub fits: usize,
    /// What is left of the day's limits: of the first day that cannot hold its tasks, or else of
    /// the first day that has any.
    pub remaining: Vec<Amount>,
    /// By budget day: delayed tasks are held on the day on which they may be dispatched.
    pub days: Vec<DayEstimate>,
    /// What would be cheaper; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Vec<Advice>>,
}

/// A page of tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskPage {
    /// Newest first.
    pub tasks: Vec<Task>,
    /// Asks for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// One owner's money of one day, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DayBudget {
    /// The tenant, or `_account`.
    pub tenant: String,
    /// The budget day.
    pub day: Day,
    /// The balance by unit; a day without entries shows the limits that it will open with.
    pub balance: Balance,
    /// What is left of each limit; never negative.
    pub remaining: Vec<Amount>,
    /// Held and deducted as a share of each limit, to four places; above 1 after an overrun.
    #[schemars(with = "BTreeMap<Unit, String>")]
    pub used: BTreeMap<Unit, Decimal>,
}

/// What became of corrections, by task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Adjusted {
    /// Tasks that were corrected.
    pub posted: u64,
    /// Tasks whose deduction was what it should be already.
    pub already: u64,
    /// Tasks whose deduction is something else by now, or that are not settled: left as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_on: Vec<TaskId>,
}

/// What became of tasks to be rebuilt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rebuilt {
    /// Histories begun anew.
    pub begun: u64,
    /// Tasks that had a history by then.
    pub known: u64,
    /// Tenants that the service does not know: their tasks were left alone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub other_tenants: BTreeSet<Tenant>,
}
