//! Where the metrics are kept until somebody reads them.

use std::fmt;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::{
    CALLBACK_LATENESS, CALLBACK_TO_COMPLETION, DOWNLOAD_SECONDS, INFO, METRICS, PUBLISH_SECONDS,
};

/// From fractions of a millisecond: a commit to a broker nearby.
const FAST: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
];
/// From milliseconds to half an hour: a callback on its way, and what follows from it.
const PATIENT: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0,
];
/// From tens of milliseconds to ten minutes: a file from far away.
const TRANSFER: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];
/// From ten milliseconds to a minute: a call to somebody else's API.
const CALL: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// The process's metrics.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// Returns all metrics in Prometheus's text form.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds the observations of histograms together; without it, or a reader, they pile up.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// Returns the process's metrics and starts keeping them at the first call. There is one set for
/// the process, as with any Prometheus target, so several services in one test share it.
#[must_use]
pub fn recorder(environment: &str) -> Recorder {
    static RECORDER: OnceLock<Recorder> = OnceLock::new();
    let recorder = RECORDER.get_or_init(install).clone();
    let version = env!("CARGO_PKG_VERSION");
    metrics::gauge!(INFO, "environment" => environment.to_owned(), "version" => version).set(1.0);
    recorder
}

fn install() -> Recorder {
    let builder = METRICS
        .iter()
        .filter(|metric| metric.kind == "histogram")
        .fold(PrometheusBuilder::new(), |builder, metric| {
            let name = Matcher::Full(metric.name.to_owned());
            builder
                .set_buckets_for_metric(name, buckets(metric.name))
                .expect("the tables of buckets are not empty")
        });
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    // Somebody else's recorder may be there in a test; ours then renders nothing.
    let _ = metrics::set_global_recorder(recorder);
    describe();
    Recorder(handle)
}

fn buckets(name: &str) -> &'static [f64] {
    match name {
        PUBLISH_SECONDS => FAST,
        CALLBACK_LATENESS | CALLBACK_TO_COMPLETION => PATIENT,
        DOWNLOAD_SECONDS => TRANSFER,
        _ => CALL,
    }
}

fn describe() {
    for metric in METRICS {
        match metric.kind {
            "counter" => metrics::describe_counter!(metric.name, metric.help),
            "gauge" => metrics::describe_gauge!(metric.name, metric.help),
            _ => metrics::describe_histogram!(metric.name, metric.help),
        }
        // An alert on a counter needs its zero.
        if metric.kind == "counter" && metric.labels.is_empty() {
            metrics::counter!(metric.name).increment(0);
        }
    }
}
