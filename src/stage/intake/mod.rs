//! Request to price, hold and `requested`: one atomic commit, and then the answer.
//!
//! HTTP, NATS and the command line all come through here. It leaves the limit to the money writer,
//! which alone knows the balance at the moment of acceptance.

mod compose;
mod timing;
mod estimate;
mod screen;
mod repeats;
mod refusals;
mod cancel;
mod retries;
mod rebuild;
mod reuse;
mod budget;
mod adjust;
mod service;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::decide::off_peak::OffPeak;
use crate::decide::pricing::{Generations, PriceBook};
use crate::decide::reuse::Rules as ReuseRules;
use crate::edge::clock::Clock;
use crate::edge::nats::log::{Committed, Log};
use crate::edge::nats::money::{AcceptError, Money, MoneyRules};
use crate::model::answer::{Accepted, AcceptedBatch, TaskPage};
use crate::model::ids::Tenant;
use crate::model::problem::Problem;
use crate::model::request::{Purpose, TaskRequest};
use crate::model::task::Task;
use crate::model::trace::Trace;
use crate::stage::views::{Filter, Views};
use crate::telemetry;

pub use self::retries::Retrier;
pub use self::screen::Screening;
pub use self::service::serve;

use self::cancel::{cancelled, is_cancelled};
use self::refusals::{
    away, check_batch, check_key, in_batch, no_task, parse_task_id, rebuilt_in_part, refused,
    unavailable,
};
use self::repeats::{accepted, accepted_batch, cause_of, count_of};

/// Tasks in one batch: with two ledgers that is 900 messages, and the broker's commit takes 1,000.
pub const BATCH_MAX: usize = 300;
const IDEMPOTENCY_KEY_MAX: usize = 128;
const PAGE_DEFAULT: usize = 50;

/// What intake decides by.
#[derive(Clone, Debug)]
pub struct IntakeRules {
    /// The price book in force.
    pub book: PriceBook,
    /// What prompts may say.
    pub screening: Screening,
    /// What the configured credentials can reach.
    pub generations: Generations,
    /// What a request without a purpose counts as.
    pub default_purpose: Purpose,
    /// The zone of the budget day.
    pub time_zone: TimeZone,
    /// When the budget day starts.
    pub day_starts: Time,
    /// When `off_peak` tasks are dispatched; without it they are refused.
    pub off_peak: Option<OffPeak>,
    /// The tenants that the configuration names: only their histories are rebuilt unasked.
    pub tenants: BTreeSet<Tenant>,
    /// What the money writer works by: a day without entries has its limits.
    pub money: MoneyRules,
    /// When an earlier result answers.
    pub reuse: ReuseRules,
    /// How long a caller waits for the commit.
    pub accept_timeout: Duration,
    /// How long task events are kept.
    pub retention: Duration,
}

/// The submit path.
#[derive(Clone, Debug)]
pub struct Intake {
    log: Log,
    money: Money,
    views: Views,
    clock: Clock,
    rules: std::sync::Arc<IntakeRules>,
    /// The trace of whoever asks now.
    trace: Option<Trace>,
}

impl Intake {
    /// Makes the submit path.
    #[must_use]
    pub fn new(log: Log, money: Money, views: Views, clock: Clock, rules: IntakeRules) -> Self {
        Self {
            log,
            money,
            views,
            clock,
            rules: std::sync::Arc::new(rules),
            trace: None,
        }
    }

    /// Returns the same submit path within a caller's trace, which the events of its tasks carry
    /// on. A header that is missing or no `traceparent` changes nothing: each task begins its own.
    #[must_use]
    pub fn traced(&self, traceparent: Option<&str>) -> Self {
        Self {
            trace: traceparent.and_then(Trace::parse),
            ..self.clone()
        }
    }

    /// Accepts one request, or refuses it. When it returns `Ok`, the request is stored.
    ///
    /// # Errors
    /// A [`Problem`] for the caller; with `unavailable` the outcome is unknown, and the same
    /// idempotency key finds out.
    pub async fn submit(
        &self,
        tenant: &Tenant,
        key: Option<&str>,
        request: &TaskRequest,
    ) -> Result<Accepted, Problem> {
        let now = self.clock.now();
        let key = key.map(check_key).transpose()?;
        let asked = std::slice::from_ref(request);
        if let Some(earlier) = self.repeated(tenant, key, asked).await?.first() {
            return Ok(accepted(earlier));
        }
        let mut new = self.new_task(tenant, key, request, now)?;
        self.moderate(tenant, request, &new).await?;
        self.see_results(asked).await?;
        self.reuse(&mut new).await?;
        match self
            .money
            .accept(vec![new.clone()], self.rules.accept_timeout)
            .await
        {
            Ok(_) => {}
            // A racing request with the same key was first.
            Err(AcceptError::Exists(_)) if key.is_some() => {
                let earlier = self.repeated(tenant, key, asked).await?;
                return Ok(accepted(earlier.first().ok_or_else(unavailable)?));
            }
            Err(error) => return Err(refused(error, std::slice::from_ref(&new))),
        }
        announce(&new.event.task);
        Ok(accepted(&new.event.task))
    }

    /// Accepts a batch in one commit, all or nothing.
    ///
    /// # Errors
    /// As [`Intake::submit`]; `too-large` above [`BATCH_MAX`] tasks.
    pub async fn submit_batch(
        &self,
        tenant: &Tenant,
        key: Option<&str>,
        requests: &[TaskRequest],
    ) -> Result<AcceptedBatch, Problem> {
        check_batch(requests)?;
        let now = self.clock.now();
        let key = key.map(check_key).transpose()?;
        let earlier = self.repeated(tenant, key, requests).await?;
        let first = earlier.len();
        if first == requests.len() {
            return Ok(accepted_batch(&earlier));
        }
        let missing = &requests[first..];
        let mut tasks = Vec::with_capacity(missing.len());
        for (i, request) in (first..).zip(missing) {
            let cause = key.map(|key| cause_of(key, i));
            let task = self.new_task(tenant, cause.as_deref(), request, now);
            let mut task = task.map_err(|problem| in_batch(problem, i))?;
            task.event.task.relay.submitted_with = count_of(requests);
            tasks.push(task);
        }
        self.moderate_batch(tenant, first, missing, &tasks).await?;
        self.see_results(missing).await?;
        for task in &mut tasks {
            self.reuse(task).await?;
        }
        match self
            .money
            .accept(tasks.clone(), self.rules.accept_timeout)
            .await
        {
            Ok(_) => tasks.iter().for_each(|task| announce(&task.event.task)),
            Err(AcceptError::Exists(one)) if key.is_some() => {
                let earlier = self.repeated(tenant, key, requests).await?;
                if earlier.len() == requests.len() {
                    return Ok(accepted_batch(&earlier));
                }
                // A later task without the first: a log that was lost has been rebuilt in part.
                let in_part = earlier.is_empty() && one != tasks[0].event.task.task_id;
                return Err(match in_part {
                    true => rebuilt_in_part(&one),
                    false => unavailable(),
                });
            }
            Err(error) => return Err(refused(error, &tasks)),
        }
        let tasks = tasks.iter().map(|new| &new.event.task);
        Ok(accepted_batch(earlier.iter().chain(tasks)))
    }

    /// Reads a task of that tenant, or of anybody for an operator.
    ///
    /// # Errors
    /// `not-found` also for another tenant's task.
    pub async fn task(&self, tenant: Option<&Tenant>, task_id: &str) -> Result<Task, Problem> {
        let task_id = parse_task_id(tenant, task_id)?;
        let loaded = self
            .log
            .load(&task_id)
            .await
            .map_err(|error| away(&error))?;
        loaded
            .map(|loaded| loaded.task)
            .ok_or_else(|| no_task(task_id.as_str()))
    }

    /// Lists a tenant's tasks, or everybody's, newest first, a page at a time.
    ///
    /// # Errors
    /// `unavailable` while the log cannot be read.
    pub async fn list(
        &self,
        tenant: Option<&Tenant>,
        filter: &Filter,
    ) -> Result<TaskPage, Problem> {
        let limit = filter.limit.unwrap_or(PAGE_DEFAULT);
        let (places, next) = self.views.read().page(tenant, filter, limit);
        let mut tasks = Vec::with_capacity(places.len());
        for seq in places {
            // An event may expire between the index and the read; the page is then one task
            // shorter.
            if let Some(recorded) = self.log.get(seq).await.map_err(|error| away(&error))? {
                tasks.push(recorded.task_event().map_err(|error| away(&error))?.task);
            }
        }
        Ok(TaskPage {
            tasks,
            next_cursor: next.map(|place| place.to_string()),
        })
    }

    /// Cancels a task that has not been dispatched; its hold is voided by the accountant.
    ///
    /// # Errors
    /// `not-cancellable` once Kling may have the task: Kling has no cancel.
    pub async fn cancel(&self, tenant: Option<&Tenant>, task_id: &str) -> Result<Task, Problem> {
        let task_id = parse_task_id(tenant, task_id)?;
        loop {
            let loaded = self
                .log
                .load(&task_id)
                .await
                .map_err(|error| away(&error))?;
            let loaded = loaded.ok_or_else(|| no_task(task_id.as_str()))?;
            if is_cancelled(&loaded.task) {
                return Ok(loaded.task);
            }
            let event = cancelled(&loaded.task, self.clock.now())?;
            let after = event.body.task.clone();
            match self
                .log
                .commit(&loaded, event)
                .await
                .map_err(|error| away(&error))?
            {
                Committed::Stored { .. } => {
                    ended(&after);
                    return Ok(after);
                }
                Committed::MovedOn => {}
            }
        }
    }
}

fn announce(task: &Task) {
    metrics::counter!(telemetry::TASKS_ACCEPTED, "product" => task.product.as_str()).increment(1);
    tracing::info!(task.id = %task.task_id, tenant.id = %task.tenant, product = %task.product,
        model = task.model, held = %task.estimate, "accepted");
}

/// Tells of a task that ended here, as the other stages do.
fn ended(task: &Task) {
    let (status, model) = (task.status.as_str(), task.model.clone());
    metrics::counter!(telemetry::TASKS_ENDED, "status" => status, "model" => model).increment(1);
    tracing::info!(task.id = %task.task_id, tenant.id = %task.tenant, "cancelled");
}
