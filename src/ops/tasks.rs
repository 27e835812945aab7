//! `tasks`: list, show, watch and cancel.

use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::connect::Connected;
use super::output::{Output, table};
use crate::cli::TasksCommand;
use crate::edge::nats::record::Recorded;
use crate::edge::nats::topology;
use crate::model::answer::TaskPage;
use crate::model::event::TaskEvent;
use crate::model::ids::{TaskId, Tenant};
use crate::model::task::{Status, Task};

/// Runs one of the sub-commands. Returns whether all went well.
///
/// # Errors
/// What went wrong, and what to do.
pub async fn run(link: &Connected, command: &TasksCommand, output: Output) -> anyhow::Result<bool> {
    match command {
        TasksCommand::List {
            tenant,
            status,
            label,
            limit,
            cursor,
        } => {
            let tenant = Tenant::parse(&tenant.tenant)?;
            let label = label.as_ref().map(|label| label.replacen('=', ":", 1));
            let limit = limit.to_string();
            let cursor = cursor.map(|cursor| cursor.to_string());
            let query: Map<String, Value> = [
                ("status", status.as_ref()),
                ("label", label.as_ref()),
                ("limit", Some(&limit)),
                ("cursor", cursor.as_ref()),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))))
            .collect();
            let body = serde_json::to_vec(&query)?;
            let page: TaskPage = link
                .ask(topology::list_subject(&tenant), body, None)
                .await?;
            output.result(&page, &listed(&page.tasks));
            Ok(true)
        }
        TasksCommand::Show { task } => show(link, &TaskId::parse(task)?, output).await,
        TasksCommand::Watch { task } => watch(link, &TaskId::parse(task)?, output).await,
        TasksCommand::Cancel { task } => {
            let task = TaskId::parse(task)?;
            let subject = topology::cancel_subject(&task.tenant());
            let cancelled: Task = link.ask(subject, task.as_str().into(), None).await?;
            output.result(
                &cancelled,
                &format!("{task}  cancelled; its hold is given back"),
            );
            Ok(true)
        }
    }
}

/// Checks the filters of a list.
///
/// # Errors
/// Names the flag.
pub fn check(status: Option<&str>, label: Option<&str>) -> anyhow::Result<()> {
    if let Some(status) = status.filter(|status| Status::from_name(status).is_none()) {
        let names = Status::ALL.map(Status::as_str).join(", ");
        bail!("--status {status:?}: use one of {names}");
    }
    if let Some(label) = label.filter(|label| !label.contains('=')) {
        bail!("--label {label:?}: use key=value");
    }
    Ok(())
}

fn listed(tasks: &[Task]) -> String {
    if tasks.is_empty() {
        return "no tasks".to_owned();
    }
    let heading = [
        "TASK",
        "STATUS",
        "PRODUCT",
        "MODEL",
        "HELD OR TAKEN",
        "SINCE",
        "REUSED FROM",
    ];
    // Most lists have nothing to say there.
    let reused = tasks.iter().any(|task| task.reused_from.is_some());
    let columns = heading.len() - usize::from(!reused);
    let mut rows = vec![heading.map(str::to_owned)[..columns].to_vec()];
    rows.extend(tasks.iter().map(|task| {
        let reused_from = task.reused_from.as_ref();
        let row = [
            task.task_id.to_string(),
            task.status.as_str().to_owned(),
            task.product.to_string(),
            task.model.clone(),
            money(task),
            task.relay.requested_at.to_string(),
            reused_from.map(ToString::to_string).unwrap_or_default(),
        ];
        row[..columns].to_vec()
    }));
    table(&rows)
}

fn money(task: &Task) -> String {
    if task.relay.settled_at.is_none() {
        return format!("holds {}", task.estimate);
    }
    let taken: Vec<String> = task.deduction.iter().map(ToString::to_string).collect();
    let taken = taken.join(" + ");
    match &task.saved {
        Some(saved) => format!("{taken} (saved {saved})"),
        None => taken,
    }
}

async fn show(link: &Connected, task_id: &TaskId, output: Output) -> anyhow::Result<bool> {
    let history = link.log.history(task_id).await?;
    let Some(last) = history.last() else {
        bail!("there is no task {task_id}; check the id")
    };
    let task = last.task_event()?.task;
    let events: Vec<Value> = history.iter().filter_map(event).collect();
    let mut lines = vec![
        format!(
            "{task_id}  {}  {} {}",
            task.status.as_str(),
            task.product,
            task.model
        ),
        format!("  {}", money(&task)),
    ];
    if let Some(source) = &task.reused_from {
        lines.push(format!("  answered by the result of {source}"));
    }
    if let Some(error) = &task.error {
        lines.push(format!("  {}: {}", error.code, error.message));
    }
    for asset in &task.assets {
        lines.push(format!(
            "  {}  {} bytes  sha256 {}",
            asset.uri, asset.bytes, asset.sha256
        ));
    }
    for recorded in &history {
        if let (Some((_, kind)), Ok(event)) = (recorded.task_subject(), recorded.task_event()) {
            lines.push(format!("  {}  {}", event.task.occurred_at, kind.as_str()));
        }
    }
    output.result(
        &json!({ "task": task, "events": events }),
        &lines.join("\n"),
    );
    Ok(true)
}

fn event(recorded: &Recorded) -> Option<Value> {
    let (_, kind) = recorded.task_subject()?;
    let occurred_at = recorded.task_event().ok()?.task.occurred_at;
    let (id, sequence) = (recorded.ce_id(), recorded.seq);
    let kind = kind.as_str();
    Some(json!({ "event": kind, "id": id, "sequence": sequence, "at": occurred_at }))
}

/// Follows a task until nothing is left to do. Returns whether it succeeded.
///
/// # Errors
/// That there is no such task, or that the log cannot be followed.
pub async fn watch(link: &Connected, task_id: &TaskId, output: Output) -> anyhow::Result<bool> {
    let loaded = link.log.load(task_id).await?;
    let loaded = loaded.with_context(|| format!("there is no task {task_id}; check the id"))?;
    let bar = progress(output);
    let from = loaded.requested_seq();
    let mut events = link
        .log
        .follow(vec![topology::task_prefix(task_id)], from)
        .await?;
    let mut task = loaded.task;
    while !task.is_finished() {
        let recorded = events.next().await.context("the log ended")??;
        let Some((_, kind)) = recorded.task_subject() else {
            continue;
        };
        let TaskEvent { task: after, .. } = recorded.task_event()?;
        bar.set_position(u64::from(after.status.rank()));
        bar.set_message(kind.as_str());
        if !output.is_lively() {
            output.say(&format!("{}  {}", after.occurred_at, kind.as_str()));
        }
        task = after;
    }
    bar.finish_and_clear();
    let mut text = format!("{task_id}  {}  {}", task.status.as_str(), money(&task));
    if let Some(error) = &task.error {
        text.push_str(&format!("\n  {}: {}", error.code, error.message));
    }
    for asset in &task.assets {
        text.push_str(&format!("\n  {}  {} bytes", asset.uri, asset.bytes));
    }
    output.result(&task, &text);
    Ok(task.status == Status::Succeeded)
}

fn progress(output: Output) -> ProgressBar {
    if !output.is_lively() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} [{bar:24}] {msg}  {elapsed}");
    let bar = ProgressBar::new(u64::from(Status::Succeeded.rank()));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
