//! The same idempotency key brings the same tasks: what an earlier submission with it became.

use super::Intake;
use super::refusals::{away, conflict, rebuilt_in_part};
use crate::decide::pricing::request_digest;
use crate::model::amount::sum_by_unit;
use crate::model::answer::{Accepted, AcceptedBatch};
use crate::model::ids::{TaskId, Tenant};
use crate::model::problem::Problem;
use crate::model::request::TaskRequest;
use crate::model::task::Task;

impl Intake {
    /// Finds the tasks of an earlier submission with the same key: of the same requests, no other,
    /// no fewer, no more. None where there was none; only the first ones where a power cut has torn
    /// it, whose caller was never answered and completes it so.
    ///
    /// Nothing else about a request counts here. What was accepted stays accepted when prices or
    /// the prompt policy have changed, and is not judged a second time.
    pub(super) async fn repeated(
        &self,
        tenant: &Tenant,
        key: Option<&str>,
        requests: &[TaskRequest],
    ) -> Result<Vec<Task>, Problem> {
        let Some(key) = key else {
            return Ok(Vec::new());
        };
        let count = count_of(requests);
        let id = |i| TaskId::with_key(tenant, &cause_of(key, i));
        let mut tasks: Vec<Task> = Vec::with_capacity(requests.len());
        for (i, request) in requests.iter().enumerate() {
            let loaded = self.log.load(&id(i)).await.map_err(|e| away(&e))?;
            match loaded {
                Some(earlier) if is_of(&earlier.task, request, count) => tasks.push(earlier.task),
                Some(earlier) => return Err(conflict(&earlier.task.task_id)),
                None if tasks.iter().any(|task| task.relay.rebuilt) => {
                    return Err(rebuilt_in_part(&id(0)));
                }
                None if tasks.iter().all(|task| task.relay.submitted_with == count) => {
                    return Ok(tasks);
                }
                None => return Err(conflict(&id(0))),
            }
        }
        match self.log.load(&id(requests.len())).await {
            Ok(None) => Ok(tasks),
            Ok(Some(_)) => Err(conflict(&id(0))),
            Err(error) => Err(away(&error)),
        }
    }
}

/// Counts the tasks of a submission, as each of them says it.
pub(super) fn count_of(requests: &[TaskRequest]) -> u32 {
    u32::try_from(requests.len()).unwrap_or(u32::MAX)
}

/// The id of a task proves tenant and key. What a rebuilt one was made from is lost with the log:
/// to refuse its repeat would advise to buy it a second time.
fn is_of(earlier: &Task, request: &TaskRequest, count: u32) -> bool {
    // Earlier versions did not say.
    let fits = [0, count].contains(&earlier.relay.submitted_with);
    earlier.relay.rebuilt || fits && earlier.relay.request_digest == request_digest(request)
}

pub(super) fn accepted(task: &Task) -> Accepted {
    Accepted {
        task_id: task.task_id.clone(),
        status: task.status,
        estimate: task.estimate,
        model: task.model.clone(),
        mode: task.mode.clone(),
        reused_from: task.reused_from.clone(),
    }
}

pub(super) fn accepted_batch<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> AcceptedBatch {
    let tasks: Vec<&Task> = tasks.into_iter().collect();
    AcceptedBatch {
        task_ids: tasks.iter().map(|task| task.task_id.clone()).collect(),
        estimate: sum_by_unit(tasks.iter().map(|task| task.estimate)),
    }
}

/// Names the task at a place of a submission. A single task is the first of one, so that a key is
/// used up for batches and single tasks alike.
pub(super) fn cause_of(key: &str, i: usize) -> String {
    match i {
        0 => key.to_owned(),
        i => format!("{key}\n{i}"),
    }
}
