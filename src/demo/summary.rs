//! What a person wants to know after the demo, and the same for a program.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use indicatif::HumanBytes;
use serde::Serialize;

use super::audit::Findings;
use super::stand::Stand;
use crate::decide::ledger;
use crate::model::ids::TaskId;
use crate::model::ledger::Balance;
use crate::model::task::{Asset, Task};
use crate::ops::output::table;
use crate::sim::SimStats;
use crate::telemetry;

/// The summary.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Guarantees that were broken; empty is good.
    pub(super) broken: Vec<String>,
    tasks: BTreeMap<String, usize>,
    failures: BTreeMap<String, usize>,
    files: Vec<Asset>,
    files_bytes: u64,
    balance: Balance,
    duplicates_ignored: u64,
    forgeries_refused: u64,
    forgeries_sent: u64,
    callbacks_lost: u64,
    tasks_recovered: u64,
    queries: BTreeMap<String, u64>,
    callback_to_event_mean_ms: f64,
    callback_to_event_p99_below_ms: f64,
    elapsed_seconds: f64,
    simulator: SimStats,
}

impl Summary {
    pub(super) fn of(
        stand: &Stand,
        ended: &HashMap<TaskId, Task>,
        findings: Findings,
        elapsed: Duration,
    ) -> Self {
        let simulator = stand.sim.stats();
        let metrics = Metrics(stand.recorder.render());
        let mut tasks: BTreeMap<String, usize> = BTreeMap::new();
        let mut failures: BTreeMap<String, usize> = BTreeMap::new();
        for task in ended.values() {
            *tasks.entry(task.status.as_str().to_owned()).or_default() += 1;
            if let Some(error) = &task.error {
                *failures
                    .entry(format!("{}: {}", error.code, error.message))
                    .or_default() += 1;
            }
        }
        let mut files: Vec<Asset> = ended
            .values()
            .flat_map(|task| task.assets.clone())
            .collect();
        files.sort_by(|a, b| a.key.cmp(&b.key));
        let forged = simulator.callbacks.forged.values().flatten();
        let (mut forgeries_sent, mut forgeries_refused) = (0, 0);
        for (answer, count) in forged {
            forgeries_sent += count;
            forgeries_refused += if answer.starts_with('4') { *count } else { 0 };
        }
        let reasons = ["confirm", "billing", "quiet", "lookup", "outputs"];
        let queries = reasons.map(|reason| {
            let labels = format!("reason=\"{reason}\"");
            (
                reason.to_owned(),
                metrics.sum(telemetry::KLING_QUERIES, &labels) as u64,
            )
        });
        let (mean, p99) = metrics.latency_ms(telemetry::CALLBACK_TO_COMPLETION);
        let decided = |decision: &str| {
            metrics.sum(
                telemetry::CALLBACKS_DECIDED,
                &format!("decision=\"{decision}\""),
            ) as u64
        };
        let duplicate = metrics.sum(telemetry::CALLBACKS_RECEIVED, "result=\"duplicate\"") as u64;
        Self {
            broken: findings.broken,
            tasks,
            failures,
            files,
            files_bytes: findings.bytes,
            balance: findings.balance,
            duplicates_ignored: duplicate + decided("nothing-new"),
            forgeries_refused,
            forgeries_sent,
            callbacks_lost: simulator.callbacks.dropped,
            tasks_recovered: metrics.sum(telemetry::RECOVERED, "") as u64,
            queries: queries.into_iter().collect(),
            callback_to_event_mean_ms: mean,
            callback_to_event_p99_below_ms: p99,
            elapsed_seconds: elapsed.as_secs_f64(),
            simulator,
        }
    }

    /// Says it in words.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![String::new(), "FILES".to_owned()];
        let mut rows = vec![
            ["SIZE", "TYPE", "SHA256", "KEY"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(self.files.iter().map(|file| {
            vec![
                HumanBytes(file.bytes).to_string(),
                file.media_type.clone(),
                format!("{}…", &file.sha256[..12.min(file.sha256.len())]),
                file.key.clone(),
            ]
        }));
        lines.push(table(&rows));
        lines.push(String::new());
        lines.push("MONEY".to_owned());
        lines.push(self.money());
        lines.push(String::new());
        lines.push("SUMMARY".to_owned());
        lines.push(self.figures());
        lines.push(String::new());
        match self.broken.as_slice() {
            [] => lines.push("every guarantee held".to_owned()),
            broken => {
                lines.push("BROKEN GUARANTEES".to_owned());
                lines.extend(broken.iter().map(|what| format!("  {what}")));
            }
        }
        lines.join("\n")
    }

    fn money(&self) -> String {
        let heading = ["UNIT", "HELD", "DEDUCTED", "REMAINING", "LIMIT"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for (unit, of_unit) in &self.balance {
            let left = ledger::remaining(&self.balance, *unit).unwrap_or_default();
            rows.push(vec![
                unit.to_string(),
                of_unit.held.to_string(),
                of_unit.deducted.to_string(),
                left.to_string(),
                of_unit
                    .limit
                    .map_or("none".to_owned(), |limit| limit.to_string()),
            ]);
        }
        table(&rows)
    }

    fn figures(&self) -> String {
        let counts = |counts: &BTreeMap<String, usize>| {
            counts
                .iter()
                .map(|(what, n)| format!("{n} {what}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let queries: Vec<String> = self
            .queries
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        let creates = &self.simulator.creates;
        let rows = [
            ("tasks", counts(&self.tasks)),
            ("failures", counts(&self.failures)),
            (
                "created at the platform",
                format!("{} (of {} calls)", creates.accepted, creates.requests),
            ),
            (
                "files",
                format!("{}, {}", self.files.len(), HumanBytes(self.files_bytes)),
            ),
            ("duplicates ignored", self.duplicates_ignored.to_string()),
            (
                "forgeries refused",
                format!(
                    "{} of {}; the others changed nothing",
                    self.forgeries_refused, self.forgeries_sent
                ),
            ),
            (
                "callbacks recovered",
                format!(
                    "{} lost, {} tasks moved by a query instead",
                    self.callbacks_lost, self.tasks_recovered
                ),
            ),
            (
                "queries made to Kling",
                format!(
                    "{} ({})",
                    self.simulator.queries.total(),
                    queries.join(", ")
                ),
            ),
            (
                "callback to event",
                format!(
                    "{:.1} ms on average, 99 % below {:.0} ms",
                    self.callback_to_event_mean_ms, self.callback_to_event_p99_below_ms
                ),
            ),
            ("time", format!("{:.1} s", self.elapsed_seconds)),
        ];
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .map(|(what, figure)| vec![what.to_owned(), figure])
            .collect();
        table(&rows)
    }
}

/// The service's own metrics, as a scraper sees them.
struct Metrics(String);

impl Metrics {
    /// Adds up the samples of a name whose labels hold a text.
    fn sum(&self, name: &str, labels: &str) -> f64 {
        self.samples(name)
            .filter(|(found, _)| found.contains(labels))
            .map(|(_, value)| value)
            .sum()
    }

    /// Returns the mean and the bound of the bucket that holds the 99th percentile, milliseconds.
    fn latency_ms(&self, name: &str) -> (f64, f64) {
        let count = self.sum(&format!("{name}_count"), "");
        let mean = self.sum(&format!("{name}_sum"), "") / count.max(1.0);
        let bound = self
            .samples(&format!("{name}_bucket"))
            .find_map(|(labels, value)| {
                let bound = labels
                    .split("le=\"")
                    .nth(1)?
                    .split('"')
                    .next()?
                    .parse::<f64>()
                    .ok()?;
                (value >= 0.99 * count).then_some(bound)
            });
        (mean * 1_000.0, bound.unwrap_or(0.0) * 1_000.0)
    }

    fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let whole = labels.is_empty() || labels.starts_with('{');
            whole.then(|| Some((labels, value.parse().ok()?)))?
        })
    }
}
