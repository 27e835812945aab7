//! Prices and balances: would it fit, and if not, the figures that say how much would.
//!
//! This gives the early answer and its words; the money writer enforces the limits when it commits.
//! Which day it is, and which limits it has, is `decide::budget`'s.

use rust_decimal::Decimal;

use crate::decide::ledger::{HoldRefused, hold};
use crate::model::amount::{Amount, Unit, sum_by_unit};
use crate::model::ledger::Balance;

/// What a 402 says: the same three figures wherever a budget refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OverBudget {
    /// The price of all tasks, by unit.
    pub needed: Vec<Amount>,
    /// What is left of the day's limits in these units: never negative, 0 without a limit.
    pub remaining: Vec<Amount>,
    /// How many of the tasks would fit, from the first one on.
    pub fits: usize,
    /// The whole story in a sentence or two.
    pub message: String,
}

/// Tells whether tasks of these prices, taken in order and all or nothing, fit into the day.
///
/// Pass the balances with their limits set (`decide::ledger::with_limits`), and the account's only
/// where there is an account-wide limit.
///
/// # Errors
/// [`OverBudget`] with the figures.
pub fn admit(
    prices: &[Amount],
    tenant: &Balance,
    account: Option<&Balance>,
) -> Result<(), OverBudget> {
    let fits = prefix_that_fits(prices, tenant, account);
    if fits == prices.len() {
        return Ok(());
    }
    let needed = sum_by_unit(prices.iter().copied());
    let remaining: Vec<Amount> = needed
        .iter()
        .map(|amount| Amount::new(left(amount.unit, tenant, account), amount.unit))
        .collect();
    Err(over_budget(prices, needed, remaining, fits))
}

/// Returns what is left of a day in every unit that may be spent, by the tighter of both limits.
#[must_use]
pub fn left_of_day(tenant: &Balance, account: Option<&Balance>) -> Vec<Amount> {
    let has_limit = |balance: &Balance, unit: &Unit| {
        balance
            .get(unit)
            .is_some_and(|of_unit| of_unit.limit.is_some())
    };
    let units = tenant.keys().filter(|unit| {
        has_limit(tenant, unit) && account.is_none_or(|account| has_limit(account, unit))
    });
    units
        .map(|unit| Amount::new(left(*unit, tenant, account), *unit))
        .collect()
}

/// Puts the figures of a refusal into words; the money writer finds them at the moment of
/// acceptance.
#[must_use]
pub fn over_budget(
    prices: &[Amount],
    needed: Vec<Amount>,
    remaining: Vec<Amount>,
    fits: usize,
) -> OverBudget {
    let message = message(prices, &needed, &remaining, fits);
    OverBudget {
        needed,
        remaining,
        fits,
        message,
    }
}

/// The greatest number of tasks, from the first one on, that both ledgers would hold.
fn prefix_that_fits(prices: &[Amount], tenant: &Balance, account: Option<&Balance>) -> usize {
    let mut tenant = tenant.clone();
    let mut account = account.cloned();
    for (index, price) in prices.iter().enumerate() {
        let after = hold_both(&tenant, account.as_ref(), *price);
        match after {
            Ok((after_tenant, after_account)) => {
                tenant = after_tenant;
                account = after_account;
            }
            Err(HoldRefused::NoLimit(_) | HoldRefused::OverLimit { .. }) => return index,
        }
    }
    prices.len()
}

fn hold_both(
    tenant: &Balance,
    account: Option<&Balance>,
    price: Amount,
) -> Result<(Balance, Option<Balance>), HoldRefused> {
    let tenant = hold(tenant, price)?;
    let account = account.map(|account| hold(account, price)).transpose()?;
    Ok((tenant, account))
}

fn left(unit: Unit, tenant: &Balance, account: Option<&Balance>) -> Decimal {
    let of = |balance: &Balance| {
        crate::decide::ledger::remaining(balance, unit).unwrap_or(Decimal::ZERO)
    };
    let tenants = of(tenant);
    account.map_or(tenants, |account| tenants.min(of(account)))
}

fn message(prices: &[Amount], needed: &[Amount], remaining: &[Amount], fits: usize) -> String {
    let list = |amounts: &[Amount]| {
        let words: Vec<String> = amounts.iter().map(Amount::to_string).collect();
        words.join(" and ")
    };
    let who = match prices.len() {
        1 => "The task",
        _ => "Batch",
    };
    let (needed, left) = (list(needed), list(remaining));
    let mut text = format!("{who} needs {needed} but only {left} remaining. ");
    let videos = prices.iter().all(|price| price.unit == Unit::Video);
    let noun = if videos { "video" } else { "task" };
    text += &match (prices.len(), fits) {
        (1, _) => "Lower mode, shorten it, or wait for the next day.".to_owned(),
        (_, 0) => "None fits: lower mode, or wait for the next day.".to_owned(),
        (_, 1) => format!("Reduce to 1 {noun} or lower mode."),
        (_, fits) => format!("Reduce to {fits} {noun}s or lower mode."),
    };
    text
}
