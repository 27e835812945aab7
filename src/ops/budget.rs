//! `budget show`: held, deducted and remaining by unit.

use anyhow::Context;
use serde_json::json;

use super::connect::Connected;
use super::output::{Output, table};
use crate::decide::ledger;
use crate::model::ids::{ACCOUNT, Day, Tenant};
use crate::model::ledger::{Balance, LedgerKey, LedgerOwner};

/// Shows a day of a tenant, or of `_account`.
///
/// # Errors
/// A tenant or day that cannot be read, or that the log does not answer.
pub async fn show(
    link: &Connected,
    tenant: &str,
    day: Option<&str>,
    today: Day,
    output: Output,
) -> anyhow::Result<bool> {
    let key = key(tenant, day, today)?;
    let day = key.day;
    let balance = link.log.balance(&key).await?;
    let document = json!({ "tenant": tenant, "day": day, "balance": balance });
    let text = match &balance {
        Some(balance) => format!("{tenant}  {day}\n{}", rows(balance)),
        None => format!("{tenant}  {day}: nothing was held or taken"),
    };
    output.result(&document, &text);
    Ok(true)
}

/// Reads whose day is meant.
///
/// # Errors
/// Names the flag.
pub fn key(tenant: &str, day: Option<&str>, today: Day) -> anyhow::Result<LedgerKey> {
    let owner = match tenant {
        ACCOUNT => LedgerOwner::Account,
        name => LedgerOwner::Tenant(Tenant::parse(name)?),
    };
    let day = match day {
        Some(day) => day
            .parse()
            .with_context(|| format!("--day {day:?}: use 2026-11-21"))?,
        None => today,
    };
    Ok(LedgerKey { owner, day })
}

fn rows(balance: &Balance) -> String {
    let heading = ["UNIT", "HELD", "DEDUCTED", "LIMIT", "REMAINING"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (unit, of_unit) in balance {
        let limit = of_unit
            .limit
            .map_or("none".to_owned(), |limit| limit.to_string());
        let left = ledger::remaining(balance, *unit).map_or("-".to_owned(), |l| l.to_string());
        rows.push(vec![
            unit.to_string(),
            of_unit.held.to_string(),
            of_unit.deducted.to_string(),
            limit,
            left,
        ]);
    }
    table(&rows)
}
