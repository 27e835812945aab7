//! `failed` to a new `requested`: a failed task is tried again where the policy allows it.
//!
//! The retry is a task like any other: its own hold within the day's budget, one commit. Its id is
//! derived from the task before it, so a redelivered failure finds its retry and makes no second.

use jiff::{SignedDuration, Timestamp};

use super::{Intake, announce};
use crate::decide::again::{RetryPolicy, retry_id, wait_before_retry};
use crate::decide::pricing::price_of;
use crate::edge::nats::log::new_commit_id;
use crate::edge::nats::money::{AcceptError, NewTask};
use crate::model::event::TaskEvent;
use crate::model::ids::TaskId;
use crate::model::request::KlingCall;
use crate::model::task::{RelayState, Status, Task};
use crate::stage::runner::{Handler, Message, Outcome};
use crate::telemetry;

/// Tries failed tasks again.
#[derive(Clone, Debug)]
pub struct Retrier {
    intake: Intake,
    policy: RetryPolicy,
}

impl Retrier {
    /// Makes the stage over the submit path.
    #[must_use]
    pub fn new(intake: Intake, policy: RetryPolicy) -> Self {
        Self { intake, policy }
    }

    async fn again(&self, failed: &Task, not_before: Timestamp) -> Outcome {
        let task_id = &failed.task_id;
        let call = match self.intake.log.requested(task_id).await {
            Ok(Some((requested, _))) => requested.call,
            Ok(None) => None,
            Err(error) => return error.into(),
        };
        let Some(call) = call else {
            return Outcome::SetAside(format!(
                "task {task_id} is not tried again: its request has expired from the log"
            ));
        };
        let new = match self.intake.retry(failed, call, not_before) {
            Ok(new) => new,
            Err(why) => return given_up(task_id, "price", &why),
        };
        let retry = new.event.task.clone();
        let timeout = self.intake.rules.accept_timeout;
        match self.intake.money.accept(vec![new], timeout).await {
            Ok(_) => {
                announce(&retry);
                tracing::info!(task.id = %retry.task_id, retry_of = %task_id,
                    retry = retry.relay.retries, "a failed task is tried again");
                metrics::counter!(telemetry::RETRIES, "result" => "accepted").increment(1);
                Outcome::Done
            }
            Err(AcceptError::Exists(_)) => Outcome::Done,
            Err(
                error @ (AcceptError::Unavailable | AcceptError::Full | AcceptError::Unreadable(_)),
            ) => Outcome::Later(error.to_string()),
            Err(error @ (AcceptError::BudgetExceeded { .. } | AcceptError::NoLimit(_))) => {
                given_up(task_id, "budget", &error.to_string())
            }
            Err(error @ AcceptError::TooLarge(_)) => Outcome::SetAside(error.to_string()),
        }
    }
}

/// A retry that cannot be had is no fault of the message: the task has failed, and says so.
fn given_up(task_id: &TaskId, result: &'static str, why: &str) -> Outcome {
    tracing::warn!(task.id = %task_id, why, "a failed task is not tried again");
    metrics::counter!(telemetry::RETRIES, "result" => result).increment(1);
    Outcome::Done
}

impl Handler for Retrier {
    const STAGE: &'static str = "retrier";

    async fn handle(&self, message: &Message) -> Outcome {
        let failed = match message.recorded.task_event() {
            Ok(event) => event.task,
            Err(error) => return error.into(),
        };
        match wait_before_retry(&failed, &self.policy, self.intake.clock.now()) {
            Some(wait) => {
                let wait = SignedDuration::try_from(wait).unwrap_or_default();
                let not_before = failed.occurred_at.saturating_add(wait);
                self.again(&failed, not_before.unwrap_or(failed.occurred_at))
                    .await
            }
            None => Outcome::Done,
        }
    }
}

impl Intake {
    /// Makes the task that tries a failed one again, at today's price.
    fn retry(
        &self,
        failed: &Task,
        call: KlingCall,
        not_before: Timestamp,
    ) -> Result<NewTask, String> {
        let now = self.clock.now();
        let ready_at = self.first_moment(failed.relay.off_peak, not_before.max(now));
        let day = self.day(ready_at);
        let priced = price_of(&call, &self.rules.book, day.0).map_err(|refusal| refusal.message)?;
        let keep = SignedDuration::try_from(self.rules.retention).unwrap_or_default();
        let mut relay = RelayState {
            requested_at: now,
            requested_seq: 0,
            expires_at: now.saturating_add(keep).unwrap_or(now),
            day,
            account_held: false,
            price_book: self.rules.book.name().to_owned(),
            slots: priced.slots,
            not_before: Some(ready_at).filter(|at| *at > now),
            attempts: 0,
            claim: None,
            may_exist: false,
            dispatching: 0,
            lookups: 0,
            changed_at: now,
            stalled: 0,
            stalled_at: None,
            retries: failed.relay.retries + 1,
            submitted_with: 1,
            submitted_at: None,
            outputs: 0,
            stored_at: None,
            settled_at: None,
            ..failed.relay.clone()
        };
        // Held in full: a result that has gone does not answer it a second time.
        relay.reuse.price = None;
        let task = Task {
            task_id: retry_id(failed),
            kling_task_id: None,
            status: Status::Requested,
            occurred_at: now,
            retry_of: Some(failed.task_id.clone()),
            reused_from: None,
            saved: None,
            estimate: priced.price,
            error: None,
            billing: None,
            assets: Vec::new(),
            held: None,
            deduction: Vec::new(),
            overrun: Vec::new(),
            relay,
            ..failed.clone()
        };
        Ok(NewTask {
            event: TaskEvent {
                task,
                call: Some(call),
                outputs: Vec::new(),
            },
            hold: priced.price,
            commit_id: new_commit_id(),
            traceparent: None,
        })
    }
}
