//! The form of a price book's file.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::decide::ledger::Limits;
use crate::decide::products::Resolution;
use crate::model::amount::{Amount, Unit};
use crate::model::request::Product;

use super::{BookError, Input, Per, Price, PriceBook, Row, Sound, When};

/// A decimal in quotes: a bare number would be read as a float on its way here.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Exact(Decimal);

impl TryFrom<String> for Exact {
    type Error = rust_decimal::Error;

    fn try_from(text: String) -> Result<Self, rust_decimal::Error> {
        Decimal::from_str_exact(&text).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BookText {
    name: String,
    effective_from: Date,
    source: String,
    main_unit: Unit,
    daily_limits: BTreeMap<String, Exact>,
    #[serde(default)]
    extra_models: Vec<String>,
    price: Vec<RowText>,
    #[serde(default)]
    side_call: Vec<SideCallText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowText {
    products: Option<Vec<Product>>,
    models: Option<Vec<String>>,
    sounds: Option<Vec<Sound>>,
    inputs: Option<Vec<Input>>,
    resolutions: Option<Vec<Resolution>>,
    seconds: Option<Vec<u32>>,
    per: Option<Per>,
    unit: Option<Unit>,
    /// One amount for all that the row speaks of.
    amount: Option<Exact>,
    /// Or one for each resolution.
    #[serde(default)]
    amounts: BTreeMap<Resolution, Exact>,
    /// Or none at all, and why.
    unpriced: Option<String>,
    effective_from: Option<Date>,
    effective_until: Option<Date>,
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SideCallText {
    name: String,
    amount: Exact,
    unit: Unit,
}

/// The highest amount that a row may hold: with it, no price can overflow.
const AMOUNT_MAX: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);
const SCALE_MAX: u32 = 6;

pub(super) fn read(text: &str) -> Result<PriceBook, BookError> {
    let parsed: BookText = toml::from_str(text).map_err(|error| BookError::Syntax {
        message: error.to_string().trim_end().to_owned(),
    })?;
    let name = &parsed.name;
    let mut rows = Vec::new();
    for (index, row) in parsed.price.iter().enumerate() {
        let place = format!("price {}", index + 1);
        expand(row, &place, &parsed.source, &mut rows)
            .map_err(|problem| invalid(name, &place, problem))?;
    }
    let mut daily_limits = Limits::new();
    for (unit, Exact(limit)) in &parsed.daily_limits {
        let place = format!("daily_limits.{unit}");
        let known = Unit::from_name(unit)
            .ok_or_else(|| invalid(name, &place, "no such unit".to_owned()))?;
        if limit.is_sign_negative() {
            return Err(invalid(name, &place, "must not be negative".to_owned()));
        }
        daily_limits.insert(known, *limit);
    }
    if !daily_limits.contains_key(&parsed.main_unit) {
        let problem = format!("{} needs a limit of its own", parsed.main_unit);
        return Err(invalid(name, "daily_limits", problem));
    }
    let mut side_calls = Vec::new();
    for call in parsed.side_call {
        in_range(call.amount.0).map_err(|problem| invalid(name, &call.name, problem))?;
        side_calls.push((call.name, Amount::new(call.amount.0, call.unit)));
    }
    Ok(PriceBook {
        effective_from: parsed.effective_from,
        source: parsed.source,
        main_unit: parsed.main_unit,
        daily_limits,
        extra_models: parsed.extra_models,
        rows,
        side_calls,
        name: parsed.name,
    })
}

fn invalid(book: &str, place: &str, problem: String) -> BookError {
    BookError::Invalid {
        book: book.to_owned(),
        place: place.to_owned(),
        problem,
    }
}

/// Turns a row of the file into one row per amount.
fn expand(text: &RowText, place: &str, source: &str, rows: &mut Vec<Row>) -> Result<(), String> {
    if let (Some(from), Some(until)) = (text.effective_from, text.effective_until)
        && until <= from
    {
        return Err(format!(
            "effective_until {until} is not after effective_from {from}"
        ));
    }
    let empty = [
        text.products.as_ref().is_some_and(Vec::is_empty),
        text.models.as_ref().is_some_and(Vec::is_empty),
        text.sounds.as_ref().is_some_and(Vec::is_empty),
        text.inputs.as_ref().is_some_and(Vec::is_empty),
        text.resolutions.as_ref().is_some_and(Vec::is_empty),
        text.seconds.as_ref().is_some_and(Vec::is_empty),
    ];
    if empty.contains(&true) {
        return Err("an empty list speaks of nothing; leave it out to speak of all".to_owned());
    }
    let mut push = |resolutions: Option<Vec<Resolution>>, price: Price| {
        rows.push(Row {
            place: place.to_owned(),
            when: When {
                products: text.products.clone(),
                models: text.models.clone(),
                sounds: text.sounds.clone(),
                inputs: text.inputs.clone(),
                resolutions,
                seconds: text.seconds.clone(),
            },
            price,
            from: text.effective_from,
            until: text.effective_until,
            source: text.source.as_deref().unwrap_or(source).to_owned(),
        });
    };
    match (text.amount, text.amounts.is_empty(), &text.unpriced) {
        (Some(amount), true, None) => {
            push(text.resolutions.clone(), known(text, amount)?);
        }
        (None, false, None) => {
            if text.resolutions.is_some() {
                return Err("amounts already name the resolutions".to_owned());
            }
            for (resolution, amount) in &text.amounts {
                push(Some(vec![*resolution]), known(text, *amount)?);
            }
        }
        (None, true, Some(reason)) => {
            push(text.resolutions.clone(), Price::Unknown(reason.clone()));
        }
        _ => return Err("give exactly one of amount, amounts and unpriced".to_owned()),
    }
    Ok(())
}

fn known(text: &RowText, Exact(amount): Exact) -> Result<Price, String> {
    in_range(amount)?;
    let (Some(per), Some(unit)) = (text.per, text.unit) else {
        return Err("an amount needs per and unit".to_owned());
    };
    Ok(Price::Known {
        per,
        amount: Amount::new(amount, unit),
    })
}

fn in_range(amount: Decimal) -> Result<(), String> {
    if amount.is_sign_negative() || amount > AMOUNT_MAX || amount.normalize().scale() > SCALE_MAX {
        return Err(format!(
            "amount {amount} must lie between 0 and {AMOUNT_MAX}, with at most {SCALE_MAX} decimals"
        ));
    }
    Ok(())
}
