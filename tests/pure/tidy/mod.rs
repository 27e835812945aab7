//! Polices the source, so that the picture in the README stays true: who may import whom, what is
//! pure, what has one home, and how big things may be.

mod source;
mod floors;
mod sizes;

use floors::imports_up;
use sizes::long_functions;
use source::Source;

/// The crates that values and decisions may use.
const PURE_CRATES: &[&str] = &[
    "std",
    "core",
    "alloc",
    "crate",
    "self",
    "super",
    "serde",
    "serde_json",
    "schemars",
    "jiff",
    "rust_decimal",
    "sha2",
    "thiserror",
    // Text: patterns in linear time, and the forms of Unicode.
    "regex",
    "unicode_normalization",
];

/// Fails with every breach of one rule.
#[track_caller]
fn clean(rule: &str, breaches: Vec<String>) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

fn everything() -> Vec<Source> {
    let mut sources = source::read("src");
    sources.extend(source::read("tests"));
    sources
}

#[test]
fn values_and_decisions_are_pure() {
    let mut breaches = Vec::new();
    for source in source::read("src") {
        breaches.extend(impurities(&source));
    }
    clean(
        "model and decide know no clock, chance, log, wait or vendor",
        breaches,
    );
}

fn impurities(source: &Source) -> Vec<String> {
    if !matches!(source.module().first(), Some(&("model" | "decide"))) {
        return Vec::new();
    }
    let at = |line: usize, what: &str| format!("{}:{line}: {what}", source.path);
    let mut breaches = Vec::new();
    for word in [
        "async ",
        ".await",
        "::now(",
        "Instant",
        "SystemTime",
        "std::env",
        "std::fs",
    ] {
        breaches.extend(
            source
                .lines_with(word)
                .into_iter()
                .map(|line| at(line, word)),
        );
    }
    for (line, text) in (1..).zip(source.code.lines()) {
        let Some(used) = text
            .trim_start()
            .trim_start_matches("pub ")
            .strip_prefix("use ")
        else {
            continue;
        };
        let end = used.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        let name = &used[..end.unwrap_or(used.len())];
        // `use Enum::*` and `use sibling::X` name what the module itself declares.
        let own = source.code.contains(&format!("mod {name};"))
            || name.chars().next().is_some_and(char::is_uppercase);
        if !PURE_CRATES.contains(&name) && !own {
            breaches.push(at(line, used));
        }
    }
    for word in [
        "tokio::",
        "tracing::",
        "metrics::",
        "rand::",
        "reqwest::",
        "async_nats::",
    ] {
        breaches.extend(
            source
                .lines_with(word)
                .into_iter()
                .map(|line| at(line, word)),
        );
    }
    breaches
}

#[test]
fn every_module_says_its_duty() {
    let silent = |source: &&Source| !source.text.starts_with("//!");
    let paths = everything()
        .iter()
        .filter(silent)
        .map(|s| s.path.clone())
        .collect();
    clean("every file begins with //!", paths);
}

#[test]
fn lints_are_expected_and_never_allowed() {
    let mut breaches = Vec::new();
    for source in everything() {
        for piece in ["[allow(", " allow("] {
            let lines = source.lines_with(piece).into_iter();
            breaches.extend(lines.map(|line| format!("{}:{line}", source.path)));
        }
    }
    clean("silence a lint with #[expect(…, reason = …)]", breaches);
}

/// Checks that a piece of code stands in its home only. Homes are prefixes of paths.
#[track_caller]
fn at_home(rule: &str, pieces: &[&str], homes: &[&str]) {
    let mut breaches = Vec::new();
    for source in source::read("src") {
        if homes.iter().any(|home| source.path.starts_with(home)) {
            continue;
        }
        for piece in pieces {
            let lines = source.lines_with(piece).into_iter();
            breaches.extend(lines.map(|line| format!("{}:{line}: {piece}", source.path)));
        }
    }
    clean(rule, breaches);
}

/// The same for string literals that begin with a piece.
#[track_caller]
fn literals_at_home(rule: &str, pieces: &[&str], homes: &[&str]) {
    let mut breaches = Vec::new();
    for source in source::read("src") {
        if homes.iter().any(|home| source.path.starts_with(home)) {
            continue;
        }
        for (line, literal) in &source.literals {
            let inside = literal.trim_start_matches(['r', '#', '"']).to_lowercase();
            if pieces.iter().any(|piece| inside.starts_with(piece)) {
                breaches.push(format!("{}:{line}: {literal}", source.path));
            }
        }
    }
    clean(rule, breaches);
}

#[test]
fn one_home_each() {
    at_home(
        "the environment is read in config",
        &["env::var"],
        &["src/config/"],
    );
    at_home(
        "time is read in clock; the stand-in platform has its own",
        &["Timestamp::now", "Zoned::now", "SystemTime::now"],
        &["src/edge/clock.rs", "src/sim/clock.rs"],
    );
    at_home(
        "axum is met in http and sim",
        &["axum::", "axum_server"],
        &["src/http/", "src/sim/"],
    );
    at_home(
        "the broker's client is met in edge::nats, and where requests come in or go out",
        &["async_nats::"],
        &[
            "src/edge/nats/",
            "src/stage/runner.rs",
            "src/stage/intake/service.rs",
            "src/ops/connect.rs",
            "src/telemetry",
        ],
    );
    literals_at_home(
        "subjects are named in topology",
        &[
            "kling.v1",
            "kling.callback",
            "kling.dead",
            "kling.replay",
            "kling.probe",
        ],
        &["src/edge/nats/topology"],
    );
    literals_at_home(
        "headers on the broker are named in edge::nats",
        &[
            "nats-",
            "ce-",
            "kling-commit",
            "kling-dead-",
            "kling-replay",
            "kling-proof",
        ],
        &["src/edge/nats/", "src/cli.rs", "src/sim/"],
    );
}

/// The rules themselves: each must see its breach.
#[test]
fn breaches_are_seen() {
    let source = |path: &str, text: &str| Source::new(path, text.to_owned());
    let up = |path: &str, text: &str| imports_up(&source(path, text)).len();
    assert_eq!(
        up("src/edge/a.rs", "use crate::{model::ids, stage::runner};"),
        1
    );
    assert_eq!(
        up(
            "src/edge/nats/a.rs",
            "use super::super::super::http::server;"
        ),
        1
    );
    assert_eq!(
        up(
            "src/edge/a.rs",
            "// use crate::stage::x;\nlet a = \"crate::stage::x\";"
        ),
        0
    );
    assert_eq!(up("src/stage/receiver.rs", "use super::completer::X;"), 1);
    assert_eq!(
        up(
            "src/stage/receiver.rs",
            "use crate::stage::{runner::R, intake};"
        ),
        1
    );
    assert_eq!(
        up(
            "src/stage/receiver.rs",
            "use super::runner::R; mod t { use super::X; }"
        ),
        0
    );
    assert_eq!(
        up(
            "src/http/api.rs",
            "use crate::edge::{clock::Clock, nats::Log};"
        ),
        1
    );
    assert_eq!(
        up("src/sim/mod.rs", "crate::model::ids::Tenant::parse(x)"),
        1
    );

    let impure = |text: &str| impurities(&source("src/decide/a.rs", text)).len();
    assert_eq!(
        impure("use serde::Deserialize;\nuse super::b::C;\nuse C::D;"),
        0
    );
    assert_eq!(impure("use tokio::sync::Mutex;"), 2);
    assert_eq!(impure("pub async fn a() {}"), 1);
    assert_eq!(impure("use rand::Rng;\nlet t = Timestamp::now();"), 3);

    let long = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(69));
    assert_eq!(long_functions(&source("src/a.rs", &long)).len(), 1);
    let raw = source(
        "a.rs",
        "let a = r#\"kling.v1 // \"x\" \"#; // \"c\"\nlet b = 'c'; b'\"';",
    );
    assert_eq!(raw.literals.len(), 1);
    assert_eq!(raw.code.matches('"').count(), 0);
}
