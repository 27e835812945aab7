//! Usage by group: cells in, rows and a total out.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::{amounts, merge};
use crate::model::amount::Unit;
use crate::model::ids::Day;
use crate::model::usage::{ByUnit, Cost, UsageCell, UsageFigures, UsageGroup, UsageTotals};

/// Groups that a report may have: what it holds in memory.
pub const GROUPS_MAX: usize = 10_000;

/// What groups are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// The budget day.
    Day,
    /// The model, in Kling's spelling.
    Model,
    /// The tenant.
    Tenant,
    /// What was made.
    Product,
    /// The value of a mark.
    Label(String),
}

impl Dimension {
    /// Reads `day`, `model`, `tenant`, `product` or `label:KEY`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "day" => Some(Dimension::Day),
            "model" => Some(Dimension::Model),
            "tenant" => Some(Dimension::Tenant),
            "product" => Some(Dimension::Product),
            _ => {
                let key = text.strip_prefix("label:").filter(|key| !key.is_empty())?;
                Some(Dimension::Label(key.to_owned()))
            }
        }
    }

    /// Returns its name, as [`Dimension::parse`] reads it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Dimension::Day => "day".to_owned(),
            Dimension::Model => "model".to_owned(),
            Dimension::Tenant => "tenant".to_owned(),
            Dimension::Product => "product".to_owned(),
            Dimension::Label(key) => format!("label:{key}"),
        }
    }

    fn of(&self, tenant: &str, day: Day, cell: &UsageCell) -> Option<String> {
        let key = &cell.key;
        match self {
            Dimension::Day => Some(day.to_string()),
            Dimension::Model => key.model.clone(),
            Dimension::Tenant => Some(tenant.to_owned()),
            Dimension::Product => key.product.map(|product| product.to_string()),
            Dimension::Label(name) => key.labels.get(name).cloned(),
        }
    }
}

/// There are more groups than a report may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "more than {GROUPS_MAX} groups: take fewer days, one tenant or one label's value, or group by \
     less"
)]
pub struct TooManyGroups;

/// What a unit costs, in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    currency: String,
    rates: BTreeMap<Unit, Decimal>,
}

impl Rates {
    /// Makes rates; cash in the currency itself counts as what it is.
    #[must_use]
    pub fn new(currency: &str, mut rates: BTreeMap<Unit, Decimal>) -> Self {
        if let Some(cash) = Unit::from_name(currency) {
            rates.insert(cash, Decimal::ONE);
        }
        Self {
            currency: currency.to_owned(),
            rates,
        }
    }

    fn cost(&self, deducted: &ByUnit) -> Cost {
        let mut cost = Cost {
            amount: Decimal::ZERO,
            currency: self.currency.clone(),
            without: Vec::new(),
        };
        for (unit, amount) in deducted.iter().filter(|(_, amount)| !amount.is_zero()) {
            match self.rates.get(unit) {
                Some(rate) => cost.amount += *amount * *rate,
                None => cost.without.push(*unit),
            }
        }
        cost.amount = cost.amount.normalize();
        cost
    }
}

/// Adds up cells by group.
#[derive(Debug)]
pub struct Groups {
    by: Vec<Dimension>,
    groups: BTreeMap<Vec<Option<String>>, UsageFigures>,
}

impl Groups {
    /// Makes an empty report with these groups; with no dimension there is one group of all.
    #[must_use]
    pub fn new(by: Vec<Dimension>) -> Self {
        Self {
            by,
            groups: BTreeMap::new(),
        }
    }

    /// Adds a cell of a tenant's day.
    ///
    /// # Errors
    /// [`TooManyGroups`] when it would be one group too many.
    pub fn add(&mut self, tenant: &str, day: Day, cell: &UsageCell) -> Result<(), TooManyGroups> {
        let group = self.by.iter().map(|by| by.of(tenant, day, cell)).collect();
        if !self.groups.contains_key(&group) && self.groups.len() >= GROUPS_MAX {
            return Err(TooManyGroups);
        }
        merge(self.groups.entry(group).or_default(), &cell.figures);
        Ok(())
    }

    /// Returns the groups in order, without those that came to nothing, and their total.
    #[must_use]
    pub fn into_rows(self, rates: Option<&Rates>) -> (Vec<UsageGroup>, UsageTotals) {
        let names: Vec<String> = self.by.iter().map(Dimension::name).collect();
        let mut total = UsageFigures::default();
        let mut rows = Vec::with_capacity(self.groups.len());
        for (group, figures) in self.groups {
            merge(&mut total, &figures);
            let totals = totals(&figures, rates);
            if is_nothing(&totals) {
                continue;
            }
            rows.push(UsageGroup {
                group: names.iter().cloned().zip(group).collect(),
                totals,
            });
        }
        (rows, totals(&total, rates))
    }
}

/// A task that was counted and taken back again leaves a group of nothing.
fn is_nothing(totals: &UsageTotals) -> bool {
    let counts = totals.succeeded == 0 && totals.failed == 0;
    counts && totals.deducted.is_empty() && totals.held.is_empty() && totals.saved.is_empty()
}

fn totals(figures: &UsageFigures, rates: Option<&Rates>) -> UsageTotals {
    let tasks = figures.succeeded + figures.failed;
    let share = |part: Decimal, whole: i64, places: u32| {
        (whole > 0).then(|| (part / Decimal::from(whole)).round_dp(places).normalize())
    };
    UsageTotals {
        tasks,
        succeeded: figures.succeeded,
        failed: figures.failed,
        success_rate: share(Decimal::from(figures.succeeded), tasks, 4),
        mean_latency_seconds: share(figures.latency_seconds, figures.timed, 3),
        deducted: amounts(&figures.deducted),
        held: amounts(&figures.held),
        saved: amounts(&figures.saved),
        cost: rates.map(|rates| rates.cost(&figures.deducted)),
    }
}
