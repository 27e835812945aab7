//! Who may import whom.

use super::clean;
use super::source::{self, Source};

/// A floor of the house and the floors that it may look at. `edge::clock` is everybody's but the
/// pure ones', and `config` and `telemetry` lend types and names downwards.
const FLOORS: &[(&str, &[&str])] = &[
    ("model", &["model"]),
    ("decide", &["decide", "model"]),
    ("config", &["config", "model"]),
    ("telemetry", &["telemetry"]),
    // The money writer folds with the ledger's own arithmetic: a second one would be another law.
    (
        "edge",
        &["edge", "decide::ledger", "model", "config", "telemetry"],
    ),
    (
        "stage",
        &["stage", "decide", "edge", "model", "config", "telemetry"],
    ),
    // An audit on demand is the reconciler's own, run once.
    (
        "ops",
        &[
            "ops",
            "stage::ledger_audit",
            "decide",
            "edge",
            "model",
            "config",
            "telemetry",
        ],
    ),
    (
        "http",
        &[
            "http",
            "ops",
            "stage",
            "model",
            "config",
            "telemetry",
            "edge::clock",
        ],
    ),
    ("sim", &["sim", "telemetry"]),
    (
        "app",
        &[
            "app",
            "http",
            "ops",
            "stage",
            "decide",
            "edge",
            "model",
            "config",
            "telemetry",
        ],
    ),
    // The demonstration is the service and the stand-in platform side by side.
    (
        "demo",
        &[
            "demo",
            "app",
            "ops",
            "cli",
            "sim",
            "decide::ledger",
            "edge",
            "model",
            "config",
            "telemetry",
        ],
    ),
];

/// What the stages may share: the consume loop, the folded log, how a task is asked about, and the
/// audit of a day. They
/// never import one another.
const STAGES_SHARE: [&str; 4] = ["runner", "views", "look_up", "ledger_audit"];

#[test]
fn imports_point_down() {
    let mut breaches = Vec::new();
    for source in source::read("src") {
        breaches.extend(imports_up(&source));
    }
    clean("imports only ever point down", breaches);
}

pub(super) fn imports_up(source: &Source) -> Vec<String> {
    let module = source.module();
    let Some(floor) = module.first() else {
        return Vec::new();
    };
    let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| name == floor) else {
        return Vec::new();
    };
    let mut breaches = Vec::new();
    for (line, path) in source.own_paths() {
        let known = FLOORS
            .iter()
            .any(|(name, _)| path.first().is_some_and(|p| p == name));
        let may = |floor: &&str| path.join("::").starts_with(*floor);
        let sibling = floor == &"stage"
            && path.first().is_some_and(|first| first == "stage")
            && path.get(1) != module.get(1).map(|own| (*own).to_owned()).as_ref()
            && path.get(1).is_some_and(|name| is_stage(name));
        if sibling || (known && !allowed.iter().any(may)) {
            breaches.push(format!("{}:{line}: {}", source.path, path.join("::")));
        }
    }
    breaches
}

fn is_stage(name: &str) -> bool {
    let stages = include_str!("../../../src/stage/mod.rs");
    stages.contains(&format!("pub mod {name};")) && !STAGES_SHARE.contains(&name)
}

#[test]
fn floors_are_complete() {
    let lib = include_str!("../../../src/lib.rs");
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod "));
    let missing = declared
        .map(|name| name.trim_end_matches(';'))
        // The command line may call everything.
        .filter(|name| *name != "cli" && !FLOORS.iter().any(|(floor, _)| floor == name))
        .map(str::to_owned)
        .collect();
    clean("every module of the crate stands on a floor", missing);
}
