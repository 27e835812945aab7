//! `submit`: one task, through the running service.

use super::connect::Connected;
use super::output::Output;
use super::{requests, tasks};
use crate::cli::SubmitArgs;
use crate::edge::nats::topology;
use crate::model::answer::Accepted;
use crate::model::ids::Tenant;
use crate::model::request::TaskRequest;

/// Submits a request; with `--wait` follows it to its end. Returns whether all went well.
///
/// # Errors
/// The service's refusal, or that there is none.
pub async fn run(link: &Connected, args: &SubmitArgs, output: Output) -> anyhow::Result<bool> {
    let request: TaskRequest = requests::from_args(&args.request)?;
    let tenant = Tenant::parse(&args.tenant.tenant)?;
    let body = serde_json::to_vec(&request)?;
    let subject = topology::submit_subject(&tenant);
    let accepted: Accepted = link
        .ask(subject, body, args.idempotency_key.as_deref())
        .await?;
    let money = match &accepted.reused_from {
        Some(source) => format!("answered by {source}, holds nothing"),
        None => format!("holds {}", accepted.estimate),
    };
    if !args.wait {
        let text = format!(
            "{}  {}  {money}",
            accepted.task_id,
            accepted.status.as_str(),
        );
        output.result(&accepted, &text);
        return Ok(true);
    }
    output.say(&format!("{}  {money}", accepted.task_id));
    tasks::watch(link, &accepted.task_id, output).await
}
