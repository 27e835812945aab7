//! Checks that hold for every product: labels, texts, the earliest time of dispatch.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::refusal::{Refusal, shorten};

/// How many labels a request may carry.
pub const LABELS_MAX: usize = 16;
/// Longest key of a label, in bytes.
pub const LABEL_KEY_MAX: usize = 63;
/// Longest value of a label, in characters.
pub const LABEL_VALUE_MAX: usize = 128;
/// How far ahead `not_before` may lie.
pub const NOT_BEFORE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Checks a request's `not_before` against the clock. A time that has passed means at once.
///
/// # Errors
/// [`Refusal`] when it lies more than 7 days ahead.
pub fn check_not_before(not_before: Option<Timestamp>, now: Timestamp) -> Result<(), Refusal> {
    match not_before {
        Some(time) if time.duration_since(now) > NOT_BEFORE_MAX => Err(Refusal::invalid(
            "not_before",
            "not_before lies more than 7 days ahead; submit the request later",
        )),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn labels(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if labels.len() > LABELS_MAX {
        let message = format!("{} labels are too many; at most {LABELS_MAX}", labels.len());
        return Err(Refusal::invalid("labels", message));
    }
    for (key, value) in labels {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
        if !(1..=LABEL_KEY_MAX).contains(&key.len()) || !key.bytes().all(plain) {
            let message = format!(
                "label key {:?} must be 1 to {LABEL_KEY_MAX} of a-z, 0-9, '_', '.' and '-'",
                shorten(key)
            );
            return Err(Refusal::invalid("labels", message));
        }
        if value.chars().count() > LABEL_VALUE_MAX || value.chars().any(char::is_control) {
            let message = format!(
                "the value of label {key:?} must have at most {LABEL_VALUE_MAX} characters and no \
                 control characters"
            );
            return Err(Refusal::invalid(format!("labels.{key}"), message));
        }
    }
    Ok(())
}

/// Checks a text for a person's eyes or Kling's model: not empty, not too long, no control
/// characters but line feed and tab. The message never quotes it.
pub(super) fn text(field: &str, text: &str, max: usize) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        let message = format!("{field} is empty; say something or leave it out");
        return Err(Refusal::invalid(field, message));
    }
    if let Some(control) = text
        .chars()
        .find(|c| c.is_control() && !matches!(c, '\n' | '\t'))
    {
        let message = format!(
            "{field} holds the control character U+{:04X}; only line feed and tab are taken",
            u32::from(control)
        );
        return Err(Refusal::invalid(field, message));
    }
    let count = text.chars().count();
    if count > max {
        let message = format!("{field} has {count} characters; at most {max} are taken");
        return Err(Refusal::invalid(field, message));
    }
    Ok(())
}
