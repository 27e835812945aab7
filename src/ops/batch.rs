//! `batch`: a file of tasks, estimated first, split into commits of the size that the broker takes.

use anyhow::Context;

use super::connect::Connected;
use super::output::Output;
use super::{estimate, requests};
use crate::cli::BatchArgs;
use crate::decide::admission::OverBudget;
use crate::decide::estimate::over;
use crate::edge::nats::topology;
use crate::model::amount::sum_by_unit;
use crate::model::answer::AcceptedBatch;
use crate::model::ids::{TaskId, Tenant};
use crate::model::problem::{Problem, ProblemCode};
use crate::model::request::TaskRequest;

/// Tasks in one commit.
const COMMIT_MAX: usize = 300;
/// Bytes of one request to the service; the broker takes 1 MiB.
const REQUEST_BYTES_MAX: usize = 900_000;

/// Prices the file, and submits it if the budget allows all of it.
///
/// # Errors
/// The service's refusal, with what is stored so far when a later part was refused.
pub async fn run(link: &Connected, args: &BatchArgs, output: Output) -> anyhow::Result<bool> {
    let tenant = Tenant::parse(&args.tenant.tenant)?;
    let tasks = requests::from_file_at(&args.file, args.off_peak)?;
    let parts = split(&tasks)?;
    let estimates = estimate::ask(link, &tenant, &parts, false).await?;
    if args.estimate_only {
        estimate::print(&estimates, output);
        return Ok(estimates.allowed);
    }
    output.say(&estimate::figures(&estimates));
    // The budget has paid for a repeat already, or for its first parts; the service tells them.
    if let Some(over) = over(&estimates)
        && !is_repeat(link, &tenant, args).await?
    {
        refuse(over, output);
        return Ok(false);
    }
    if parts.len() > 1 {
        output.say(&format!(
            "{} tasks go in {} commits of at most {COMMIT_MAX}; each is all or nothing",
            tasks.len(),
            parts.len()
        ));
    }
    let mut submitted = AcceptedBatch::default();
    for (i, part) in parts.iter().enumerate() {
        let key = args.idempotency_key.as_deref().map(|key| key_of(key, i));
        let subject = topology::submit_subject(&tenant);
        let answer: anyhow::Result<AcceptedBatch> =
            link.ask(subject, body(part, false), key.as_deref()).await;
        let answer = answer.map_err(|error| {
            error.context(format!(
                "{} of {} tasks are submitted; then",
                submitted.task_ids.len(),
                tasks.len()
            ))
        })?;
        submitted.task_ids.extend(answer.task_ids);
        submitted.estimate = sum_by_unit(submitted.estimate.into_iter().chain(answer.estimate));
    }
    let ids: Vec<&str> = submitted.task_ids.iter().map(TaskId::as_str).collect();
    output.result(&submitted, &ids.join("\n"));
    Ok(true)
}

/// The idempotency key of a part.
fn key_of(key: &str, part: usize) -> String {
    format!("{key}.{part}")
}

async fn is_repeat(link: &Connected, tenant: &Tenant, args: &BatchArgs) -> anyhow::Result<bool> {
    let Some(key) = args.idempotency_key.as_deref() else {
        return Ok(false);
    };
    let first = TaskId::with_key(tenant, &key_of(key, 0));
    let earlier = link.log.load(&first).await.context(
        "the budget does not hold the file, and it is not known whether it was submitted with this \
         key before; try again with the same key",
    )?;
    Ok(earlier.is_some())
}

/// Says that the budget does not allow it: the sentence on stderr for a person, the same problem
/// document as over HTTP on stdout for a program.
fn refuse(over: OverBudget, output: Output) {
    let mut problem = Problem::new(ProblemCode::BudgetExceeded, over.message);
    (problem.needed, problem.remaining) = (over.needed, over.remaining);
    problem.fits = Some(over.fits);
    if output.is_json() {
        output.result(&problem, "");
    } else {
        output.error(&format!("{} Nothing was submitted.", problem.detail));
    }
}

/// Makes a request body of a part of a file.
#[must_use]
pub fn body(part: &str, advise: bool) -> Vec<u8> {
    let advise = if advise { ",\"advise\":true" } else { "" };
    format!("{{\"tasks\":{part}{advise}}}").into_bytes()
}

/// Cuts a file into lists of requests as JSON: by number of tasks and by bytes.
///
/// # Errors
/// Names the task that is too large by itself.
pub fn split(tasks: &[TaskRequest]) -> anyhow::Result<Vec<String>> {
    let mut parts = Vec::new();
    let mut part: Vec<String> = Vec::new();
    let mut bytes = 0;
    for (i, task) in tasks.iter().enumerate() {
        let text = serde_json::to_string(task)?;
        if text.len() > REQUEST_BYTES_MAX {
            anyhow::bail!("request {} is larger than 0.9 MB; send media by URL", i + 1);
        }
        if part.len() == COMMIT_MAX || bytes + text.len() > REQUEST_BYTES_MAX {
            parts.push(format!("[{}]", part.join(",")));
            part.clear();
            bytes = 0;
        }
        bytes += text.len() + 1;
        part.push(text);
    }
    parts.push(format!("[{}]", part.join(",")));
    Ok(parts)
}
