//! What Kling says it deducted.
//!
//! A bill that cannot be read as a whole is no bill: part of one would close a hold at a wrong
//! figure, while none leads to one more look at the task and then to an assumption that is marked
//! as such.

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::{Terms, text};
use crate::model::amount::{Amount, Unit};

/// No task costs more; a larger figure is a misreading, and would overflow where amounts are added.
pub(super) const AMOUNT_MAX: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

/// Reads the bill of an ended task; `None` where Kling does not say. An empty list says nothing: a
/// task that cost nothing is billed at `"0"`.
///
/// Source: platform reference 2.4, 3.2.
pub(super) fn read(object: &Map<String, Value>, terms: Terms) -> Option<Vec<Amount>> {
    match object.get("billing").and_then(Value::as_array) {
        Some(entries) if !entries.is_empty() => entries
            .iter()
            .map(|entry| line(entry.as_object()?, terms))
            .collect(),
        Some(_) | None => legacy(object, terms),
    }
}

fn line(entry: &Map<String, Value>, terms: Terms) -> Option<Amount> {
    let name = |key| text(entry, &[key]).unwrap_or_default().to_ascii_lowercase();
    let unit = match name("charge_type").as_str() {
        "unit" => pack(&name("package_type"), terms.pack)?,
        "cash" => currency(&name("currency"), terms.cash)?,
        _ => return None,
    };
    Some(Amount::new(number(entry.get("amount")?)?, unit))
}

/// Sound is paid from video packs.
pub(super) fn pack(name: &str, unnamed: Option<Unit>) -> Option<Unit> {
    match name {
        "video" | "audio" => Some(Unit::Video),
        "image" => Some(Unit::Image),
        "try_on" | "try-on" | "tryon" => Some(Unit::TryOn),
        "" => unnamed,
        _ => None,
    }
}

pub(super) fn currency(name: &str, unnamed: Unit) -> Option<Unit> {
    match name {
        "usd" => Some(Unit::Usd),
        "cny" => Some(Unit::Cny),
        "" => Some(unnamed),
        _ => None,
    }
}

/// A bare number of units, and of cash where the account pays so.
fn legacy(object: &Map<String, Value>, terms: Terms) -> Option<Vec<Amount>> {
    let said = |value: Option<&Value>| match value {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(value) => Some(number(value)),
    };
    let units = said(object.get("final_unit_deduction"));
    let cash = object
        .get("final_balance_deduction")
        .and_then(Value::as_object);
    let cash = said(cash.and_then(|cash| cash.get("quota")));
    let mut bill = Vec::new();
    if let Some(units) = units {
        bill.push(Amount::new(units?, terms.pack?));
    }
    if let Some(cash) = cash {
        bill.push(Amount::new(cash?, terms.cash));
    }
    // Units stand first, and a zero of the other kind adds nothing to them.
    if bill.len() == 2 {
        let any = bill.iter().any(|amount| !amount.amount.is_zero());
        bill.retain(|amount| !any || !amount.amount.is_zero());
    }
    (!bill.is_empty()).then_some(bill)
}

/// A decimal, as text or as a JSON number. The parser's shortest spelling of such a number is the
/// one that was sent, up to 15 digits.
fn number(value: &Value) -> Option<Decimal> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let number: Decimal = text.parse().ok()?;
    (number >= Decimal::ZERO && number <= AMOUNT_MAX).then_some(number)
}
