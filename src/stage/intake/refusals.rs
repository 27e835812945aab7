//! Refusals in words for the caller: what happened, and what to do next.

use super::{BATCH_MAX, IDEMPOTENCY_KEY_MAX};
use crate::decide::admission::over_budget;
use crate::decide::pricing::{Refusal, RefusalCode};
use crate::edge::nats::log::LogError;
use crate::edge::nats::money::{AcceptError, NewTask};
use crate::model::amount::Amount;
use crate::model::ids::{TaskId, Tenant};
use crate::model::problem::{Problem, ProblemCode};
use crate::model::request::TaskRequest;
use crate::telemetry;

/// Before a caller comes back to a ledger that a person must mend.
const UNREADABLE_SECONDS: u64 = 60;

/// Says why the money writer did not take it.
pub(super) fn refused(error: AcceptError, tasks: &[NewTask]) -> Problem {
    match error {
        AcceptError::BudgetExceeded {
            needed,
            remaining,
            fits,
            ..
        } => {
            let prices: Vec<Amount> = tasks.iter().map(|task| task.hold).collect();
            let over = over_budget(&prices, needed, remaining, fits);
            let mut problem = Problem::new(ProblemCode::BudgetExceeded, over.message);
            (problem.needed, problem.remaining) = (over.needed, over.remaining);
            problem.fits = Some(over.fits);
            problem
        }
        AcceptError::NoLimit(unit) => {
            let detail = format!(
                "there is no daily limit in {unit}, and nothing is spent without one; \
                 set budget.daily_limit for it"
            );
            Problem::new(ProblemCode::BudgetExceeded, detail)
        }
        AcceptError::TooLarge(what) => Problem::new(ProblemCode::TooLarge, what),
        AcceptError::Exists(_) | AcceptError::Unavailable => unavailable(),
        AcceptError::Unreadable(key) => {
            let detail = format!(
                "the ledger of {} cannot be read, and nothing is accepted on it; the service's log \
                 says why. Repeat the request with the same Idempotency-Key when it is mended",
                key.day
            );
            Problem::new(ProblemCode::Unavailable, detail).retry_after(UNREADABLE_SECONDS)
        }
        AcceptError::Full => {
            tracing::error!(
                "the KLING stream is full: nothing can be accepted; \
                raise nats.log_max_bytes or free space"
            );
            unavailable()
        }
    }
}

/// Says what is wrong with the request itself.
pub(super) fn unfit(refusal: Refusal) -> Problem {
    let code = match refusal.code {
        RefusalCode::InvalidRequest => ProblemCode::InvalidRequest,
        RefusalCode::UnknownPrice => ProblemCode::UnknownPrice,
    };
    let problem = Problem::new(code, refusal.message);
    match refusal.field {
        Some(field) => problem.field(field),
        None => problem,
    }
}

pub(super) fn conflict(earlier: &TaskId) -> Problem {
    let detail = format!(
        "this Idempotency-Key already made task {earlier} from a different body; use another \
         key, or send the same body"
    );
    Problem::new(ProblemCode::IdempotencyConflict, detail).field("Idempotency-Key")
}

/// A batch of which the log was lost, and Kling listed a part only.
pub(super) fn rebuilt_in_part(one: &TaskId) -> Problem {
    let detail = format!(
        "the log was lost, and of the batch of this Idempotency-Key only tasks that Kling has were \
         rebuilt; look at GET /v1/tasks (and at {one}), and send what is missing there with \
         another key"
    );
    Problem::new(ProblemCode::IdempotencyConflict, detail).field("Idempotency-Key")
}

pub(super) fn check_key(key: &str) -> Result<&str, Problem> {
    let ok = (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    ok.then_some(key).ok_or_else(|| {
        let detail = "the Idempotency-Key must be 1 to 128 printable ASCII characters";
        Problem::new(ProblemCode::InvalidRequest, detail).field("Idempotency-Key")
    })
}

pub(super) fn check_batch(requests: &[TaskRequest]) -> Result<(), Problem> {
    if requests.is_empty() {
        let detail = "\"tasks\" is empty; send at least one request";
        return Err(Problem::new(ProblemCode::InvalidRequest, detail).field("tasks"));
    }
    if requests.len() > BATCH_MAX {
        let detail = format!(
            "a batch has at most {BATCH_MAX} tasks and this one has {}; split it",
            requests.len()
        );
        return Err(Problem::new(ProblemCode::TooLarge, detail).field("tasks"));
    }
    Ok(())
}

pub(super) fn in_batch(mut problem: Problem, i: usize) -> Problem {
    let field = problem.field.take().unwrap_or_default();
    problem.field = Some(
        format!("tasks[{i}].{field}")
            .trim_end_matches('.')
            .to_owned(),
    );
    problem
}

pub(super) fn parse_task_id(tenant: Option<&Tenant>, task_id: &str) -> Result<TaskId, Problem> {
    let parsed = TaskId::parse(task_id).map_err(|_| no_task(task_id))?;
    // Another tenant's task is not told from none.
    if tenant.is_some_and(|tenant| *tenant != parsed.tenant()) {
        return Err(no_task(task_id));
    }
    Ok(parsed)
}

pub(super) fn no_task(task_id: &str) -> Problem {
    let shown: String = task_id.chars().take(64).collect();
    Problem::new(
        ProblemCode::NotFound,
        format!("there is no task {shown:?}; check the id"),
    )
}

pub(super) fn unavailable() -> Problem {
    let detail = "it is not known whether the request was accepted; repeat it with the same \
                  Idempotency-Key (sent without one, look at GET /v1/tasks before you \
                  send it again)";
    Problem::new(ProblemCode::Unavailable, detail).retry_after(2)
}

/// Answers a caller when the broker cannot: the reason goes to the log, not to the caller.
pub(super) fn away(error: &LogError) -> Problem {
    tracing::warn!(error = %telemetry::chain(error), "the broker did not answer a caller");
    let detail = "the log cannot be reached now; try again shortly";
    Problem::new(ProblemCode::Unavailable, detail).retry_after(2)
}
