//! What an operator asks of the running service, over HTTP and the broker alike.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Unit;
use super::ids::Day;

/// Changes one limit of one day: `PUT /v1/budget`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimit {
    /// The tenant, or `_account`.
    pub tenant: String,
    /// The budget day; today without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// Which unit's limit.
    pub unit: Unit,
    /// The limit from now on. Below what is held and deducted, nothing more is accepted.
    #[schemars(with = "String")]
    pub limit: Decimal,
    /// Who changes it.
    pub who: String,
    /// Why.
    pub reason: String,
}
