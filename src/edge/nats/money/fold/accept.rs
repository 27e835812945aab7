//! Acceptances: a hold in each ledger, then `requested`.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::{Cause, Fold, PlannedEvent, describe, keys};
use crate::decide::ledger::{HoldRefused, hold, hold_anyway, remaining};
use crate::edge::nats::money::{AcceptError, NewTask};
use crate::model::amount::{Amount, sum_by_unit};
use crate::model::event::{EventKind, NewEvent};
use crate::model::ledger::{Balance, EntryKind, LedgerKey};

impl Fold<'_> {
    /// Adds tasks, all or none.
    pub(super) fn accept(&mut self, tasks: &[&NewTask]) -> Result<(), AcceptError> {
        let counts = (self.entries.len(), self.alerts.len(), self.events.len());
        let balances = self.balances.clone();
        for (index, task) in tasks.iter().enumerate() {
            if let Err((key, refused)) = self.accept_one(task) {
                let error = self.refusal(tasks, index, &key, refused, &balances);
                self.entries.truncate(counts.0);
                self.alerts.truncate(counts.1);
                self.events.truncate(counts.2);
                self.balances = balances;
                return Err(error);
            }
        }
        Ok(())
    }

    fn accept_one(&mut self, new: &NewTask) -> Result<(), (LedgerKey, HoldRefused)> {
        let with_account = self.rules.account_limits.is_some();
        let mut body = new.event.clone();
        body.task.estimate = new.hold;
        body.task.relay.account_held = with_account;
        body.task.relay.requested_seq = 0;
        let cause = Cause {
            commit_id: new.commit_id.clone(),
            traceparent: new.traceparent.clone(),
        };
        for key in keys(&body.task) {
            let before = self.opened(&key, &cause);
            let after = match body.task.relay.rebuilt {
                true => hold_anyway(&before, new.hold),
                false => hold(&before, new.hold).map_err(|refused| (key.clone(), refused))?,
            };
            let mut entry = self.entry(EntryKind::Hold, &key, &cause.commit_id);
            describe(&mut entry, &body.task);
            entry.unit = Some(new.hold.unit);
            entry.held_change = new.hold.amount;
            self.push(key, after, entry, &cause);
        }
        let event = NewEvent {
            kind: EventKind::Requested,
            n: 1,
            body,
        };
        self.events.push(PlannedEvent {
            event,
            on: None,
            cause,
        });
        Ok(())
    }

    /// Makes the answer with the figures as they were before these tasks.
    fn refusal(
        &self,
        tasks: &[&NewTask],
        fits: usize,
        key: &LedgerKey,
        refused: HoldRefused,
        balances: &BTreeMap<LedgerKey, Balance>,
    ) -> AcceptError {
        if let HoldRefused::NoLimit(unit) = refused {
            return AcceptError::NoLimit(unit);
        }
        let needed = sum_by_unit(tasks.iter().map(|task| task.hold));
        let before = match balances.get(key) {
            Some(balance) => balance.clone(),
            None => self.initial(key),
        };
        let left = |amount: &Amount| {
            let left = remaining(&before, amount.unit).unwrap_or(Decimal::ZERO);
            Amount::new(left, amount.unit)
        };
        AcceptError::BudgetExceeded {
            owner: key.owner.clone(),
            remaining: needed.iter().map(left).collect(),
            needed,
            fits,
        }
    }
}
