//! The prompt policy on the way in: local rules for whatever is planned, the hook for what would be
//! accepted.
//!
//! Estimates are held against the local rules only, so that they say what a submission would; the
//! hook is asked once a task, after everything that costs nothing.

use super::Intake;
use super::refusals::{in_batch, unfit};
use crate::decide::prompt::{Policy, Refused, Screened};
use crate::edge::moderation::{Moderator, Question, Refusal};
use crate::edge::nats::money::NewTask;
use crate::model::ids::Tenant;
use crate::model::problem::{Problem, ProblemCode};
use crate::model::request::TaskRequest;
use crate::telemetry;

/// When a caller may come again after the hook gave no answer, seconds.
const RETRY_AFTER_SECONDS: u64 = 5;

/// Who judges prompts.
#[derive(Clone, Debug, Default)]
pub struct Screening {
    /// The local rules.
    pub policy: Policy,
    /// The hook, if there is one.
    pub moderator: Option<Moderator>,
}

impl Intake {
    /// Holds a request against the local rules and returns it as it is to be sent.
    pub(super) fn screen(&self, request: &TaskRequest) -> Result<TaskRequest, Problem> {
        let screened = self.rules.screening.policy.screen(request);
        let screened = screened.map_err(|refused| match refused {
            Refused::ByRule {
                field,
                rule,
                message,
            } => by_rule(&rule, &rule, message).field(field),
            Refused::Invalid(refusal) => unfit(refusal),
        })?;
        for detector in &screened.redacted {
            metrics::counter!(telemetry::PROMPTS_REDACTED, "rule" => detector.as_str())
                .increment(1);
        }
        Ok(screened.request)
    }

    /// Asks the hook about one task.
    pub(super) async fn moderate(
        &self,
        tenant: &Tenant,
        request: &TaskRequest,
        task: &NewTask,
    ) -> Result<(), Problem> {
        let (requests, tasks) = (std::slice::from_ref(request), std::slice::from_ref(task));
        match self.judge(tenant, requests, tasks).await? {
            Some(refusal) => Err(by_hook(&refusal)),
            None => Ok(()),
        }
    }

    /// Asks the hook about the tasks of a batch from the `first` on.
    pub(super) async fn moderate_batch(
        &self,
        tenant: &Tenant,
        first: usize,
        requests: &[TaskRequest],
        tasks: &[NewTask],
    ) -> Result<(), Problem> {
        match self.judge(tenant, requests, tasks).await? {
            Some(refusal) => Err(in_batch(by_hook(&refusal), first + refusal.place)),
            None => Ok(()),
        }
    }

    async fn judge(
        &self,
        tenant: &Tenant,
        requests: &[TaskRequest],
        tasks: &[NewTask],
    ) -> Result<Option<Refusal>, Problem> {
        let Some(moderator) = &self.rules.screening.moderator else {
            return Ok(None);
        };
        let screened: Result<Vec<Screened>, Refused> = requests
            .iter()
            .map(|request| self.rules.screening.policy.screen(request))
            .collect();
        // They passed when they were planned.
        let screened = screened.map_err(|_| no_answer())?;
        let with_task = screened.iter().zip(tasks);
        let questions: Vec<Question<'_>> = with_task
            .map(|(screened, new)| Question {
                tenant: tenant.as_str(),
                product: new.event.task.product.as_str(),
                model: &new.event.task.model,
                prompt: screened.request.prompt.as_deref(),
                negative_prompt: screened.request.negative_prompt.as_deref(),
                texts: &screened.texts,
            })
            .collect();
        moderator.judge(&questions).await.map_err(|error| {
            tracing::error!(tenant.id = %tenant, error = %telemetry::chain(&error),
                "the moderation service gave no answer: nothing is accepted without one");
            no_answer()
        })
    }
}

fn by_hook(refusal: &Refusal) -> Problem {
    let rule = &refusal.rule;
    let message = format!(
        "the moderation service refuses what is asked for (rule {rule}); write it differently"
    );
    by_rule("moderation", rule, message).field("prompt")
}

fn by_rule(label: &str, rule: &str, message: String) -> Problem {
    metrics::counter!(telemetry::PROMPTS_REFUSED, "rule" => label.to_owned()).increment(1);
    tracing::info!(rule, "the prompt policy refused a request");
    Problem::new(ProblemCode::PromptRefused, message)
}

fn no_answer() -> Problem {
    let detail = "the moderation service gave no answer, and nothing is accepted without one: \
                  nothing was stored and nothing spent; try again shortly";
    Problem::new(ProblemCode::Unavailable, detail).retry_after(RETRY_AFTER_SECONDS)
}
