//! `schemas`: JSON Schema of every event and body, generated from `model`.

use std::path::Path;

use anyhow::Context;
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

use super::output::Output;
use crate::model::answer::{Accepted, AcceptedBatch, Adjusted, DayBudget, Estimates, TaskPage};
use crate::model::audit::Audit;
use crate::model::dead_letter::DeadLetter;
use crate::model::event::{EventKind, TaskEvent};
use crate::model::ledger::{BudgetAlert, LedgerEntry};
use crate::model::operator::{Adjust, SetLimit};
use crate::model::problem::Problem;
use crate::model::request::TaskRequest;
use crate::model::task::Task;
use crate::model::usage::{DriftReport, UsageRecord, UsageReport};

/// Returns every schema by its file name.
#[must_use]
pub fn all() -> Vec<(String, Value)> {
    let mut schemas: Vec<(String, Value)> = EventKind::ALL
        .into_iter()
        .map(|kind| {
            let name = kind.as_str();
            let (file, mut schema) =
                named::<TaskEvent>(&format!("event.{name}"), &format!("task.{name}"));
            narrow(&mut schema, kind);
            (file, schema)
        })
        .collect();
    schemas.push(named::<LedgerEntry>("event.ledger-entry", "ledger.entry"));
    schemas.push(named::<BudgetAlert>("event.budget-alert", "budget.alert"));
    schemas.push(named::<Audit>("event.audit", "audit"));
    schemas.push(named::<TaskRequest>("http.task-request", "request"));
    schemas.push(named::<Accepted>("http.accepted", "accepted"));
    schemas.push(named::<AcceptedBatch>(
        "http.accepted-batch",
        "accepted-batch",
    ));
    schemas.push(named::<Estimates>("http.estimates", "estimates"));
    schemas.push(named::<Task>("http.task", "task"));
    schemas.push(named::<TaskPage>("http.task-page", "task-page"));
    schemas.push(named::<SetLimit>("http.set-limit", "set-limit"));
    schemas.push(named::<DayBudget>("http.day-budget", "day-budget"));
    schemas.push(named::<UsageReport>("http.usage-report", "usage-report"));
    schemas.push(named::<UsageRecord>("cli.usage-record", "usage-record"));
    schemas.push(named::<DriftReport>("cli.usage-drift", "usage-drift"));
    schemas.push(named::<Problem>("http.problem", "problem"));
    schemas.push(named::<Adjust>("internal.adjust", "adjust"));
    schemas.push(named::<Adjusted>("internal.adjusted", "adjusted"));
    schemas.push(named::<DeadLetter>("internal.dead-letter", "dead-letter"));
    schemas
}

fn named<T: JsonSchema>(file: &str, title: &str) -> (String, Value) {
    let mut schema = schema_for!(T);
    schema.insert(
        "$id".to_owned(),
        format!("https://kling-relay.dev/schemas/{file}.json").into(),
    );
    schema.insert("title".to_owned(), title.into());
    (format!("{file}.json"), schema.to_value())
}

/// Says what an event of that kind has above all of them, and what it never has.
fn narrow(schema: &mut Value, kind: EventKind) {
    let (statuses, has): (&[&str], &[&str]) = match kind {
        EventKind::Requested => (&["requested"], &["call"]),
        EventKind::Dispatching => (&["dispatching"], &[]),
        EventKind::Submitted => (&["submitted"], &["kling_task_id"]),
        EventKind::Processing => (&["processing"], &["kling_task_id"]),
        // Without outputs only if Kling had none to offer, even when asked again.
        EventKind::Succeeded => (&["succeeded"], &[]),
        EventKind::Failed => (&["failed"], &["error"]),
        EventKind::Stored => (&["succeeded"], &["assets"]),
        EventKind::Settled => (&["succeeded", "failed"], &["held", "deduction"]),
        EventKind::Stalled => (
            &["requested", "dispatching", "submitted", "processing"],
            &[],
        ),
    };
    if let Some(required) = schema["required"].as_array_mut() {
        required.extend(has.iter().map(|name| Value::from(*name)));
    }
    schema["properties"]["status"] = json!({
        "description": "How far the task has come.",
        "enum": statuses,
    });
    // Prompts and signed addresses stand in one kind of event each.
    for (name, only_in) in [
        ("call", EventKind::Requested),
        ("outputs", EventKind::Succeeded),
    ] {
        if kind != only_in {
            schema["properties"][name] = Value::from(false);
        }
    }
}

/// Writes every schema into a folder, and removes those of ours that are no more.
///
/// # Errors
/// The file that cannot be written.
pub fn write(folder: &Path, output: Output) -> anyhow::Result<bool> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {folder:?}"))?;
    let schemas = all();
    for (name, schema) in &schemas {
        let path = folder.join(name);
        let text = serde_json::to_string_pretty(schema)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("cannot write {path:?}"))?;
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let known = schemas.iter().any(|(known, _)| known == name);
        let ours = ["event.", "http.", "cli.", "internal."]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if ours && !known {
            std::fs::remove_file(&path)?;
        }
    }
    let names: Vec<&String> = schemas.iter().map(|(name, _)| name).collect();
    output.result(
        &names,
        &format!("{} schemas in {}", names.len(), folder.display()),
    );
    Ok(true)
}
