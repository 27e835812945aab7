//! What requests would cost, whether their days allow it, and what would be cheaper. Nothing is
//! stored.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Intake;
use super::refusals::{check_batch, in_batch};
use crate::decide::admission::left_of_day;
use crate::decide::advice::{advice, alternatives};
use crate::decide::estimate::estimates;
use crate::decide::pricing::{Planned, call_digest};
use crate::model::advice::Advice;
use crate::model::amount::Amount;
use crate::model::answer::{Estimate, Estimates};
use crate::model::ids::{Day, Tenant};
use crate::model::ledger::{LedgerKey, LedgerOwner};
use crate::model::problem::{Problem, ProblemCode};
use crate::model::request::TaskRequest;
use crate::telemetry;

impl Intake {
    /// Prices requests, and tells whether they would be accepted now; with `advise` also what would
    /// be cheaper.
    ///
    /// # Errors
    /// A [`Problem`], as for a submission.
    pub async fn estimate(
        &self,
        tenant: &Tenant,
        requests: &[TaskRequest],
        advise: bool,
    ) -> Result<Estimates, Problem> {
        check_batch(requests)?;
        let now = self.clock.now();
        let (mut tasks, mut plans) = (Vec::new(), Vec::new());
        let mut left: BTreeMap<Day, Vec<Amount>> = BTreeMap::new();
        for (i, request) in requests.iter().enumerate() {
            let planned = self.plan(request, now);
            let planned = planned.map_err(|problem| in_batch(problem, i))?;
            let day = self.day(self.ready_at(request, now)?);
            left.entry(day).or_default();
            // A task that may reuse an earlier result repeats nothing.
            let digest = (advise && !request.reuse).then(|| call_digest(&planned.call));
            tasks.push(estimate_of(&planned, day, digest));
            plans.push(planned);
        }
        for (day, left) in &mut left {
            *left = self.left(tenant, *day).await?;
        }
        let mut answer = estimates(tasks, &left);
        if advise {
            let requests = requests.to_vec();
            let found = self.advise(requests, plans, answer.estimates.clone(), now);
            answer.advice = Some(found.await?);
        }
        Ok(answer)
    }

    async fn left(&self, tenant: &Tenant, day: Day) -> Result<Vec<Amount>, Problem> {
        let owner = LedgerOwner::Tenant(tenant.clone());
        let balance = self.balance(&LedgerKey { owner, day }).await?;
        let account = match &self.rules.money.account_limits {
            Some(_) => {
                let owner = LedgerOwner::Account;
                Some(self.balance(&LedgerKey { owner, day }).await?)
            }
            None => None,
        };
        Ok(left_of_day(&balance, account.as_ref()))
    }

    /// Plans every alternative: for a large batch some thousand plans, so not between the calls of
    /// others.
    async fn advise(
        &self,
        requests: Vec<TaskRequest>,
        plans: Vec<Planned>,
        estimates: Vec<Estimate>,
        now: Timestamp,
    ) -> Result<Vec<Advice>, Problem> {
        let intake = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let off_peak = intake.rules.off_peak.is_some();
            let plan = |request: &TaskRequest| intake.plan(request, now).ok();
            let of_tasks = requests.iter().zip(&plans);
            let of_tasks =
                of_tasks.map(|(task, planned)| alternatives(task, planned, off_peak, plan));
            advice(&estimates, &of_tasks.collect::<Vec<_>>())
        });
        work.await.map_err(|error| {
            tracing::error!(error = %telemetry::chain(&error), "no advice was found");
            let detail = "the advice could not be worked out; ask for the estimate alone";
            Problem::new(ProblemCode::Unavailable, detail)
        })
    }
}

fn estimate_of(planned: &Planned, day: Day, call_digest: Option<String>) -> Estimate {
    Estimate {
        price: planned.price,
        model: planned.model.clone(),
        mode: planned.mode.clone(),
        duration: planned.duration.clone(),
        audio: planned.audio,
        day,
        call_digest,
    }
}
