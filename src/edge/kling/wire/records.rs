//! Pages of deduction records: what Kling took from packs and from the cash balance, by task.
//!
//! Source: platform reference 7.5.

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::{Malformed, answer, billing, id_text, text, time};
use crate::model::amount::{Amount, Unit};
use crate::model::deduction::DeductionRecord;
use crate::model::ids::KlingTaskId;

/// Digits that survive a double: Kling's figure is a JSON number, and where it has been one on the
/// way, the digits behind these are noise (`1.7999999999999998` is 1.8).
const EXACT_DIGITS: u32 = 15;

/// Whose records a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordSource {
    /// Resource packs; each record names the pack's type.
    Package,
    /// The cash balance; a record without a currency is in the account's own.
    Balance {
        /// The account's currency.
        cash: Unit,
    },
}

/// One page of deduction records.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordPage {
    /// Its records.
    pub records: Vec<DeductionRecord>,
    /// Where the next page starts; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// Parses the `data` of `POST /account/billing/package` or `/balance`.
///
/// # Errors
/// [`Malformed`] when it is no page, or when a record names no task: none may be passed over.
pub fn parse_records(data: &Value, source: RecordSource) -> Result<RecordPage, Malformed> {
    let object = data.as_object().ok_or(Malformed::NoKnownShape)?;
    let detail = match object.get("result") {
        None | Some(Value::Null) => &[][..],
        Some(result) => match result.get("detail") {
            None | Some(Value::Null) => &[][..],
            Some(detail) => detail.as_array().ok_or(Malformed::NoKnownShape)?.as_slice(),
        },
    };
    let records = detail.iter().map(|detail| record(detail, source));
    Ok(RecordPage {
        records: records.collect::<Result<_, _>>()?,
        next_cursor: answer::next_cursor(object)?,
    })
}

fn record(detail: &Value, source: RecordSource) -> Result<DeductionRecord, Malformed> {
    let detail = detail.as_object().ok_or(Malformed::NoKnownShape)?;
    let kling_task_id = id_text(detail, &["task_id"])
        .and_then(|id| KlingTaskId::parse(&id).ok())
        .ok_or(Malformed::Field {
            field: "task_id",
            expected: "a task id",
        })?;
    let amount = detail.get("deduction_amount").and_then(figure);
    let unit = unit(detail, source);
    Ok(DeductionRecord {
        kling_task_id,
        amount: amount
            .zip(unit)
            .map(|(amount, unit)| Amount::new(amount, unit)),
        deducted_at: time(detail, &["deduction_time"]),
    })
}

fn unit(detail: &Map<String, Value>, source: RecordSource) -> Option<Unit> {
    let name = |key| {
        text(detail, &[key])
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    match source {
        // Without a type nobody can say which unit it is.
        RecordSource::Package => billing::pack(&name("product_type"), None),
        RecordSource::Balance { cash } => billing::currency(&name("currency"), cash),
    }
}

/// A decimal, as text or as a JSON number; below zero where Kling gave something back.
fn figure(value: &Value) -> Option<Decimal> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let parsed = text
        .parse()
        .ok()
        .or_else(|| Decimal::from_scientific(&text).ok());
    let figure: Decimal = parsed.filter(|figure: &Decimal| figure.abs() <= billing::AMOUNT_MAX)?;
    figure.round_sf(EXACT_DIGITS)
}
