//! What requests would cost, whether their days allow it, and what would be cheaper. Nothing is
//! stored.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Intake;
use super::refusals::{check_batch, in_batch};
use crate::decide::admission::left_of_day;
use crate::decide::advice::{advice, alternatives};
use crate::decide::estimate::estimates;
use crate::decide::pricing::Planned;
use crate::decide::reuse::reuse_key;
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
        self.see_results(requests).await?;
        let (mut tasks, mut plans) = (Vec::new(), Vec::new());
        let mut left: BTreeMap<Day, Vec<Amount>> = BTreeMap::new();
        for (i, request) in requests.iter().enumerate() {
            let at = |problem| in_batch(problem, i);
            let screened = self.screen(request).map_err(at)?;
            let planned = self.plan_screened(request, &screened, now).map_err(at)?;
            let day = self.day(self.ready_at(request, now)?);
            left.entry(day).or_default();
            let mut task = estimate_of(&planned, day);
            task.price = self.hold_of(tenant, request, &planned).await?;
            // A task that may reuse an earlier result repeats nothing.
            let repeats = (advise && !request.reuse).then(|| reuse_key(tenant, &planned.call));
            task.reuse_key = repeats;
            tasks.push(task);
            plans.push((screened, planned));
        }
        for (day, left) in &mut left {
            *left = self.left(tenant, *day).await?;
        }
        let mut answer = estimates(tasks, &left);
        if advise {
            let found = self.advise(plans, answer.estimates.clone(), now).await?;
            answer.advice = Some(found);
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
        plans: Vec<(TaskRequest, Planned)>,
        estimates: Vec<Estimate>,
        now: Timestamp,
    ) -> Result<Vec<Advice>, Problem> {
        let intake = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let off_peak = intake.rules.off_peak.is_some();
            let plan = |request: &TaskRequest| intake.plan_screened(request, request, now).ok();
            let of_task = |(estimate, (request, planned)): (&Estimate, &(TaskRequest, Planned))| {
                // What an earlier result answers can be had for no less.
                match estimate.price == planned.price {
                    true => alternatives(request, planned, off_peak, plan),
                    false => Vec::new(),
                }
            };
            let of_tasks = estimates.iter().zip(&plans).map(of_task);
            advice(&estimates, &of_tasks.collect::<Vec<_>>())
        });
        work.await.map_err(|error| {
            tracing::error!(error = %telemetry::chain(&error), "no advice was found");
            let detail = "the advice could not be worked out; ask for the estimate alone";
            Problem::new(ProblemCode::Unavailable, detail)
        })
    }
}

fn estimate_of(planned: &Planned, day: Day) -> Estimate {
    Estimate {
        price: planned.price,
        model: planned.model.clone(),
        mode: planned.mode.clone(),
        duration: planned.duration.clone(),
        audio: planned.audio,
        day,
        reuse_key: None,
    }
}
