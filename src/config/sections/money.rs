//! What things cost and what may be spent.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::model::ledger::LimitSetting;

/// `[pricing]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pricing {
    /// `official-2026-09`, `seed-credits-v1` or a file.
    pub book: String,
}

/// One number or a list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Thresholds {
    /// One share of the limit.
    One(Decimal),
    /// Several shares of the limit.
    Several(Vec<Decimal>),
}

/// `[budget]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Per tenant and day; none: the book's.
    pub daily_limit: Option<LimitSetting>,
    /// Over all tenants; none: no account ledger.
    pub account_daily_limit: Option<LimitSetting>,
    /// By tenant, over `daily_limit`.
    pub tenants: BTreeMap<String, LimitSetting>,
    /// Shares of the limit, each alerted once a day.
    pub alert_threshold: Thresholds,
    /// IANA name of the time zone of the day.
    pub time_zone: String,
    /// `HH:MM` at which the day starts.
    pub day_starts: String,
}
