//! `budget`: a day's held, deducted and remaining by unit, and changes of its limits.

use std::collections::BTreeMap;

use anyhow::Context;
use rust_decimal::Decimal;
use serde::Serialize;

use super::connect::Connected;
use super::output::{Output, table};
use crate::cli::SetLimitArgs;
use crate::decide::ledger::{Limits, day_budget, with_limits};
use crate::edge::nats::log::ReadFrom;
use crate::edge::nats::topology;
use crate::model::amount::Unit;
use crate::model::answer::DayBudget;
use crate::model::ids::Day;
use crate::model::ledger::{Balance, EntryKind, LedgerEntry, LedgerKey, LedgerOwner};
use crate::model::operator::SetLimit;

/// Entries of a ledger that are read at once.
const PAGE: usize = 1_000;

/// What `show` prints.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    budget: DayBudget,
    /// Whether the day has no entry yet, so that the limits are the configuration's.
    untouched: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<Change>>,
}

/// A `limit` entry: how the day opened, or what a person changed.
#[derive(Debug, Serialize)]
struct Change {
    at: jiff::Timestamp,
    limits: BTreeMap<Unit, Decimal>,
    who: Option<String>,
    reason: Option<String>,
}

/// Shows a day of a tenant, or of `_account`; `limits` are those that an untouched day opens with.
///
/// # Errors
/// That the log does not answer.
pub async fn show(
    link: &Connected,
    key: &LedgerKey,
    limits: &Limits,
    history: bool,
    output: Output,
) -> anyhow::Result<bool> {
    let balance = link.log.balance(key).await?;
    let untouched = balance.is_none();
    let balance = balance.unwrap_or_else(|| with_limits(Balance::new(), limits));
    let budget = day_budget(key, balance);
    let history = match history {
        true => Some(changes(link, key).await?),
        false => None,
    };
    let mut text = described(&budget);
    if untouched {
        text.push_str("\nnothing was held or taken yet; these limits are the configuration's");
    }
    if let Some(changes) = &history {
        text.push_str(&format!("\n\n{}", listed(changes)));
    }
    let document = Shown {
        budget,
        untouched,
        history,
    };
    output.result(&document, &text);
    Ok(true)
}

/// Changes one limit through the running service, and shows the day as it is then.
///
/// # Errors
/// The service's refusal, or that there is none.
pub async fn set(link: &Connected, wish: SetLimit, output: Output) -> anyhow::Result<bool> {
    let body = serde_json::to_vec(&wish)?;
    let subject = topology::SET_LIMIT.to_owned();
    let budget: DayBudget = link.ask(subject, body, None).await?;
    output.result(&budget, &described(&budget));
    Ok(true)
}

/// Reads whose day is meant.
///
/// # Errors
/// Names the flag.
pub fn key(tenant: &str, day: Option<&str>, today: Day) -> anyhow::Result<LedgerKey> {
    let owner = LedgerOwner::parse(tenant)?;
    let day = day.map(parse_day).transpose()?.unwrap_or(today);
    Ok(LedgerKey { owner, day })
}

/// Reads what is to be changed.
///
/// # Errors
/// Names the flag.
pub fn wish(args: &SetLimitArgs) -> anyhow::Result<SetLimit> {
    LedgerOwner::parse(&args.tenant)?;
    let names = || Unit::ALL.map(Unit::as_str).join(", ");
    let unit = Unit::from_name(&args.unit)
        .with_context(|| format!("--unit {:?}: use one of {}", args.unit, names()))?;
    Ok(SetLimit {
        tenant: args.tenant.clone(),
        day: args.day.as_deref().map(parse_day).transpose()?,
        unit,
        limit: args.limit,
        who: args.who.clone(),
        reason: args.reason.clone(),
    })
}

fn parse_day(day: &str) -> anyhow::Result<Day> {
    day.parse()
        .with_context(|| format!("--day {day:?}: use 2026-11-21"))
}

/// Reads the `limit` entries of a day, in order.
async fn changes(link: &Connected, key: &LedgerKey) -> anyhow::Result<Vec<Change>> {
    let subject = topology::ledger_subject(key);
    let mut changes = Vec::new();
    let mut next = 1;
    loop {
        let from = ReadFrom::Sequence(next);
        let page = link.log.read(&subject, from, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(changes);
        };
        next = last.seq + 1;
        for message in &page {
            let entry = message.ledger_entry()?;
            changes.extend((entry.kind == EntryKind::Limit).then(|| change(entry)));
        }
    }
}

/// A person changes one unit's limit; the day opens with all of them.
fn change(entry: LedgerEntry) -> Change {
    let concerns = |unit: &Unit| entry.unit.is_none_or(|changed| changed == *unit);
    let limits = entry.balance.iter().filter(|(unit, _)| concerns(unit));
    Change {
        at: entry.occurred_at,
        limits: limits
            .filter_map(|(unit, of_unit)| Some((*unit, of_unit.limit?)))
            .collect(),
        who: entry.who,
        reason: entry.reason,
    }
}

fn described(budget: &DayBudget) -> String {
    let heading = ["UNIT", "HELD", "DEDUCTED", "LIMIT", "REMAINING", "USED"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (unit, of_unit) in &budget.balance {
        let left = budget.remaining.iter().find(|left| left.unit == *unit);
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            unit.to_string(),
            of_unit.held.to_string(),
            of_unit.deducted.to_string(),
            or_none(of_unit.limit.map(|limit| limit.to_string())),
            or_none(left.map(|left| left.amount.to_string())),
            or_none(budget.used.get(unit).map(|share| percent(*share))),
        ]);
    }
    format!("{}  {}\n{}", budget.tenant, budget.day, table(&rows))
}

fn percent(share: Decimal) -> String {
    format!(
        "{} %",
        (share * Decimal::ONE_HUNDRED).round_dp(1).normalize()
    )
}

fn listed(changes: &[Change]) -> String {
    let heading = ["SINCE", "LIMIT", "WHO", "WHY"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(changes.iter().map(|change| {
        let limits = change.limits.iter();
        let limits = limits.map(|(unit, limit)| format!("{limit} {unit}"));
        vec![
            change.at.to_string(),
            limits.collect::<Vec<_>>().join(", "),
            change.who.clone().unwrap_or_else(|| "-".to_owned()),
            change.reason.clone().unwrap_or_default(),
        ]
    }));
    table(&rows)
}
