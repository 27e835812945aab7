//! What must be true of a history: kept beside it, by other means than the writer's.

use std::collections::BTreeMap;

use kling_relay::edge::nats::log::Loaded;
use kling_relay::edge::nats::money::NewTask;
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::ids::{Day, TaskId};
use kling_relay::model::ledger::{Balance, LedgerKey, LedgerOwner};
use rust_decimal::Decimal;

use crate::kit::{tenant, video};

/// What the configuration opens a day with.
pub(super) const TENANT_LIMIT: i64 = 40;
pub(super) const ACCOUNT_LIMIT: i64 = 60;

/// An accepted task whose money is open.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) id: TaskId,
    pub(super) day: Day,
    pub(super) held: i64,
}

/// Both ledgers of every day.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) open: Vec<Open>,
    /// Wishes that were accepted whole, to be sent again.
    pub(super) accepted: Vec<Vec<NewTask>>,
    /// Closed tasks as they were before, to be closed again.
    pub(super) closed: Vec<Loaded>,
    deducted: BTreeMap<(Day, Unit), Decimal>,
    limits: BTreeMap<LedgerKey, i64>,
}

/// Returns the tenant's and the account's ledger of a day.
pub(super) fn ledgers(day: Day) -> [LedgerKey; 2] {
    [LedgerOwner::Tenant(tenant()), LedgerOwner::Account].map(|owner| LedgerKey { owner, day })
}

impl Model {
    pub(super) fn limit(&self, key: &LedgerKey) -> i64 {
        let configured = match key.owner {
            LedgerOwner::Tenant(_) => TENANT_LIMIT,
            LedgerOwner::Account => ACCOUNT_LIMIT,
        };
        self.limits.get(key).copied().unwrap_or(configured)
    }

    pub(super) fn set_limit(&mut self, key: &LedgerKey, limit: i64) {
        self.limits.insert(key.clone(), limit);
    }

    fn held(&self, day: Day) -> Decimal {
        let of_day = self.open.iter().filter(|open| open.day == day);
        of_day.map(|open| Decimal::from(open.held)).sum()
    }

    fn deducted(&self, day: Day, unit: Unit) -> Decimal {
        self.deducted.get(&(day, unit)).copied().unwrap_or_default()
    }

    /// Tells whether both ledgers hold so much more.
    pub(super) fn fits(&self, day: Day, amount: i64) -> bool {
        let used = self.held(day) + self.deducted(day, Unit::Video) + Decimal::from(amount);
        let allows = |key: &LedgerKey| used <= Decimal::from(self.limit(key));
        ledgers(day).iter().all(allows)
    }

    pub(super) fn accept(&mut self, tasks: &[NewTask]) {
        self.open.extend(tasks.iter().map(|new| Open {
            id: new.event.task.task_id.clone(),
            day: new.event.task.relay.day,
            held: i64::try_from(new.hold.amount).expect("a small number"),
        }));
        self.accepted.push(tasks.to_vec());
    }

    pub(super) fn close(&mut self, on: &Loaded, deduction: &[Amount]) {
        self.open.retain(|open| open.id != on.task.task_id);
        self.deduct(on, deduction, Decimal::ONE);
        self.closed.push(on.clone());
    }

    /// Takes back a closing whose event is gone.
    pub(super) fn reopen(&mut self, on: &Loaded, deduction: &[Amount]) {
        self.closed
            .retain(|closed| closed.task.task_id != on.task.task_id);
        self.deduct(on, deduction, Decimal::NEGATIVE_ONE);
        self.open.push(Open {
            id: on.task.task_id.clone(),
            day: on.task.relay.day,
            held: i64::try_from(on.task.estimate.amount).expect("a small number"),
        });
    }

    /// Takes back an acceptance whose events are gone from this one on.
    pub(super) fn forget(&mut self, tasks: &[NewTask], first_lost: usize) {
        self.accepted.pop();
        let lost: Vec<&TaskId> = tasks[first_lost..]
            .iter()
            .map(|new| &new.event.task.task_id)
            .collect();
        self.open.retain(|open| !lost.contains(&&open.id));
    }

    fn deduct(&mut self, on: &Loaded, deduction: &[Amount], sign: Decimal) {
        for taken in deduction {
            let place = (on.task.relay.day, taken.unit);
            *self.deducted.entry(place).or_default() += sign * taken.amount;
        }
    }

    /// Compares a balance with what must be.
    pub(super) fn check(&self, key: &LedgerKey, balance: Option<Balance>, after: &str) {
        let balance = balance.unwrap_or_default();
        for unit in [Unit::Video, Unit::Image] {
            let found = balance.get(&unit).cloned().unwrap_or_default();
            let held = match unit == video(0).unit {
                true => self.held(key.day),
                false => Decimal::ZERO,
            };
            let wanted = (held, self.deducted(key.day, unit));
            assert_eq!(
                (found.held, found.deducted),
                wanted,
                "{key:?} {unit} after {after}"
            );
        }
        if let Some(limit) = balance.get(&Unit::Video).and_then(|unit| unit.limit) {
            assert_eq!(
                limit,
                Decimal::from(self.limit(key)),
                "{key:?} after {after}"
            );
        }
    }
}
