//! An earlier result as the answer to a request that allows it: then nothing is held.

use super::Intake;
use super::refusals::away;
use crate::decide::pricing::Planned;
use crate::decide::reuse::{answer_at_acceptance, can_answer, has_files, reuse_key};
use crate::edge::nats::money::NewTask;
use crate::model::amount::Amount;
use crate::model::ids::Tenant;
use crate::model::problem::{Problem, ProblemCode};
use crate::model::request::TaskRequest;
use crate::model::task::Task;

/// Refuses to reuse what is no file.
pub(super) fn check_reuse(request: &TaskRequest) -> Result<(), Problem> {
    if !request.reuse || has_files(request.product) {
        return Ok(());
    }
    let detail = format!(
        "{} makes no file that could be reused; leave reuse out, and use the id that you have",
        request.product
    );
    Err(Problem::new(ProblemCode::InvalidRequest, detail).field("reuse"))
}

impl Intake {
    /// Waits until the view has seen what is in the log now, if one of the requests allows reuse:
    /// who has read `stored` and asks again is not told that there is nothing. A view that does not
    /// come so far in time costs only the hold.
    pub(super) async fn see_results(&self, requests: &[TaskRequest]) -> Result<(), Problem> {
        if requests.iter().any(|request| request.reuse) {
            let last = self.log.last_event_sequence().await;
            let seen = self.views.applied(last.map_err(|error| away(&error))?);
            if tokio::time::timeout(self.rules.accept_timeout, seen)
                .await
                .is_err()
            {
                tracing::warn!("the view is far behind the log; earlier results may be missed");
            }
        }
        Ok(())
    }

    /// Marks a task that a stored result answers, if it allows that: nothing is held for it.
    pub(super) async fn reuse(&self, new: &mut NewTask) -> Result<(), Problem> {
        let task = &new.event.task;
        if !task.relay.reuse.asked {
            return Ok(());
        }
        let source = self.result_of(&task.tenant, &task.relay.reuse.key).await?;
        if let Some(source) = source {
            answer_at_acceptance(&mut new.event.task, &source);
            new.hold = new.event.task.estimate;
        }
        Ok(())
    }

    /// Returns what would be held for a request: nothing, where a stored result answers it.
    pub(super) async fn hold_of(
        &self,
        tenant: &Tenant,
        request: &TaskRequest,
        planned: &Planned,
    ) -> Result<Amount, Problem> {
        let key = request.reuse.then(|| reuse_key(tenant, &planned.call));
        let source = match key {
            Some(key) => self.result_of(tenant, &key).await?,
            None => None,
        };
        Ok(match source {
            Some(_) => Amount::zero(planned.price.unit),
            None => planned.price,
        })
    }

    /// Finds a stored result; the log itself confirms what the view says.
    async fn result_of(&self, tenant: &Tenant, key: &str) -> Result<Option<Task>, Problem> {
        let source = {
            let (now, rules) = (self.clock.now(), &self.rules.reuse);
            self.views.read().answer(tenant, key, now, rules).cloned()
        };
        let Some(source) = source else {
            return Ok(None);
        };
        let loaded = self.log.load(&source).await.map_err(|error| away(&error))?;
        let task = loaded.map(|loaded| loaded.task);
        Ok(task.filter(|task| can_answer(task, tenant, key)))
    }
}
