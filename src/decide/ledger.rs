//! Hold, settle, void: the arithmetic of a day's money and its laws.
//!
//! Laws: held is never negative; a hold is accepted only if held + deducted stays within the limit;
//! a closing takes away exactly what its hold set aside, and may deduct more than that (an overrun
//! is recorded, never refused).

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::model::amount::{Amount, Unit, sum_by_unit};
use crate::model::answer::DayBudget;
use crate::model::ledger::{Balance, Basis, EntryKind, LedgerEntry, LedgerKey, UnitBalance};
use crate::model::task::Status;

/// The limits of one owner's day, by unit.
pub type Limits = BTreeMap<Unit, Decimal>;

/// Why a hold was refused. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldRefused {
    /// The unit has no limit: spending in it was never allowed.
    NoLimit(Unit),
    /// Held and deducted would exceed the limit.
    OverLimit {
        /// What was asked for.
        needed: Amount,
        /// What is left of the day's limit; never negative.
        remaining: Amount,
    },
}

/// Sets the day's limits: units that the day has not seen yet appear with nothing held.
#[must_use]
pub fn with_limits(mut balance: Balance, limits: &Limits) -> Balance {
    for (unit, limit) in limits {
        balance.entry(*unit).or_default().limit = Some(*limit);
    }
    balance
}

/// Returns what is left of a unit's limit; `None` where it has none.
#[must_use]
pub fn remaining(balance: &Balance, unit: Unit) -> Option<Decimal> {
    let unit_balance = balance.get(&unit)?;
    let left = unit_balance.limit? - unit_balance.held - unit_balance.deducted;
    Some(left.max(Decimal::ZERO).normalize())
}

/// Returns held and deducted as a share of the limit, to four places; `None` without a limit. What
/// is beyond a decimal is the largest one.
#[must_use]
pub fn used_share(of_unit: &UnitBalance) -> Option<Decimal> {
    let limit = of_unit.limit.filter(|limit| *limit > Decimal::ZERO)?;
    let used = of_unit.held.saturating_add(of_unit.deducted);
    let share = used.checked_div(limit).unwrap_or(Decimal::MAX);
    Some(share.round_dp(4).normalize())
}

/// Says what follows from a day's balance.
#[must_use]
pub fn day_budget(key: &LedgerKey, balance: Balance) -> DayBudget {
    let left = |unit: &Unit| Some(Amount::new(remaining(&balance, *unit)?, *unit));
    let used = |(unit, of_unit): (&Unit, &UnitBalance)| Some((*unit, used_share(of_unit)?));
    DayBudget {
        tenant: key.owner.as_str().to_owned(),
        day: key.day,
        remaining: balance.keys().filter_map(left).collect(),
        used: balance.iter().filter_map(used).collect(),
        balance,
    }
}

/// Sets an amount aside.
///
/// # Errors
/// [`HoldRefused`] when the unit has no limit or the limit would be exceeded.
pub fn hold(balance: &Balance, amount: Amount) -> Result<Balance, HoldRefused> {
    let Some(left) = remaining(balance, amount.unit) else {
        return Err(HoldRefused::NoLimit(amount.unit));
    };
    if amount.amount > left {
        let remaining = Amount::new(left, amount.unit);
        return Err(HoldRefused::OverLimit {
            needed: amount,
            remaining,
        });
    }
    let mut after = balance.clone();
    let unit_balance = after.entry(amount.unit).or_default();
    unit_balance.held = (unit_balance.held + amount.amount).normalize();
    Ok(after)
}

/// Sets an amount aside whatever the limit says: Kling has it already, and only our log did not.
#[must_use]
pub fn hold_anyway(balance: &Balance, amount: Amount) -> Balance {
    let mut after = balance.clone();
    let unit_balance = after.entry(amount.unit).or_default();
    unit_balance.held = (unit_balance.held + amount.amount).normalize();
    after
}

/// Takes `held` from what is set aside and adds `deducted`, both in the hold's unit.
#[must_use]
pub fn close(balance: &Balance, held: Amount, deducted: Decimal) -> Balance {
    let after = deduct(balance, Amount::new(deducted, held.unit));
    release(after, held)
}

/// Adds a deduction, whatever the limit says: Kling has already taken it.
#[must_use]
pub fn deduct(balance: &Balance, amount: Amount) -> Balance {
    let mut after = balance.clone();
    let unit_balance: &mut UnitBalance = after.entry(amount.unit).or_default();
    unit_balance.deducted = (unit_balance.deducted + amount.amount).normalize();
    after
}

fn release(mut balance: Balance, held: Amount) -> Balance {
    let unit_balance = balance.entry(held.unit).or_default();
    unit_balance.held = (unit_balance.held - held.amount).normalize();
    balance
}

/// A threshold that an entry crossed for the first time on its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// Which unit's budget.
    pub unit: Unit,
    /// The threshold, as a share of the limit.
    pub threshold: Decimal,
    /// Held and deducted.
    pub used: Decimal,
    /// The limit.
    pub limit: Decimal,
}

/// Finds the thresholds that a balance has reached and not yet alerted, and marks them as alerted.
#[must_use]
pub fn mark_alerts(mut balance: Balance, thresholds: &[Decimal]) -> (Balance, Vec<Crossed>) {
    let mut crossed = Vec::new();
    for (unit, unit_balance) in &mut balance {
        let Some(limit) = unit_balance.limit.filter(|limit| *limit > Decimal::ZERO) else {
            continue;
        };
        let used = unit_balance.held + unit_balance.deducted;
        for threshold in thresholds {
            if used >= limit * threshold && !unit_balance.alerted.contains(threshold) {
                unit_balance.alerted.push(*threshold);
                crossed.push(Crossed {
                    unit: *unit,
                    threshold: *threshold,
                    used,
                    limit,
                });
            }
        }
    }
    (balance, crossed)
}

/// Tells whether an entry is the one that closes a task. A closing in several units has one entry
/// for each: the first closes the hold and carries Kling's figures, the others carry none.
#[must_use]
pub fn closes_task(entry: &LedgerEntry) -> bool {
    match entry.kind {
        EntryKind::Void => true,
        EntryKind::Settlement => entry.basis != Some(Basis::Billed) || !entry.billed.is_empty(),
        EntryKind::Hold | EntryKind::Adjustment | EntryKind::Limit => false,
    }
}

/// Tells whether Kling's own figure stands beside an estimate in the same unit. Kling never bills
/// in credits, and what it billed in another unit than the book's is no drift of the book.
#[must_use]
pub fn is_comparable(entry: &LedgerEntry) -> bool {
    entry.basis == Some(Basis::Billed)
        && entry.outcome.as_deref() == Some(Status::Succeeded.as_str())
        && entry.unit != Some(Unit::Credit)
        && !entry.deducted_change.is_zero()
}

/// How a hold closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Whether the figures are Kling's.
    pub basis: Basis,
    /// What is taken, by unit; the hold's unit always stands first, even with 0.
    pub deduction: Vec<Amount>,
    /// What is taken above the hold, by unit.
    pub overrun: Vec<Amount>,
}

impl Closing {
    /// Tells whether nothing was taken at all.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.deduction.iter().all(|amount| amount.amount.is_zero())
    }
}

/// Decides what an ended task costs: Kling's own figures where it gave them, else the hold for a
/// success and nothing for a failure, marked as assumed.
///
/// A hold in a unit that Kling does not bill in (`credit`) is charged whole by any deduction.
#[must_use]
pub fn closing(held: Amount, status: Status, billing: Option<&[Amount]>) -> Closing {
    let Some(billing) = billing else {
        let taken = match status {
            Status::Succeeded => held,
            Status::Requested
            | Status::Dispatching
            | Status::Submitted
            | Status::Processing
            | Status::Failed => Amount::zero(held.unit),
        };
        return Closing {
            basis: Basis::Assumed,
            deduction: vec![taken],
            overrun: Vec::new(),
        };
    };
    let billed = sum_by_unit(billing.iter().copied());
    let deduction = if held.unit == Unit::Credit {
        let any = billed.iter().any(|amount| amount.amount > Decimal::ZERO);
        vec![if any { held } else { Amount::zero(held.unit) }]
    } else {
        let of_hold = |amount: &&Amount| amount.unit == held.unit;
        let first = billed
            .iter()
            .find(of_hold)
            .copied()
            .unwrap_or(Amount::zero(held.unit));
        let others = billed.iter().filter(|amount| !of_hold(amount)).copied();
        std::iter::once(first)
            .chain(others.filter(|amount| !amount.amount.is_zero()))
            .collect()
    };
    let overrun = deduction
        .iter()
        .filter_map(|taken| {
            let set_aside = if taken.unit == held.unit {
                held.amount
            } else {
                Decimal::ZERO
            };
            let over = taken.amount - set_aside;
            (over > Decimal::ZERO).then(|| Amount::new(over, taken.unit))
        })
        .collect();
    Closing {
        basis: Basis::Billed,
        deduction,
        overrun,
    }
}
