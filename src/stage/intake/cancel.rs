//! What may be cancelled, and the event that does it.

use jiff::Timestamp;

use crate::model::event::{EventKind, NewEvent};
use crate::model::problem::{Problem, ProblemCode};
use crate::model::task::{Status, Task, TaskError};

pub(super) fn is_cancelled(task: &Task) -> bool {
    task.error
        .as_ref()
        .is_some_and(|error| error.code == "cancelled")
}

pub(super) fn cancelled(task: &Task, now: Timestamp) -> Result<NewEvent, Problem> {
    let waits = match task.status {
        Status::Requested => !task.relay.rebuilt,
        Status::Dispatching => task.relay.claim.is_none() && !task.relay.may_exist,
        Status::Submitted | Status::Processing | Status::Succeeded | Status::Failed => false,
    };
    if !waits {
        let detail = format!(
            "task {} is {}: Kling has it or may have it, and Kling has no cancel",
            task.task_id,
            task.status.as_str()
        );
        return Err(Problem::new(ProblemCode::NotCancellable, detail));
    }
    let mut after = task.clone();
    after.status = Status::Failed;
    after.occurred_at = now;
    after.relay.changed_at = now;
    // Kling never had it, so Kling deducted nothing: evidence, not an assumption.
    after.billing = Some(Vec::new());
    after.error = Some(TaskError {
        code: "cancelled".to_owned(),
        message: "cancelled before it was dispatched".to_owned(),
        retryable: true,
    });
    Ok(NewEvent::plain(EventKind::Failed, 1, after))
}
