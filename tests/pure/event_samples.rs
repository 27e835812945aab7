//! One message of each kind in the first released shape. They are read for ever: a replay of last
//! year's events, or a version beside this one, must not meet a message that nobody can read.
//!
//! A sample is never edited. What a later version adds has a default, and gets samples of its own.

use std::collections::BTreeMap;
use std::path::Path;

use kling_relay::model::audit::Audit;
use kling_relay::model::event::{EventKind, TaskEvent};
use kling_relay::model::ledger::{BudgetAlert, EntryKind, LedgerEntry};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn samples() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/events/v1");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        (name, serde_json::from_str(&text).unwrap())
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

/// Reads and writes a message.
#[track_caller]
fn again<T: DeserializeOwned + Serialize>(name: &str, sample: &Value) -> Value {
    let read: Result<T, _> = serde_json::from_value(sample.clone());
    let read = read.unwrap_or_else(|error| panic!("{name} cannot be read any more: {error}"));
    serde_json::to_value(read).unwrap()
}

fn rewritten(name: &str, sample: &Value) -> Value {
    match name.split('-').next().unwrap() {
        "ledger" => again::<LedgerEntry>(name, sample),
        "budget" => again::<BudgetAlert>(name, sample),
        "audit" => again::<Audit>(name, sample),
        kind => {
            assert!(EventKind::from_name(kind).is_some(), "what is {name}?");
            again::<TaskEvent>(name, sample)
        }
    }
}

/// Fails where something of the sample is gone or different; more is fine.
#[track_caller]
fn kept(at: &str, sample: &Value, written: &Value) {
    match (sample, written) {
        (Value::Object(sample), Value::Object(written)) => {
            for (key, value) in sample {
                let empty = value.as_array().is_some_and(Vec::is_empty);
                let found = written.get(key);
                assert!(found.is_some() || empty, "{at}.{key} is lost");
                kept(&format!("{at}.{key}"), value, found.unwrap_or(value));
            }
        }
        (_, _) => assert_eq!(sample, written, "{at}"),
    }
}

#[test]
fn every_message_of_the_first_version_is_still_read_whole() {
    for (name, sample) in samples() {
        kept(&name, &sample, &rewritten(&name, &sample));
    }
}

#[test]
fn every_kind_has_its_sample() {
    let samples = samples();
    for kind in EventKind::ALL {
        assert!(samples.contains_key(kind.as_str()), "{}", kind.as_str());
    }
    let entries = samples
        .iter()
        .filter(|(name, _)| name.starts_with("ledger-"));
    for (name, sample) in entries {
        let kind: EntryKind = serde_json::from_value(sample["kind"].clone()).unwrap();
        assert_eq!(
            name.strip_prefix("ledger-"),
            sample["kind"].as_str(),
            "{kind:?}"
        );
    }
}

#[test]
fn what_a_newer_version_adds_is_passed_on_by_tasks_and_passed_over_elsewhere() {
    for (name, mut sample) in samples() {
        sample["newer"] = json!({ "score": "0.9" });
        if sample.get("relay").is_some() {
            sample["relay"]["newer_too"] = json!([1, "2"]);
            kept(&name, &sample, &rewritten(&name, &sample));
        } else {
            rewritten(&name, &sample);
        }
    }
}
