//! What the metrics say about money.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::decide::ledger::{closes_task, is_comparable, used_share};
use crate::edge::nats::money::fold::Fold;
use crate::edge::nats::money::for_metrics;
use crate::model::amount::Unit;
use crate::model::ledger::{EntryKind, LedgerEntry, LedgerOwner};
use crate::telemetry;

/// Counters count whole numbers, amounts have fractions: what is left of one is carried on.
#[derive(Default)]
pub(super) struct Figures {
    carried: BTreeMap<(&'static str, Unit, Option<String>), Decimal>,
}

impl Figures {
    /// Counts a stored fold. Tenants' entries only: the account's repeat them.
    pub(super) fn count(&mut self, fold: &Fold<'_>) {
        for planned in &fold.entries {
            let owner = planned.key.owner.as_str();
            for (unit, balance) in &planned.entry.balance {
                let Some(used) = used_share(balance) else {
                    continue;
                };
                let labels = [("tenant", owner.to_owned()), ("unit", unit.to_string())];
                metrics::gauge!(telemetry::BUDGET_USED, &labels).set(for_metrics(used));
            }
            let (LedgerOwner::Tenant(_), Some(unit)) = (&planned.key.owner, planned.entry.unit)
            else {
                continue;
            };
            if planned.entry.kind == EntryKind::Hold {
                self.add(telemetry::HOLDS, unit, planned.entry.held_change);
            }
            self.add(telemetry::DEDUCTIONS, unit, planned.entry.deducted_change);
            self.compare(&planned.entry, unit);
            if let Some(saved) = planned.entry.saved {
                self.add(telemetry::SAVED, saved.unit, saved.amount);
            }
            for over in &planned.entry.overrun {
                self.add(telemetry::OVERRUNS, over.unit, over.amount);
            }
        }
        for planned in &fold.alerts {
            let alert = &planned.alert;
            let labels = [
                ("tenant", alert.tenant.clone()),
                ("unit", alert.unit.to_string()),
            ];
            metrics::counter!(telemetry::BUDGET_ALERTS, &labels).increment(1);
            tracing::warn!(
                tenant.id = alert.tenant,
                day = %alert.day,
                unit = %alert.unit,
                used = %alert.used,
                limit = %alert.limit,
                "a budget threshold was crossed"
            );
        }
    }

    /// Counts estimate and bill of a success. Models are those of the product table and the book.
    fn compare(&mut self, entry: &LedgerEntry, unit: Unit) {
        if closes_task(entry) && is_comparable(entry) {
            let model = entry.model.as_deref();
            self.add_of(telemetry::ESTIMATED, unit, model, -entry.held_change);
            self.add_of(telemetry::BILLED, unit, model, entry.deducted_change);
        }
    }

    fn add(&mut self, counter: &'static str, unit: Unit, amount: Decimal) {
        self.add_of(counter, unit, None, amount);
    }

    fn add_of(&mut self, counter: &'static str, unit: Unit, model: Option<&str>, amount: Decimal) {
        let key = (counter, unit, model.map(str::to_owned));
        let carried = self.carried.entry(key).or_default();
        *carried += amount.max(Decimal::ZERO);
        let whole = carried.trunc();
        *carried -= whole;
        let whole = whole.to_u64().unwrap_or_default();
        if whole > 0 {
            let model = model.map(|model| ("model", model.to_owned()));
            let labels: Vec<_> = [("unit", unit.to_string())]
                .into_iter()
                .chain(model)
                .collect();
            metrics::counter!(counter, &labels).increment(whole);
        }
    }
}
