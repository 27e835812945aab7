//! `reconcile`: our ledger, the tasks' own bills and Kling's deduction records, day by day.
//!
//! Comparing reads only; what is posted goes through the running service, which alone moves money.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

use super::connect::Connected;
use super::output::{Output, table};
use crate::decide::budget::day_of;
use crate::decide::reconcile::{Class, DayReport, Finding, Totals};
use crate::edge::nats::topology;
use crate::model::amount::{Amount, Unit};
use crate::model::answer::Adjusted;
use crate::model::ids::{Day, Tenant};
use crate::model::operator::{Adjust, AdjustChange};
use crate::stage::ledger_audit::{AuditRules, LedgerAudit};

/// Findings that one report holds; further ones are counted, and found again by a shorter range.
const FINDINGS_MAX: usize = 10_000;
/// Days of one run.
const DAYS_MAX: usize = 400;
/// Changes in one call to the service.
const CHANGES_MAX: usize = 200;

/// Which days of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first budget day.
    pub from: Day,
    /// The last one.
    pub to: Day,
    /// Of one tenant only.
    pub tenant: Option<Tenant>,
}

impl Range {
    /// Reads the flags: budget days, or times in them.
    ///
    /// # Errors
    /// Names the flag.
    pub fn parse(
        (from, to): (Option<&str>, Option<&str>),
        tenant: Option<&str>,
        default: Day,
        rules: &AuditRules,
    ) -> anyhow::Result<Self> {
        let from = from.map_or(Ok(default), |text| day("--from", text, rules))?;
        let to = to.map_or(Ok(from), |text| day("--to", text, rules))?;
        if to < from {
            bail!("--to {to} lies before --from {from}");
        }
        let tenant = tenant.map(Tenant::parse).transpose()?;
        let range = Self { from, to, tenant };
        if range.days().nth(DAYS_MAX).is_some() {
            bail!("--from {from} --to {to}: at most {DAYS_MAX} days at once");
        }
        Ok(range)
    }

    fn days(&self) -> impl Iterator<Item = Day> {
        let last = self.to;
        std::iter::successors(Some(self.from), move |day| {
            day.0.checked_add(1.day()).ok().map(Day)
        })
        .take_while(move |day| *day <= last)
    }
}

fn day(flag: &str, text: &str, rules: &AuditRules) -> anyhow::Result<Day> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(day_of(time, &rules.time_zone, rules.day_starts));
    }
    let day = text.parse();
    day.with_context(|| format!("{flag} {text:?}: use 2026-11-21, or 2026-11-21T08:00:00Z"))
}

/// What a range comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The first budget day.
    pub from: Day,
    /// The last one.
    pub to: Day,
    /// Of one tenant only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// Tasks by class.
    pub counts: BTreeMap<Class, u64>,
    /// Totals by unit.
    pub totals: BTreeMap<Unit, Totals>,
    /// Every difference, and tasks of somebody else; at most 10,000.
    pub findings: Vec<Finding>,
    /// Findings beyond that.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// What was posted, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjusted: Option<Adjusted>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Report {
    /// Counts the tasks whose figures differ.
    #[must_use]
    pub fn differences(&self) -> u64 {
        let differ = self
            .counts
            .iter()
            .filter(|(class, _)| class.is_difference());
        differ.map(|(_, count)| count).sum()
    }

    /// Returns the differences that an adjustment would end.
    pub fn postable(&self) -> impl Iterator<Item = &Finding> {
        let postable = |finding: &&Finding| finding.class.is_difference();
        let findings = self.findings.iter().filter(postable);
        findings.filter(|finding| !finding.changes.is_empty())
    }

    fn absorb(&mut self, day: DayReport) {
        for (class, count) in day.counts {
            *self.counts.entry(class).or_default() += count;
        }
        for (unit, totals) in day.totals {
            let sum = self.totals.entry(unit).or_default();
            sum.ledger += totals.ledger;
            sum.billing += totals.billing;
            sum.records += totals.records;
        }
        let room = FINDINGS_MAX - self.findings.len();
        self.left_out += day.findings.len().saturating_sub(room) as u64;
        self.findings.extend(day.findings.into_iter().take(room));
    }
}

/// Compares a range, day by day.
///
/// # Errors
/// What could not be read; a day that could not be compared is not taken for right.
pub async fn compare(audit: &LedgerAudit, range: &Range) -> anyhow::Result<Report> {
    let mut report = Report {
        from: range.from,
        to: range.to,
        tenant: range.tenant.clone(),
        counts: BTreeMap::new(),
        totals: BTreeMap::new(),
        findings: Vec::new(),
        left_out: 0,
        adjusted: None,
    };
    for day in range.days() {
        report.absorb(audit.day(day, range.tenant.as_ref()).await?);
    }
    Ok(report)
}

/// What a person wants posted.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// Posts what Kling's figures say to correct, through the running service.
///
/// # Errors
/// The service's refusal, or that there is none; the same again is harmless.
pub async fn post(
    link: &Connected,
    report: &Report,
    signature: &Signature,
) -> anyhow::Result<Adjusted> {
    let mut by_day: BTreeMap<(Tenant, Day), Vec<AdjustChange>> = BTreeMap::new();
    for finding in report.postable() {
        let Some(task_id) = &finding.task_id else {
            continue;
        };
        let changes = finding.changes.iter().map(|change| AdjustChange {
            task_id: task_id.clone(),
            unit: change.unit,
            from: change.from,
            to: change.to,
        });
        let of_day = by_day.entry((task_id.tenant(), finding.day)).or_default();
        of_day.extend(changes);
    }
    let mut sum = Adjusted::default();
    for ((tenant, day), changes) in by_day {
        // A task's changes stand beside each other, and must stay in one call.
        let mut rest = &changes[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(whole_tasks(rest));
            rest = later;
            let wish = Adjust {
                tenant: tenant.to_string(),
                day,
                changes: now.to_vec(),
                who: signature.who.clone(),
                reason: signature.reason.clone(),
            };
            let body = serde_json::to_vec(&wish)?;
            let adjusted: Adjusted = link.ask(topology::ADJUST.to_owned(), body, None).await?;
            sum.posted += adjusted.posted;
            sum.already += adjusted.already;
            sum.moved_on.extend(adjusted.moved_on);
        }
    }
    Ok(sum)
}

/// How many changes go in one call: up to [`CHANGES_MAX`], and no task in two halves.
fn whole_tasks(changes: &[AdjustChange]) -> usize {
    let mut end = changes.len().min(CHANGES_MAX);
    while end > 1 && end < changes.len() && changes[end].task_id == changes[end - 1].task_id {
        end -= 1;
    }
    end
}

/// Runs the command. Returns whether the books agree, or have been made to.
///
/// # Errors
/// What could not be read or posted.
pub async fn run(
    link: &Connected,
    audit: &LedgerAudit,
    range: &Range,
    signature: Option<&Signature>,
    output: Output,
) -> anyhow::Result<bool> {
    let mut report = compare(audit, range).await?;
    if let Some(signature) = signature {
        report.adjusted = Some(post(link, &report, signature).await?);
    }
    output.result(&report, &text(&report));
    let open = report.differences() - report.adjusted.as_ref().map_or(0, settled);
    Ok(open == 0)
}

fn settled(adjusted: &Adjusted) -> u64 {
    adjusted.posted + adjusted.already
}

fn text(report: &Report) -> String {
    let mut parts = vec![headline(report), counts(report)];
    if !report.totals.is_empty() {
        parts.push(totals(report));
    }
    if !report.findings.is_empty() {
        parts.push(findings(report));
    }
    if report.left_out > 0 {
        let words = "more are not shown: compare fewer days at once";
        parts.push(format!("{} {words}", report.left_out));
    }
    let postable = report.postable().count();
    if let Some(adjusted) = &report.adjusted {
        parts.push(posted(adjusted));
    } else if postable > 0 {
        parts.push(format!(
            "{postable} of the differences can be corrected from Kling's figures: \
             --post --reason TEXT does it"
        ));
    }
    parts.join("\n\n")
}

fn posted(adjusted: &Adjusted) -> String {
    let mut text = format!("posted {}", adjusted.posted);
    if adjusted.already > 0 {
        text = format!("{text}, {} were right already", adjusted.already);
    }
    if !adjusted.moved_on.is_empty() {
        let count = adjusted.moved_on.len();
        text = format!("{text}, {count} have changed meanwhile: compare again");
    }
    text
}

fn headline(report: &Report) -> String {
    let whose = match &report.tenant {
        Some(tenant) => format!(", {tenant}"),
        None => String::new(),
    };
    let verdict = match report.differences() {
        0 => "the books agree".to_owned(),
        1 => "1 task DIFFERS".to_owned(),
        n => format!("{n} tasks DIFFER"),
    };
    format!("{} to {}{whose}: {verdict}", report.from, report.to)
}

fn counts(report: &Report) -> String {
    let mut rows = vec![row(&["CLASS", "TASKS"])];
    for class in Class::ALL {
        let count = report.counts.get(&class).copied().unwrap_or(0);
        if count > 0 || class == Class::Match {
            rows.push(row(&[class.as_str(), &count.to_string()]));
        }
    }
    table(&rows)
}

fn totals(report: &Report) -> String {
    let mut rows = vec![row(&["UNIT", "LEDGER", "TASK BILLING", "RECORDS"])];
    for (unit, totals) in &report.totals {
        let figures = [totals.ledger, totals.billing, totals.records];
        let figures = figures.map(|figure| figure.normalize().to_string());
        rows.push(row(&[unit.as_str(), &figures[0], &figures[1], &figures[2]]));
    }
    table(&rows)
}

/// One row for each unit of a finding.
fn findings(report: &Report) -> String {
    let heading = [
        "DAY",
        "TASK",
        "KLING ID",
        "UNIT",
        "LEDGER",
        "TASK BILLING",
        "RECORDS",
        "CLASS",
    ];
    let mut rows = vec![row(&heading)];
    for finding in &report.findings {
        let said = [
            Some(&finding.ledger),
            finding.billing.as_ref(),
            Some(&finding.records),
        ];
        let units: BTreeSet<Unit> = said
            .iter()
            .flatten()
            .flat_map(|amounts| amounts.iter().map(|amount| amount.unit))
            .collect();
        let units: Vec<Option<Unit>> = match units.is_empty() {
            true => vec![None],
            false => units.into_iter().map(Some).collect(),
        };
        for unit in units {
            let id = |id: Option<&str>| id.unwrap_or("-").to_owned();
            let mut cells = vec![
                finding.day.to_string(),
                id(finding.task_id.as_ref().map(|id| id.as_str())),
                id(finding.kling_task_id.as_ref().map(|id| id.as_str())),
                id(unit.map(Unit::as_str)),
            ];
            cells.extend(said.map(|amounts| figure(amounts, unit)));
            cells.push(finding.class.as_str().to_owned());
            rows.push(cells);
        }
    }
    table(&rows)
}

fn figure(amounts: Option<&Vec<Amount>>, unit: Option<Unit>) -> String {
    let Some(amounts) = amounts else {
        return "-".to_owned();
    };
    let of_unit = amounts.iter().find(|amount| Some(amount.unit) == unit);
    of_unit.map_or("0".to_owned(), |amount| amount.amount.to_string())
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}
