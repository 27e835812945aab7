//! The same idempotency key brings the same tasks: what an earlier submission with it became.

use super::refusals::{away, conflict};
use super::{CAUSE, Intake};
use crate::edge::nats::money::NewTask;
use crate::model::answer::Accepted;
use crate::model::ids::{TaskId, Tenant};
use crate::model::problem::Problem;
use crate::model::task::Task;

impl Intake {
    /// Finds what an earlier request with the same key became.
    pub(super) async fn earlier(
        &self,
        cause: Option<&str>,
        new: &NewTask,
    ) -> Result<Option<Accepted>, Problem> {
        if cause.is_none() {
            return Ok(None);
        }
        let loaded = self
            .log
            .load(&new.event.task.task_id)
            .await
            .map_err(|e| away(&e))?;
        loaded
            .map(|earlier| same_request(&earlier.task, new))
            .transpose()
    }

    /// Checks that an earlier submission with the same key was of the same tasks: no other, no
    /// fewer, no more.
    pub(super) async fn same_batch(
        &self,
        tenant: &Tenant,
        key: &str,
        tasks: &[NewTask],
    ) -> Result<(), Problem> {
        for task in tasks {
            if self.earlier(Some(key), task).await?.is_none() {
                return Err(conflict(&tasks[0].event.task.task_id));
            }
        }
        self.no_more(tenant, key, tasks.len()).await
    }

    /// Checks that no submission with this key was of more tasks.
    pub(super) async fn no_more(
        &self,
        tenant: &Tenant,
        key: &str,
        count: usize,
    ) -> Result<(), Problem> {
        let id = |i| TaskId::derived(tenant, CAUSE, &cause_of(key, i));
        match self.log.load(&id(count)).await.map_err(|e| away(&e))? {
            Some(_) => Err(conflict(&id(0))),
            None => Ok(()),
        }
    }
}

pub(super) fn accepted(task: &Task) -> Accepted {
    Accepted {
        task_id: task.task_id.clone(),
        status: task.status,
        estimate: task.estimate,
        model: task.model.clone(),
        mode: task.mode.clone(),
    }
}

fn same_request(earlier: &Task, new: &NewTask) -> Result<Accepted, Problem> {
    if earlier.relay.request_digest == new.event.task.relay.request_digest {
        return Ok(accepted(earlier));
    }
    Err(conflict(&earlier.task_id))
}

/// Names the task at a place of a submission. A single task is the first of one, so that a key is
/// used up for batches and single tasks alike.
pub(super) fn cause_of(key: &str, i: usize) -> String {
    match i {
        0 => key.to_owned(),
        i => format!("{key}\n{i}"),
    }
}
