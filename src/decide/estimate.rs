//! Prices and what is left of the days that would hold them → the answer to "what would it cost,
//! and may I?".

use std::collections::BTreeMap;

use crate::decide::admission::{OverBudget, admit, over_budget};
use crate::decide::advice;
use crate::decide::ledger::{Limits, with_limits};
use crate::model::amount::{Amount, sum_by_unit};
use crate::model::answer::{DayEstimate, Estimate, Estimates};
use crate::model::ids::Day;
use crate::model::ledger::Balance;

/// Answers for tasks in their order. `left` has what is left of each day, by unit; a unit without
/// a limit is not there.
#[must_use]
pub fn estimates(tasks: Vec<Estimate>, left: &BTreeMap<Day, Vec<Amount>>) -> Estimates {
    let mut places: BTreeMap<Day, Vec<usize>> = BTreeMap::new();
    for (place, task) in tasks.iter().enumerate() {
        places.entry(task.day).or_default().push(place);
    }
    let mut fits = tasks.len();
    let mut days = Vec::with_capacity(places.len());
    for (day, places) in places {
        let prices: Vec<Amount> = places.iter().map(|place| tasks[*place].price).collect();
        let left = left.get(&day).map_or(&[][..], Vec::as_slice);
        if let Err(over) = admit(&prices, &as_balance(left), None) {
            fits = fits.min(places[over.fits]);
        }
        let needed = sum_by_unit(prices);
        let asked = |left: &&Amount| needed.iter().any(|amount| amount.unit == left.unit);
        let remaining = left.iter().filter(asked).copied().collect();
        days.push(DayEstimate {
            day,
            needed,
            remaining,
        });
    }
    let total = sum_by_unit(tasks.iter().map(|task| task.price));
    let allowed = fits == tasks.len();
    // The day of the first task that does not fit, or else the first day.
    let shown = tasks.get(fits).map(|task| task.day);
    let shown = days.iter().find(|day| shown.is_none_or(|at| at == day.day));
    Estimates {
        remaining: shown.map(remaining_of).unwrap_or_default(),
        estimates: tasks,
        total,
        allowed,
        fits,
        days,
        advice: None,
    }
}

/// Joins the answers for the parts of a file: what fits, fits over all of it.
#[must_use]
pub fn join(parts: Vec<Estimates>) -> Estimates {
    let mut left: BTreeMap<Day, Vec<Amount>> = BTreeMap::new();
    let (mut tasks, mut advices) = (Vec::new(), Vec::new());
    for part in parts {
        for day in part.days {
            let known = left.entry(day.day).or_default();
            for amount in day.remaining {
                if known.iter().all(|known| known.unit != amount.unit) {
                    known.push(amount);
                }
            }
        }
        advices.push(part.advice.map(|advice| (part.estimates.len(), advice)));
        tasks.extend(part.estimates);
    }
    let mut joined = estimates(tasks, &left);
    let advices: Option<Vec<_>> = advices.into_iter().collect();
    joined.advice = advices.map(|parts| advice::join(&joined.estimates, &parts));
    joined
}

/// Says why the budget does not allow all of it, in the words of a refusal; nothing if it does.
#[must_use]
pub fn over(estimates: &Estimates) -> Option<OverBudget> {
    let day = estimates.estimates.get(estimates.fits)?.day;
    let short = estimates.days.iter().find(|of| of.day == day)?;
    let prices: Vec<Amount> = estimates.estimates.iter().map(|task| task.price).collect();
    let (needed, remaining) = (short.needed.clone(), remaining_of(short));
    let mut over = over_budget(&prices, needed, remaining, estimates.fits);
    if estimates.days.len() > 1 {
        over.message = format!("{day}: {}", over.message);
    }
    Some(over)
}

/// What is left in the units that are needed: 0 without a limit.
fn remaining_of(day: &DayEstimate) -> Vec<Amount> {
    let left = |needed: &Amount| {
        let left = day.remaining.iter().find(|left| left.unit == needed.unit);
        left.copied().unwrap_or(Amount::zero(needed.unit))
    };
    day.needed.iter().map(left).collect()
}

fn as_balance(left: &[Amount]) -> Balance {
    let limits: Limits = left.iter().map(|left| (left.unit, left.amount)).collect();
    with_limits(Balance::new(), &limits)
}
