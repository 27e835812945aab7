//! `usage report` and `GET /v1/usage`: by group, with a total.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use rust_decimal::{Decimal, RoundingStrategy};
use tokio::sync::Semaphore;

use super::{Calendar, Range, Unreadable, portions, rates};
use crate::cli::UsageArgs;
use crate::config;
use crate::decide::usage::{Dimension, Groups, Rates, TooManyGroups};
use crate::edge::clock::Clock;
use crate::edge::nats::log::{Log, LogError};
use crate::model::amount::{Amount, Unit};
use crate::model::ids::Tenant;
use crate::model::problem::{Problem, ProblemCode};
use crate::model::usage::{Cost, UsageReport, UsageTotals};
use crate::ops::output::{Output, figures_table};
use crate::telemetry;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    /// The log does not answer, or holds what cannot be read.
    #[error("the ledger cannot be read")]
    Log(#[from] LogError),
    /// It would be too large.
    #[error(transparent)]
    TooMany(#[from] TooManyGroups),
}

/// Reads what groups are made by.
pub(super) fn dimensions(names: &[String]) -> Result<Vec<Dimension>, Unreadable> {
    let read = |name: &String| {
        Dimension::parse(name).ok_or_else(|| {
            let name: String = name.chars().take(40).collect();
            let problem = format!("{name:?}: use day, model, tenant, product or label:KEY");
            Unreadable::new("group_by", problem)
        })
    };
    names.iter().map(read).collect()
}

/// Adds up a range.
async fn report(
    log: &Log,
    range: &Range,
    by: Vec<Dimension>,
    rates: Option<&Rates>,
) -> Result<UsageReport, ReportError> {
    let group_by = by.iter().map(Dimension::name).collect();
    let mut groups = Groups::new(by);
    let mut portions = std::pin::pin!(portions(log, range).await?);
    while let Some(portion) = portions.next().await {
        let portion = portion?;
        for cell in &portion.cells {
            groups.add(portion.tenant.as_str(), portion.day, cell)?;
        }
    }
    let (groups, total) = groups.into_rows(rates);
    Ok(UsageReport {
        from: range.from,
        to: range.to,
        tenant: range.tenant.as_ref().map(ToString::to_string),
        label: range.label_text(),
        group_by,
        groups,
        total,
    })
}

pub(super) async fn run(
    log: &Log,
    range: &Range,
    group_by: &[String],
    rates: Option<&Rates>,
    output: Output,
) -> anyhow::Result<bool> {
    let by = dimensions(group_by).map_err(Unreadable::flag)?;
    let report = report(log, range, by, rates).await?;
    output.result(&report, &shown(&report));
    Ok(true)
}

/// Usage reports for callers of the API, bounded in number and time.
#[derive(Clone, Debug)]
pub struct Reports {
    log: Log,
    clock: Clock,
    calendar: Calendar,
    rates: Option<Rates>,
    permits: Arc<Semaphore>,
    timeout: Duration,
}

impl Reports {
    /// Makes them over the log.
    ///
    /// # Errors
    /// The key that cannot be read.
    pub fn new(
        log: Log,
        clock: Clock,
        budget: &config::Budget,
        cost: &config::Cost,
        usage: &config::Usage,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            log,
            clock,
            calendar: Calendar::new(budget).context("[budget]")?,
            rates: rates(cost),
            permits: Arc::new(Semaphore::new(usage.reports_max)),
            timeout: usage.report_timeout,
        })
    }

    /// Answers `GET /v1/usage`: a tenant's key sees its tenant, an operator's all of them.
    ///
    /// # Errors
    /// `invalid-request` with the parameter, `rate-limited` when others are at it, `unavailable`
    /// when the ledger cannot be read in time.
    pub async fn answer(
        &self,
        scope: Option<&Tenant>,
        query: &[(String, String)],
    ) -> Result<UsageReport, Problem> {
        let invalid = |error: Unreadable| {
            Problem::new(ProblemCode::InvalidRequest, error.to_string()).field(error.name)
        };
        let (args, group_by) = parameters(scope, query).map_err(invalid)?;
        let today = self.calendar.day(self.clock.now());
        let range = Range::new(&args, &self.calendar, today).map_err(invalid)?;
        let by = dimensions(&group_by).map_err(invalid)?;
        let Ok(_permit) = self.permits.try_acquire() else {
            let detail = "other usage reports are being made; try again shortly";
            return Err(Problem::new(ProblemCode::RateLimited, detail).retry_after(5));
        };
        let report = report(&self.log, &range, by, self.rates.as_ref());
        match tokio::time::timeout(self.timeout, report).await {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(ReportError::TooMany(error))) => {
                Err(Problem::new(ProblemCode::InvalidRequest, error.to_string()))
            }
            Ok(Err(ReportError::Log(error))) => {
                tracing::warn!(error = %telemetry::chain(&error), "a usage report was not made");
                let detail = "the ledger cannot be read now; try again shortly";
                Err(Problem::new(ProblemCode::Unavailable, detail).retry_after(2))
            }
            Err(_) => {
                let detail = "the report took too long; ask for fewer days, or use \
                              `kling-relay usage report`, which takes its time";
                Err(Problem::new(ProblemCode::Unavailable, detail).retry_after(60))
            }
        }
    }
}

/// Reads the query: `group_by` may be repeated, or hold several with commas.
fn parameters(
    scope: Option<&Tenant>,
    query: &[(String, String)],
) -> Result<(UsageArgs, Vec<String>), Unreadable> {
    let (mut args, mut group_by) = (UsageArgs::default(), Vec::new());
    for (name, value) in query {
        match name.as_str() {
            "from" => args.from = Some(value.clone()),
            "to" => args.to = Some(value.clone()),
            "tenant" => args.tenant = Some(value.clone()),
            "label" => args.label = Some(label(value)),
            "group_by" => group_by.extend(value.split(',').map(str::to_owned)),
            _ => {
                let known = "is unknown; this path takes from, to, tenant, label and group_by";
                return Err(Unreadable::new("parameter", known));
            }
        }
    }
    if let Some(own) = scope {
        if args
            .tenant
            .as_deref()
            .is_some_and(|asked| asked != own.as_str())
        {
            return Err(Unreadable::new("tenant", "is not yours: leave it out"));
        }
        args.tenant = Some(own.to_string());
    }
    if group_by.is_empty() {
        group_by.push("day".to_owned());
    }
    Ok((args, group_by))
}

/// The list of tasks takes `key:value`; `key=value` is understood as well. A key has neither.
fn label(value: &str) -> String {
    match value.split_once([':', '=']) {
        Some((key, value)) => format!("{key}={value}"),
        None => value.to_owned(),
    }
}

/// What stands in a table: one column for each unit, and only what somebody has.
struct Columns<'a> {
    units: Vec<Unit>,
    held: bool,
    saved: bool,
    cost: Option<&'a Cost>,
}

fn shown(report: &UsageReport) -> String {
    let total = &report.total;
    let head = format!("{} to {}", report.from, report.to);
    let of = [report.tenant.clone(), report.label.clone()];
    let of: Vec<String> = of.into_iter().flatten().collect();
    let head = [head].into_iter().chain(of).collect::<Vec<_>>().join("  ");
    if report.groups.is_empty() {
        return format!("{head}: nothing was used");
    }
    let columns = Columns {
        units: total_units(report),
        held: report
            .groups
            .iter()
            .any(|group| !group.totals.held.is_empty()),
        saved: report
            .groups
            .iter()
            .any(|group| !group.totals.saved.is_empty()),
        cost: total.cost.as_ref(),
    };
    let names = report.group_by.iter();
    let mut heading: Vec<String> = names.clone().map(|name| name.to_uppercase()).collect();
    heading.extend(columns.heading());
    let mut rows = vec![heading];
    for group in &report.groups {
        let value = |name: &String| group.group.get(name).cloned().flatten();
        let mut row: Vec<String> = names
            .clone()
            .map(|name| value(name).unwrap_or_else(|| "-".to_owned()))
            .collect();
        row.extend(columns.row(&group.totals));
        rows.push(row);
    }
    let mut last = vec![String::new(); report.group_by.len()];
    if let Some(first) = last.first_mut() {
        *first = "total".to_owned();
    }
    last.extend(columns.row(total));
    rows.push(last);
    let mut text = format!("{head}\n{}", figures_table(&rows, report.group_by.len()));
    if let Some(cost) = columns.cost.filter(|cost| !cost.without.is_empty()) {
        let without: Vec<&str> = cost.without.iter().map(|unit| unit.as_str()).collect();
        text += &format!(
            "\nthe cost leaves out {}: [pricing.cost] has no rate for it",
            without.join(", ")
        );
    }
    text
}

/// A unit can stand in groups and come to nothing in the total.
fn total_units(report: &UsageReport) -> Vec<Unit> {
    let used = |unit: &Unit| {
        let mut groups = report
            .groups
            .iter()
            .flat_map(|group| &group.totals.deducted);
        groups.any(|amount| amount.unit == *unit)
    };
    Unit::ALL.into_iter().filter(used).collect()
}

impl Columns<'_> {
    fn heading(&self) -> Vec<String> {
        let fixed = ["TASKS", "SUCCEEDED", "FAILED", "SUCCESS", "LATENCY"];
        let mut heading = fixed.map(str::to_owned).to_vec();
        heading.extend(self.units.iter().map(|unit| unit.as_str().to_uppercase()));
        heading.extend(self.held.then(|| "HELD".to_owned()));
        heading.extend(self.saved.then(|| "SAVED".to_owned()));
        heading.extend(self.cost.map(|cost| format!("COST {}", cost.currency)));
        heading
    }

    fn row(&self, totals: &UsageTotals) -> Vec<String> {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let success = totals
            .success_rate
            .map(|share| share * Decimal::ONE_HUNDRED);
        let latency = totals.mean_latency_seconds;
        let mut row = vec![
            totals.tasks.to_string(),
            totals.succeeded.to_string(),
            totals.failed.to_string(),
            or_none(success.map(|percent| format!("{} %", rounded(percent, 1)))),
            or_none(latency.map(|seconds| format!("{} s", rounded(seconds, 1)))),
        ];
        row.extend(self.units.iter().map(|unit| {
            let of_unit = totals.deducted.iter().find(|amount| amount.unit == *unit);
            of_unit.map_or_else(|| "0".to_owned(), |amount| amount.amount.to_string())
        }));
        row.extend(self.held.then(|| listed(&totals.held)));
        row.extend(self.saved.then(|| listed(&totals.saved)));
        if self.cost.is_some() {
            let cost = totals.cost.as_ref();
            row.push(or_none(cost.map(|cost| rounded(cost.amount, 2))));
        }
        row
    }
}

fn listed(amounts: &[Amount]) -> String {
    if amounts.is_empty() {
        return "-".to_owned();
    }
    let amounts: Vec<String> = amounts.iter().map(ToString::to_string).collect();
    amounts.join(", ")
}

/// Writes a figure with so many places.
fn rounded(figure: Decimal, places: u32) -> String {
    let mut figure = figure.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero);
    figure.rescale(places);
    figure.to_string()
}
