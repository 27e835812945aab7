//! `schemas/` holds what the types say today: a change of a message is looked at as a change.

use std::collections::BTreeSet;
use std::path::Path;

use kling_relay::ops::schemas;
use serde_json::Value;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

#[test]
fn schemas_are_those_of_the_types() {
    let mut names = BTreeSet::new();
    for (name, schema) in schemas::all() {
        let text = std::fs::read_to_string(folder().join(&name)).unwrap_or_default();
        let stored: Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(
            stored, schema,
            "{name}: run `kling-relay schemas`, and look at the change"
        );
        names.insert(name);
    }
    let files = std::fs::read_dir(folder()).unwrap();
    let files: BTreeSet<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, names, "no schema of something that is gone");
}

/// What is private stands in one kind of event each, and the schemas say so.
#[test]
fn schemas_say_what_each_event_has_and_never_has() {
    for (name, schema) in schemas::all() {
        let Some(kind) = name
            .strip_prefix("event.")
            .and_then(|n| n.strip_suffix(".json"))
        else {
            continue;
        };
        if ["ledger-entry", "budget-alert", "audit"].contains(&kind) {
            continue;
        }
        let never = |field: &str| schema["properties"][field] == false;
        assert_eq!(never("call"), kind != "requested", "{kind}");
        assert_eq!(never("outputs"), kind != "succeeded", "{kind}");
        let required = schema["required"].as_array().unwrap();
        let has = |field: &str| required.iter().any(|name| name == field);
        assert!(
            has("task_id") && has("tenant") && has("occurred_at"),
            "{kind}"
        );
        assert_eq!(has("call"), kind == "requested");
        assert_eq!(has("error"), kind == "failed");
        assert_eq!(has("assets"), kind == "stored");
        assert_eq!(has("held"), kind == "settled");
    }
}
