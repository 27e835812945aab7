//! What an ended task takes from packs and cash, and what the deduction records say of it.
//!
//! The task's own bill and the records are two views of one deduction; `record=…` tags make them
//! disagree, and then the records say what was really taken.
//!
//! Source: platform reference 7.4, 7.5.

use rust_decimal::Decimal;

use super::catalogue::Pack;
use super::state::State;
use super::tags::{BillingFault, RecordFault};
use super::task::Status;

/// Where an amount was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purse {
    /// A pack of this type: the account has two of each.
    Pack(Pack, u8),
    /// The cash balance, in US dollars.
    Cash,
}

impl Purse {
    /// Its name in stats.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pack(pack, _) => pack.name(),
            Self::Cash => "cash",
        }
    }
}

/// One deduction record.
#[derive(Debug, Clone)]
pub(super) struct Deduction {
    pub(super) task: u64,
    pub(super) at_ms: i64,
    pub(super) purse: Purse,
    pub(super) amount: Decimal,
    pub(super) before: Decimal,
    pub(super) after: Decimal,
}

/// Settles an ended task: a task that failed before generation costs nothing.
///
/// Source: platform reference 7.4.
pub(super) fn deduct(state: &mut State, id: u64) {
    let Some(task) = state.tasks.get_mut(&id) else {
        return;
    };
    let pack = task.product.pack;
    let mut units = match task.status {
        Status::Failed => Decimal::ZERO,
        Status::Submitted | Status::Processing | Status::Succeeded => task.price,
    };
    let mut from_pack = None;
    for fault in &task.faults.billing {
        match fault {
            BillingFault::Over(more) => units += more,
            BillingFault::Amount(exact) => units = *exact,
            BillingFault::Cash(part) => from_pack = Some(*part),
            BillingFault::None | BillingFault::Never | BillingFault::Split => {}
        }
    }
    let in_units = from_pack.map_or(units, |part| units.min(part));
    let in_cash = ((units - in_units) * dollars(pack)).normalize();
    task.deducted = Some(in_units);
    task.paid_cash = in_cash;
    let mut lines = vec![(Purse::Pack(pack, 1), in_units), (Purse::Cash, in_cash)];
    lines.retain(|(purse, amount)| {
        !amount.is_zero() || (in_cash.is_zero() && *purse != Purse::Cash)
    });
    for fault in &task.faults.record {
        lines = falsified(fault, pack, units, lines);
    }
    let (price, at_ms) = (task.price, task.updated_ms);
    if let Some(balance) = state.packs.get_mut(&pack) {
        balance.reserved -= price;
    }
    for (purse, amount) in lines {
        let left = match purse {
            Purse::Pack(pack, _) => match state.packs.get_mut(&pack) {
                Some(balance) => &mut balance.remaining,
                None => continue,
            },
            Purse::Cash => &mut state.cash,
        };
        let before = *left;
        *left -= amount;
        let after = *left;
        state.records.push(Deduction {
            task: id,
            at_ms,
            purse,
            amount,
            before,
            after,
        });
    }
}

fn falsified(
    fault: &RecordFault,
    pack: Pack,
    units: Decimal,
    lines: Vec<(Purse, Decimal)>,
) -> Vec<(Purse, Decimal)> {
    match fault {
        RecordFault::Missing => Vec::new(),
        RecordFault::Amount(amount) => vec![(Purse::Pack(pack, 1), *amount)],
        RecordFault::Twice => [lines.clone(), lines].concat(),
        RecordFault::Split => {
            let half = (units / Decimal::TWO).round_dp(2);
            let second = (Purse::Pack(pack, 2), units - half);
            vec![(Purse::Pack(pack, 1), half), second]
        }
        RecordFault::Cash => vec![(Purse::Cash, units * dollars(pack))],
        RecordFault::Pack(other) => vec![(Purse::Pack(*other, 1), units)],
    }
}

/// List price of a unit, in US dollars.
///
/// Source: platform reference 7.1.
fn dollars(pack: Pack) -> Decimal {
    match pack {
        Pack::Video => Decimal::new(14, 2),
        Pack::Image => Decimal::new(35, 4),
        Pack::TryOn => Decimal::new(7, 2),
    }
}
