//! The limits and bounds that the money writer works by.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::config::MoneyWriter;
use crate::decide::ledger::Limits;
use crate::model::ledger::LedgerOwner;

/// Thresholds beyond this could make one commit's alerts exceed what a batch carries.
pub const THRESHOLDS_MAX: usize = 8;

/// What the money writer works by.
#[derive(Clone, Debug)]
pub struct MoneyRules {
    /// Limits that open a tenant's day.
    pub tenant_limits: Limits,
    /// The same for single tenants.
    pub tenants: BTreeMap<String, Limits>,
    /// Limits that open the account's day; without them there is no account ledger.
    pub account_limits: Option<Limits>,
    /// Shares of a limit, each alerted once a day.
    pub thresholds: Vec<Decimal>,
    /// Bounds of the queue and of a fold.
    pub bounds: MoneyWriter,
}

impl MoneyRules {
    /// Makes rules with these tenant limits, no account ledger, one alert at 0.8, and the measured
    /// bounds of a fold.
    #[must_use]
    pub fn new(tenant_limits: Limits) -> Self {
        Self {
            tenant_limits,
            tenants: BTreeMap::new(),
            account_limits: None,
            thresholds: vec![Decimal::new(8, 1)],
            bounds: MoneyWriter::default(),
        }
    }

    /// Returns the limits that open an owner's day.
    #[must_use]
    pub fn limits_of(&self, owner: &LedgerOwner) -> Limits {
        match owner {
            LedgerOwner::Tenant(tenant) => self
                .tenants
                .get(tenant.as_str())
                .unwrap_or(&self.tenant_limits)
                .clone(),
            LedgerOwner::Account => self.account_limits.clone().unwrap_or_default(),
        }
    }
}
