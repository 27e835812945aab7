//! `events tail`: task events as they happen, or from a time on.

use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::connect::Connected;
use super::output::Output;
use super::selection::{Chosen, PAGE};
use crate::cli::{EventsCommand, interruption};
use crate::edge::clock::Clock;
use crate::edge::nats::read::ReadFrom;
use crate::edge::nats::record::Recorded;

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
    let EventsCommand::Tail(range) = command;
    let chosen = Chosen::from_args(range)?;
    let mut next = match chosen.selection.from {
        Some(_) => chosen.first_event(&link.log).await?,
        None => link.log.last_sequence().await? + 1,
    };
    let mut events = link.log.follow(vec![chosen.events()], next).await?;
    let mut stop = std::pin::pin!(interruption());
    loop {
        let recorded = tokio::select! {
            () = &mut stop => return Ok(true),
            () = passed(clock, chosen.selection.to) => {
                return rest(link, next, &chosen, output).await;
            }
            recorded = events.next() => recorded.context("the log ended")??,
        };
        next = recorded.seq + 1;
        if !print(&recorded, &chosen, output) {
            return Ok(true);
        }
    }
}

/// Checks the flags.
///
/// # Errors
/// Names the flag.
pub fn check(command: &EventsCommand) -> anyhow::Result<()> {
    let EventsCommand::Tail(range) = command;
    Chosen::from_args(range).map(|_| ())
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
    mut next: u64,
    chosen: &Chosen,
    output: Output,
) -> anyhow::Result<bool> {
    loop {
        let from = ReadFrom::Sequence(next);
        let page = link.log.read(&chosen.events(), from, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(true);
        };
        next = last.seq + 1;
        if !page.iter().all(|recorded| print(recorded, chosen, output)) {
            return Ok(true);
        }
    }
}

/// Prints an event if it is chosen. Returns whether later ones may be as well.
fn print(recorded: &Recorded, chosen: &Chosen, output: Output) -> bool {
    if chosen.ends_before(recorded) {
        return false;
    }
    let (Ok(event), true) = (recorded.task_event(), chosen.takes(recorded)) else {
        return true;
    };
    let kind = recorded
        .task_subject()
        .map_or("", |(_, kind)| kind.as_str());
    let data: Value = serde_json::from_slice(&recorded.payload).unwrap_or_default();
    let document =
        json!({ "sequence": recorded.seq, "id": recorded.ce_id(), "event": kind, "data": data });
    let (at, task) = (event.task.occurred_at, &event.task.task_id);
    let text = format!("{at}  {kind:<11}  {task}  {}", event.task.model);
    output.result(&document, &text);
    true
}
