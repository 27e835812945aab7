//! Decimal amounts in a named unit; never a float, never a bare number.

use std::fmt;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an amount counts. Kling bills packs in the three pack units and balances in cash;
/// `credit` is the unit of the `seed-credits-v1` book.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Unit {
    /// A unit of a video pack (also speech, avatar, lip sync and audio).
    #[serde(rename = "video-unit")]
    Video,
    /// A unit of an image pack.
    #[serde(rename = "image-unit")]
    Image,
    /// A unit of a virtual try-on pack.
    #[serde(rename = "try-on-unit")]
    TryOn,
    /// A credit of the seed's price table.
    #[serde(rename = "credit")]
    Credit,
    /// US dollars of a cash balance.
    #[serde(rename = "USD")]
    Usd,
    /// Yuan of a cash balance.
    #[serde(rename = "CNY")]
    Cny,
}

impl Unit {
    /// Every unit, in the order in which reports list them.
    pub const ALL: [Unit; 6] = [
        Unit::Video,
        Unit::Image,
        Unit::TryOn,
        Unit::Credit,
        Unit::Usd,
        Unit::Cny,
    ];

    /// Returns the unit's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Video => "video-unit",
            Unit::Image => "image-unit",
            Unit::TryOn => "try-on-unit",
            Unit::Credit => "credit",
            Unit::Usd => "USD",
            Unit::Cny => "CNY",
        }
    }

    /// Returns the unit of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Unit> {
        Unit::ALL.into_iter().find(|unit| unit.as_str() == name)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An exact decimal number of one unit; a string in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    /// The number, as a decimal string.
    #[schemars(with = "String")]
    pub amount: Decimal,
    /// What it counts.
    pub unit: Unit,
}

impl Amount {
    /// Makes an amount; trailing zeros are dropped, so that equal amounts have one spelling.
    #[must_use]
    pub fn new(amount: Decimal, unit: Unit) -> Self {
        Self {
            amount: amount.normalize(),
            unit,
        }
    }

    /// Makes an amount of nothing.
    #[must_use]
    pub fn zero(unit: Unit) -> Self {
        Self {
            amount: Decimal::ZERO,
            unit,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount.normalize(), self.unit)
    }
}

/// Adds amounts up by unit, in the order of [`Unit::ALL`]; units that sum to zero stay, so that a
/// bill of 0 is told from no bill.
#[must_use]
pub fn sum_by_unit(amounts: impl IntoIterator<Item = Amount>) -> Vec<Amount> {
    let mut sums = std::collections::BTreeMap::new();
    for amount in amounts {
        *sums.entry(amount.unit).or_insert(Decimal::ZERO) += amount.amount;
    }
    sums.into_iter()
        .map(|(unit, amount)| Amount::new(amount, unit))
        .collect()
}
