//! The digest of a request: equal for requests that mean the same.

use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::decide::products::Resolution;
use crate::model::request::{Duration, Purpose, TaskRequest};

use super::wish::plain_number;

/// Returns sha256 of the normalised request, as 64 hexadecimal digits.
///
/// The order of keys, `"5"` or `5`, the spellings of a mode, and a default written out or left out
/// make no difference. Labels and times do: they are part of what was asked. The model counts as
/// written, so that a new default does not turn a repeated request into another one.
#[must_use]
pub fn request_digest(request: &TaskRequest) -> String {
    let normal = json!({
        "product": request.product.as_str(),
        "model": request.model,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "duration": duration(request.duration.as_ref()),
        "mode": mode(request.mode.as_deref()),
        "aspect_ratio": request.aspect_ratio,
        "audio": request.audio.unwrap_or(false),
        "draft": request.purpose == Some(Purpose::Draft),
        "labels": request.labels,
        "parameters": request.parameters,
        "reuse": request.reuse,
        "not_before": request.not_before.map(|time| time.to_string()),
        "off_peak": request.off_peak,
    });
    let text = sorted(&normal).to_string();
    hex(&Sha256::digest(text.as_bytes()))
}

fn duration(duration: Option<&Duration>) -> String {
    let written = match duration {
        None => return "5".to_owned(),
        Some(Duration::Text(text)) => text.clone(),
        Some(Duration::Number(number)) => number.to_string(),
    };
    let number = plain_number(&written);
    number.map_or(written, |number: Decimal| number.normalize().to_string())
}

fn mode(mode: Option<&str>) -> &str {
    let mode = mode.unwrap_or("standard");
    match Resolution::from_mode(mode) {
        Some(resolution) => resolution.as_str(),
        None => mode,
    }
}

/// Puts the keys of every object in order: equal values have one text.
pub(in crate::decide) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            let entries = keys
                .into_iter()
                .map(|key| (key.clone(), sorted(&fields[key])));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(entries) => Value::Array(entries.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Writes bytes as lower-case hexadecimal digits.
pub(in crate::decide) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
