//! How a task is asked about at Kling.

use crate::decide::products::ProductRow;
use crate::edge::kling::client::{Client, LookUp};
use crate::edge::kling::wire::Terms;
use crate::model::task::Task;

/// Names a task by Kling's id if there is one, else by ours.
#[must_use]
pub fn look_up(task: &Task, kling: &Client) -> LookUp {
    LookUp {
        kling_id: task.kling_task_id.clone(),
        external_id: task.task_id.clone(),
        path: task.relay.path.clone(),
        terms: terms(task, kling),
    }
}

/// Returns what Kling leaves unsaid about a task's money.
#[must_use]
pub fn terms(task: &Task, kling: &Client) -> Terms {
    let unit = ProductRow::of(task.product).pack.unit();
    let mut terms = Terms::new(unit, kling.cash_unit());
    // The list of all tasks does not say what was made: the product of what was rebuilt from it is
    // a guess.
    if task.relay.rebuilt && task.relay.path.is_empty() {
        terms.pack = None;
    }
    terms
}
