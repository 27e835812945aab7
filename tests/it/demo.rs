//! `kling-relay demo`, as a newcomer runs it: the real program in an empty directory.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::broker::program;

#[test]
fn the_demo_keeps_every_guarantee_and_its_figures_are_the_simulators() {
    let empty = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_kling-relay"))
        .args(["demo", "--json", "--quiet"])
        .current_dir(empty.path())
        .env("KLING_RELAY_NATS__SERVER_BINARY", program())
        .stdin(Stdio::null())
        .output()
        .expect("the demo runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(summary["broken"], serde_json::json!([]));
    let simulator = &summary["simulator"];
    let number = |value: &Value| value.as_u64().expect("a count");
    let tasks = number(&summary["tasks"]["succeeded"]) + number(&summary["tasks"]["failed"]);
    assert!(tasks >= 24, "{tasks} tasks");
    assert_eq!(tasks, number(&simulator["creates"]["accepted"]));
    assert_eq!(summary["callbacks_lost"], simulator["callbacks"]["dropped"]);
    let queries = &simulator["queries"];
    let asked: u64 = summary["queries"]
        .as_object()
        .expect("counts by reason")
        .values()
        .map(number)
        .sum();
    let answered: u64 = [
        "tasks_by_id",
        "tasks_by_cursor",
        "legacy_single",
        "legacy_list",
    ]
    .map(|kind| number(&queries[kind]))
    .iter()
    .sum();
    assert_eq!(asked, answered, "queries counted here and there");
    for (unit, pack) in [
        ("video-unit", "video"),
        ("image-unit", "image"),
        ("try-on-unit", "try-on"),
    ] {
        let ours = &summary["balance"][unit];
        assert_eq!(ours["held"], "0", "{unit} still held");
        assert_eq!(ours["deducted"], simulator["deductions"][pack], "{unit}");
    }
}
