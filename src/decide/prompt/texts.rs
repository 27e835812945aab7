//! Which parts of a request are text that its caller wrote for Kling.

use serde_json::Value;

use crate::decide::pricing::{is_media, is_url};
use crate::decide::products::{Kind, ProductRow, table};
use crate::model::request::TaskRequest;

/// Shorter texts of Base64 letters are words more often than media, bytes.
const MEDIA_MIN_BYTES: usize = 64;

/// Visits every text, with the field to name when something is wrong with it.
///
/// Parameters that the product's table calls text are; media, addresses and closed choices are
/// not, and planning holds them to their form. What stands deeper has no table, so all of it counts
/// as text but ids, kinds, addresses and long Base64.
pub(super) fn each<E>(
    request: &mut TaskRequest,
    visit: &mut impl FnMut(&str, &mut String) -> Result<(), E>,
) -> Result<(), E> {
    if let Some(text) = &mut request.prompt {
        visit("prompt", text)?;
    }
    if let Some(text) = &mut request.negative_prompt {
        visit("negative_prompt", text)?;
    }
    let known = ProductRow::of(request.product).legacy.parameters;
    for (key, value) in &mut request.parameters {
        let field = field(key);
        let known = known.iter().find(|parameter| parameter.name == key);
        match (known.map(|parameter| parameter.kind), value) {
            (Some(Kind::Text(_)), Value::String(text)) if !is_id(key) => visit(&field, text)?,
            (Some(_), Value::String(_)) => {}
            (_, value) => nested(&field, key, value, visit)?,
        }
    }
    Ok(())
}

fn nested<E>(
    field: &str,
    key: &str,
    value: &mut Value,
    visit: &mut impl FnMut(&str, &mut String) -> Result<(), E>,
) -> Result<(), E> {
    match value {
        Value::String(text) if is_id(key) || is_choice(key) || is_medium(key, text) => Ok(()),
        Value::String(text) => visit(field, text),
        Value::Array(values) => values
            .iter_mut()
            .try_for_each(|value| nested(field, key, value, visit)),
        Value::Object(fields) => fields
            .iter_mut()
            .try_for_each(|(key, value)| nested(field, key, value, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// Tells whether a key holds an id of Kling's. A bare `id` is a name that the caller chose.
fn is_id(key: &str) -> bool {
    key.ends_with("_id")
}

/// Tells whether a key chooses among Kling's own words.
fn is_choice(key: &str) -> bool {
    key == "type" || key.ends_with("_type")
}

fn is_medium(key: &str, text: &str) -> bool {
    key != "id" && (is_url(text) || (text.len() >= MEDIA_MIN_BYTES && is_media(text)))
}

/// Names a parameter. A key that no table knows is the caller's own words, and is not repeated.
fn field(key: &str) -> String {
    let of_legacy = |row: &&ProductRow| row.legacy.parameters.iter().any(|p| p.name == key);
    let of_new = || table::UNKNOWN_MODEL.contents.iter().any(|(n, _)| *n == key);
    let shared = matches!(key, "contents" | "settings");
    if shared || of_new() || table::ROWS.iter().any(of_legacy) {
        format!("parameters.{key}")
    } else {
        "parameters".to_owned()
    }
}
