//! `events tail`: task events as they happen, or from a time on.

use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::connect::Connected;
use super::output::Output;
use crate::cli::EventsCommand;
use crate::edge::clock::Clock;
use crate::edge::nats::read::ReadFrom;
use crate::edge::nats::record::Recorded;
use crate::edge::nats::topology;
use crate::model::event::EventKind;
use crate::model::ids::{TaskId, Tenant};
use crate::model::task::Task;

/// Events read at once, to catch up.
const PAGE: usize = 500;

/// What of the events is shown.
struct Shown {
    kind: Option<EventKind>,
    label: Option<(String, String)>,
    to: Option<Timestamp>,
}

/// Prints events until interrupted, or until `--to`.
///
/// # Errors
/// A flag that cannot be read, or that the log cannot be followed.
pub async fn run(
    link: &Connected,
    command: &EventsCommand,
    clock: &Clock,
    output: Output,
) -> anyhow::Result<bool> {
    let EventsCommand::Tail {
        tenant, task, from, ..
    } = command;
    let filter = filter(task.as_deref(), tenant.as_deref())?;
    let shown = Shown::of(command)?;
    let from = from.as_deref().map(time).transpose()?;
    let mut next = match from {
        Some(from) => first_since(link, &filter, from).await?,
        None => link.log.last_sequence().await? + 1,
    };
    let mut events = link.log.follow(vec![filter.clone()], next).await?;
    loop {
        let recorded = tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(true),
            () = passed(clock, shown.to) => return rest(link, &filter, next, &shown, output).await,
            recorded = events.next() => recorded.context("the log ended")??,
        };
        next = recorded.seq + 1;
        if !shown.print(&recorded, output) {
            return Ok(true);
        }
    }
}

/// Checks the flags.
///
/// # Errors
/// Names the flag.
pub fn check(command: &EventsCommand) -> anyhow::Result<()> {
    let EventsCommand::Tail {
        tenant, task, from, ..
    } = command;
    filter(task.as_deref(), tenant.as_deref())?;
    from.as_deref().map(time).transpose()?;
    Shown::of(command).map(|_| ())
}

fn filter(task: Option<&str>, tenant: Option<&str>) -> anyhow::Result<String> {
    Ok(match (task, tenant) {
        (Some(task), _) => topology::task_prefix(&TaskId::parse(task)?),
        (None, Some(tenant)) => topology::tenant_tasks(&Tenant::parse(tenant)?),
        (None, None) => topology::TASK_EVENTS.to_owned(),
    })
}

/// Ends when a time has passed.
async fn passed(clock: &Clock, to: Option<Timestamp>) {
    match to {
        Some(to) => {
            let left = to.duration_since(clock.now());
            clock
                .sleep(Duration::try_from(left).unwrap_or_default())
                .await;
        }
        None => std::future::pending().await,
    }
}

/// Prints what is left up to `--to`, once that time has passed.
async fn rest(
    link: &Connected,
    filter: &str,
    mut next: u64,
    shown: &Shown,
    output: Output,
) -> anyhow::Result<bool> {
    loop {
        let page = link
            .log
            .read(filter, ReadFrom::Sequence(next), PAGE)
            .await?;
        let Some(last) = page.last() else {
            return Ok(true);
        };
        next = last.seq + 1;
        if !page.iter().all(|recorded| shown.print(recorded, output)) {
            return Ok(true);
        }
    }
}

/// Finds where a time begins in the log, without a scan from its start.
async fn first_since(link: &Connected, filter: &str, from: Timestamp) -> anyhow::Result<u64> {
    let first = link.log.read(filter, ReadFrom::Time(from), 1).await?;
    match first.first() {
        Some(first) => Ok(first.seq),
        None => Ok(link.log.last_sequence().await? + 1),
    }
}

impl Shown {
    fn of(command: &EventsCommand) -> anyhow::Result<Self> {
        let EventsCommand::Tail {
            event, label, to, ..
        } = command;
        Ok(Self {
            kind: event.as_deref().map(kind).transpose()?,
            label: label.as_deref().map(pair).transpose()?,
            to: to.as_deref().map(time).transpose()?,
        })
    }

    /// Prints an event if it is shown. Returns whether later ones may be as well.
    fn print(&self, recorded: &Recorded, output: Output) -> bool {
        let Ok(event) = recorded.task_event() else {
            return true;
        };
        if self.to.is_some_and(|to| event.task.occurred_at > to) {
            return false;
        }
        if self.shows(recorded, &event.task) {
            print(recorded, &event.task, output);
        }
        true
    }

    fn shows(&self, recorded: &Recorded, task: &Task) -> bool {
        let kind = recorded.task_subject().map(|(_, kind)| kind);
        let label = self
            .label
            .as_ref()
            .is_none_or(|(key, value)| task.labels.get(key) == Some(value));
        label && (self.kind.is_none() || self.kind == kind)
    }
}

fn print(recorded: &Recorded, task: &Task, output: Output) {
    let kind = recorded
        .task_subject()
        .map_or("", |(_, kind)| kind.as_str());
    let data: Value = serde_json::from_slice(&recorded.payload).unwrap_or_default();
    let document =
        json!({ "sequence": recorded.seq, "id": recorded.ce_id(), "event": kind, "data": data });
    let at = task.occurred_at;
    output.result(
        &document,
        &format!("{at}  {:<11}  {}  {}", kind, task.task_id, task.model),
    );
}

fn kind(name: &str) -> anyhow::Result<EventKind> {
    let names = EventKind::ALL.map(EventKind::as_str).join(", ");
    EventKind::from_name(name).with_context(|| format!("--event {name:?}: use one of {names}"))
}

fn pair(label: &str) -> anyhow::Result<(String, String)> {
    let (key, value) = label
        .split_once('=')
        .with_context(|| format!("--label {label:?}: use key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn time(text: &str) -> anyhow::Result<Timestamp> {
    text.parse()
        .with_context(|| format!("{text:?} is no time; use 2026-11-21T08:00:00Z"))
}
