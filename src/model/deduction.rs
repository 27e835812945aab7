//! One line of Kling's own record of what it deducted for a task.

use jiff::Timestamp;

use super::amount::Amount;
use super::ids::KlingTaskId;

/// A deduction record. A task has one per pack or balance that paid for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeductionRecord {
    /// Kling's id of the task.
    pub kling_task_id: KlingTaskId,
    /// What was taken; `None` where the record's figure or unit cannot be read.
    pub amount: Option<Amount>,
    /// When it was taken.
    pub deducted_at: Option<Timestamp>,
}
