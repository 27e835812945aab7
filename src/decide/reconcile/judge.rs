//! The verdict on one task.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::books::Booked;
use super::{Change, Class, Patience, Sums, sums};
use crate::model::amount::{Amount, Unit};
use crate::model::ledger::Basis;

pub(super) struct Verdict {
    pub(super) class: Class,
    pub(super) changes: Vec<Change>,
}

impl Verdict {
    fn plain(class: Class) -> Self {
        let changes = Vec::new();
        Self { class, changes }
    }
}

/// Judges one task; `None` where there is nothing to say, since nobody took anything.
pub(super) fn judge(booked: &Booked, patience: Patience) -> Option<Verdict> {
    if booked.records.unreadable {
        return Some(Verdict::plain(Class::Unreadable));
    }
    let Some((at, basis)) = booked.closed else {
        let open = open(booked, patience);
        let of_interest = booked.in_ledger || open != Class::Pending;
        return of_interest.then(|| Verdict::plain(open));
    };
    let young = patience.covers(at);
    // Once a person has adjusted a task, its own old bill has had its answer.
    let assumed = basis == Basis::Assumed && !booked.adjusted;
    let verdict = match booked.held {
        Some(held) if held.unit == Unit::Credit => credit(booked, held, assumed, young),
        Some(_) | None => settled(booked, &present(&booked.deducted), assumed, young),
    };
    Some(verdict)
}

impl Patience {
    /// Tells whether what happened then may not have reached Kling's records yet.
    fn covers(self, at: Timestamp) -> bool {
        at.saturating_add(self.lag).is_ok_and(|due| due > self.now)
    }
}

/// A task of ours without a settlement.
fn open(booked: &Booked, patience: Patience) -> Class {
    let shown = booked.shown.as_ref();
    let billed = shown.and_then(|shown| shown.billing.as_ref());
    let taken = booked
        .records
        .sums
        .values()
        .chain(billed.into_iter().flat_map(Sums::values));
    if taken.copied().all(|amount| amount.is_zero()) {
        return Class::Pending;
    }
    let ended_at = shown.and_then(|shown| shown.ended_at);
    match ended_at.max(booked.records.last_at) {
        Some(at) if patience.covers(at) => Class::Pending,
        Some(_) | None => Class::MissingInLedger,
    }
}

/// Compares our figures of a settled task with Kling's. The records say what was taken; the task's
/// own bill stands in for them where there are none.
fn settled(booked: &Booked, ours: &Sums, assumed: bool, young: bool) -> Verdict {
    let differs = if assumed {
        Class::Assumed
    } else {
        Class::Different
    };
    let billing = booked
        .shown
        .as_ref()
        .and_then(|shown| shown.billing.as_ref());
    let other_bill = billing.filter(|bill| *bill != ours);
    let records = present(&booked.records.sums);
    if booked.records.count == 0 {
        return match other_bill {
            Some(bill) => Verdict {
                class: differs,
                changes: changes(&booked.deducted, bill),
            },
            None if ours.is_empty() => Verdict::plain(Class::Match),
            None if young => Verdict::plain(Class::NotYet),
            None => Verdict::plain(Class::MissingAtKling),
        };
    }
    if records == *ours {
        return match other_bill {
            Some(_) if !booked.adjusted => Verdict::plain(Class::Different),
            Some(_) | None => Verdict::plain(Class::Match),
        };
    }
    if young && is_part(&records, ours) {
        return Verdict::plain(Class::NotYet);
    }
    Verdict {
        class: differs,
        changes: changes(&booked.deducted, &records),
    }
}

/// Compares a task that was held in credits, which Kling does not know. Its bill is compared in
/// Kling's units; the credits must be the whole hold if Kling took anything, else nothing.
fn credit(booked: &Booked, held: Amount, assumed: bool, young: bool) -> Verdict {
    let billing = booked
        .shown
        .as_ref()
        .and_then(|shown| shown.billing.as_ref());
    let kling = match booked.records.count {
        0 => billing.cloned(),
        _ => Some(present(&booked.records.sums)),
    };
    let due = kling.as_ref().map(|kling| match kling.is_empty() {
        true => Sums::new(),
        false => sums([held]),
    });
    let changes = due.map_or(Vec::new(), |due| changes(&booked.deducted, &due));
    if !assumed && !booked.adjusted {
        let billed = sums(booked.billed.iter().copied());
        let class = settled(booked, &billed, assumed, young).class;
        let changes = if class.is_difference() {
            changes
        } else {
            Vec::new()
        };
        return Verdict { class, changes };
    }
    let taken = !present(&booked.deducted).is_empty();
    match kling {
        Some(_) if changes.is_empty() => Verdict::plain(Class::Match),
        Some(_) if assumed => Verdict {
            class: Class::Assumed,
            changes,
        },
        Some(_) => Verdict {
            class: Class::Different,
            changes,
        },
        None if !taken => Verdict::plain(Class::Match),
        None if young => Verdict::plain(Class::NotYet),
        None => Verdict::plain(Class::MissingAtKling),
    }
}

fn present(sums: &Sums) -> Sums {
    let mut sums = sums.clone();
    sums.retain(|_, amount| !amount.is_zero());
    sums
}

/// Tells whether the records can be the beginning of what was taken: the rest may follow.
fn is_part(records: &Sums, ours: &Sums) -> bool {
    let within =
        |(unit, amount): (&Unit, &Decimal)| ours.get(unit).is_some_and(|taken| amount <= taken);
    records.iter().all(within)
}

fn changes(from: &Sums, to: &Sums) -> Vec<Change> {
    let of = |sums: &Sums, unit| {
        let amount: Option<&Decimal> = sums.get(&unit);
        amount.copied().unwrap_or_default().normalize()
    };
    let change = |unit| Change {
        unit,
        from: of(from, unit),
        to: of(to, unit),
    };
    let all = Unit::ALL.into_iter().map(change);
    all.filter(|change| change.from != change.to).collect()
}
