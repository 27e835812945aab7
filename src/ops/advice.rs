//! Advice as a table: which way, what to change, what it costs then and what that saves.

use serde_json::{Map, Value};

use super::estimate::amounts;
use super::output::table;
use crate::model::advice::{Advice, Saving, Strategy};

/// Lays advice on so many tasks out for a person.
#[must_use]
pub fn text(advice: &[Advice], tasks: usize) -> String {
    if advice.is_empty() {
        return "Nothing cheaper makes the same.".to_owned();
    }
    let heading = ["STRATEGY", "CHANGE", "PRICE", "SAVING"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for one in advice {
        rows.push(vec![
            name(one.strategy).to_owned(),
            change(one, tasks),
            amounts(&one.price),
            saving(one),
        ]);
    }
    table(&rows)
}

fn name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::StandardForDrafts => "standard for drafts",
        Strategy::ShorterFirst => "5 s first, the chosen ones longer",
        Strategy::CheaperModel => "a cheaper model",
        Strategy::TurboModel => "a turbo model",
        Strategy::SkipAudio => "skip audio, add it in post",
        Strategy::OffPeak => "off-peak",
        Strategy::Reuse => "reuse an earlier result",
        Strategy::Duplicates => "leave repeats out",
        Strategy::Together => "the cheapest together",
    }
}

fn change(advice: &Advice, tasks: usize) -> String {
    let touched: usize = advice.changes.iter().map(|change| change.tasks.len()).sum();
    let what = match advice.changes.as_slice() {
        _ if advice.strategy == Strategy::Duplicates => "the same again".to_owned(),
        [one] => fields(&one.set),
        several => format!("{} changes, see --json", several.len()),
    };
    match tasks {
        1 => what,
        _ => format!("{what} ({touched} of {tasks} tasks)"),
    }
}

fn fields(set: &Map<String, Value>) -> String {
    let field = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name}: {text}"),
        other => format!("{name}: {other}"),
    };
    set.iter().map(field).collect::<Vec<_>>().join(", ")
}

fn saving(advice: &Advice) -> String {
    let one = |saving: &Saving| {
        let times = saving.times.map(|times| format!("{times}x cheaper, "));
        let (amount, percent) = (saving.amount, saving.percent);
        format!("{amount} ({}{percent} %)", times.unwrap_or_default())
    };
    let words: Vec<String> = advice.saving.iter().map(one).collect();
    match (words.is_empty(), advice.up_to) {
        (true, _) => "none, but faster".to_owned(),
        (false, true) => format!("up to {}", words.join(" + ")),
        (false, false) => words.join(" + "),
    }
}
