//! A price as the book's file words it: for whoever wants to correct it.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::decide::products::{ProductRow, Resolution};
use crate::model::amount::Amount;
use crate::model::request::Product;

use super::{Per, Price, PriceBook, Row, Sound};

/// The row of a book that some estimates follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The row, as messages name it: `price 3`, counted from 1 as in the file.
    pub place: String,
    /// What its amount is multiplied with: `a second`, `per 5 s`, `a call`, `an image`.
    pub per: &'static str,
    /// The amount.
    pub amount: Decimal,
    /// The resolution that the row names, if it tells resolutions apart.
    resolution: Option<&'static str>,
}

impl Terms {
    /// Returns the key and value that would say another amount.
    #[must_use]
    pub fn setting(&self, amount: Decimal) -> String {
        match self.resolution {
            Some(name) => format!("amounts = {{ {name} = \"{amount}\" }}"),
            None => format!("amount = \"{amount}\""),
        }
    }
}

impl PriceBook {
    /// Finds the row that estimates of `each` follow, from what the ledger still knows of the
    /// tasks: product and spelling of the model; mode and sound; seconds and the price held.
    #[must_use]
    pub fn terms_of(
        &self,
        (product, spelling): (Product, &str),
        (mode, audio): (Option<&str>, bool),
        (seconds, each): (Option<Decimal>, Amount),
        on: Date,
    ) -> Option<Terms> {
        let resolution = mode.and_then(|mode| {
            Resolution::from_mode(mode).or_else(|| Resolution::from_image_name(mode))
        });
        let model = ProductRow::of(product).resolve(spelling);
        let version = model.map_or_else(|| product.to_string(), |model| model.version);
        let speaks = |row: &&Row| {
            let when = &row.when;
            let sound = |sound: &Sound| audio == (*sound != Sound::Silent);
            let names = |list: &[Resolution]| resolution.is_some_and(|of| list.contains(&of));
            row.holds_on(on)
                && when
                    .products
                    .as_ref()
                    .is_none_or(|list| list.contains(&product))
                && when
                    .models
                    .as_ref()
                    .is_none_or(|list| list.contains(&version))
                && when
                    .sounds
                    .as_ref()
                    .is_none_or(|list| list.iter().any(sound))
                && when.resolutions.as_ref().is_none_or(|list| names(list))
        };
        let mut rows = self.rows.iter().filter(speaks);
        rows.find_map(|row| match &row.price {
            Price::Known { per, amount } if follows(*per, *amount, seconds, each) => Some(Terms {
                place: row.place.clone(),
                per: per.words(),
                amount: amount.amount,
                resolution: row
                    .when
                    .resolutions
                    .as_ref()
                    .and(resolution)
                    .map(Resolution::as_str),
            }),
            Price::Known { .. } | Price::Unknown(_) => None,
        })
    }
}

/// Tells whether a row's amount makes up the price that was held.
fn follows(per: Per, amount: Amount, seconds: Option<Decimal>, each: Amount) -> bool {
    if amount.unit != each.unit || amount.amount.is_zero() || each.amount.is_zero() {
        return false;
    }
    let times = each.amount / amount.amount;
    match (per, seconds) {
        (Per::Second, Some(seconds)) => times == seconds,
        (Per::FiveSeconds, Some(seconds)) => times == (seconds / Decimal::from(5)).ceil(),
        (Per::Second | Per::FiveSeconds, None) => false,
        (Per::Call, _) => times == Decimal::ONE,
        // How many images there were is not known any more.
        (Per::Image, _) => true,
    }
}

impl Per {
    fn words(self) -> &'static str {
        match self {
            Per::Second => "a second",
            Per::FiveSeconds => "per 5 s",
            Per::Call => "a call",
            Per::Image => "an image",
        }
    }
}
