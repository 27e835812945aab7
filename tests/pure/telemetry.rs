//! Logs say where they come from and keep the libraries discreet; metrics are named by the rules.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex};

use kling_relay::telemetry::{LogForm, LogSettings, METRICS, chain, subscriber};
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Kept;

    fn make_writer(&'a self) -> Kept {
        self.clone()
    }
}

const SETTINGS: LogSettings<'static> = LogSettings {
    environment: "sta\"ging",
    filter: None,
    quiet: false,
    form: LogForm::Json,
};

/// What is logged by `what` under these settings.
fn logged(settings: &LogSettings<'_>, what: impl FnOnce()) -> String {
    let kept = Kept::default();
    let subscriber = subscriber(settings, kept.clone()).expect("the filter can be read");
    tracing::subscriber::with_default(subscriber, what);
    let bytes = kept.0.lock().expect("nobody panics").clone();
    String::from_utf8(bytes).expect("logs are text")
}

#[test]
fn a_line_is_an_object_with_service_and_environment() {
    let text = logged(&SETTINGS, || {
        tracing::info!(task.id = "a_1", duration_ms = 5, "a task ended");
    });
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["service"], "kling-relay");
    assert_eq!(line["environment"], "sta\"ging");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "a task ended");
    assert_eq!(line["task.id"], "a_1");
    assert_eq!(line["duration_ms"], 5);
    assert!(text.ends_with("}\n"), "{text:?}");
}

#[test]
fn libraries_never_show_their_details() {
    let everything = LogSettings {
        filter: Some("trace,h2::codec=trace"),
        ..SETTINGS
    };
    let text = logged(&everything, || {
        tracing::debug!(target: "h2::codec", "headers of /callbacks/a/b/SECRET");
        tracing::trace!(target: "hyper", "SECRET");
        tracing::debug!(target: "async_nats", "SECRET");
        tracing::info!(target: "hyper", "all is well");
        tracing::trace!(target: "kling_relay::stage", "ours");
    });
    assert!(!text.contains("SECRET"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn quiet_says_less_and_a_filter_is_checked() {
    let quiet = LogSettings {
        quiet: true,
        ..SETTINGS
    };
    let lines = || {
        tracing::info!("news");
        tracing::warn!("trouble");
    };
    assert_eq!(logged(&quiet, lines).lines().count(), 1);
    assert_eq!(logged(&SETTINGS, lines).lines().count(), 2);
    let text = LogSettings {
        form: LogForm::Text { colour: false },
        ..SETTINGS
    };
    let text = logged(&text, lines);
    assert!(
        text.contains("trouble") && !text.contains('{') && !text.contains('\u{1b}'),
        "{text}"
    );
    let broken = LogSettings {
        filter: Some("=,="),
        ..SETTINGS
    };
    assert!(subscriber(&broken, std::io::sink).is_err());
}

#[test]
fn a_chain_shows_every_cause_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("the roof leaks")]
    struct Roof(#[source] std::io::Error);
    let error = Roof(std::io::Error::other("it rains"));
    assert_eq!(chain(&error).to_string(), "the roof leaks: it rains");
}

#[test]
fn metrics_are_named_by_the_rules() {
    let mut names = BTreeSet::new();
    for metric in METRICS {
        let name = metric.name;
        assert!(names.insert(name), "{name} stands there twice");
        assert!(name.starts_with("kling_relay_"), "{name}");
        let unit = match metric.kind {
            "counter" => name.ends_with("_total"),
            "histogram" => name.ends_with("_seconds"),
            "gauge" => !name.ends_with("_total"),
            kind => panic!("{name} is a {kind}"),
        };
        assert!(unit, "{name} does not end as a {} does", metric.kind);
        assert!(
            metric.labels.iter().all(|label| !label.ends_with("id")),
            "{name} has an id"
        );
        assert!(metric.help.ends_with('.'), "{name}");
    }
}

/// The names of ours in a text.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c| !is_name(c));
    words
        .filter(|word| word.starts_with("kling_relay_"))
        .collect()
}

#[test]
fn alert_rules_ask_for_metrics_that_there_are() {
    let known: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let rules = include_str!("../../deploy/prometheus/alerts.yml");
    let cases = include_str!("../../deploy/prometheus/alerts_test.yml");
    let asked = metric_names(rules);
    assert!(asked.is_subset(&known), "{asked:?}");
    assert_eq!(asked, metric_names(cases), "each rule has a case");
}
