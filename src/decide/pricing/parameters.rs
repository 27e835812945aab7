//! The fields without a typed form: which may be there, and what they must be.

use serde_json::{Map, Value};

use crate::decide::products::{Kind, Parameter, Together};

use super::check;
use super::refusal::{Refusal, shorten};
use super::wish::plain_number;

/// Keys that a typed field or the relay itself sets, with what sets them.
const RESERVED: [(&str, &str); 23] = [
    ("callback_url", "the relay sets it"),
    ("external_task_id", "the relay sets it"),
    (
        "options",
        "the relay sets it; watermark_info stands by itself",
    ),
    ("model_name", "set model"),
    ("model", "set model beside parameters"),
    ("product", "set product beside parameters"),
    ("prompt", "set prompt beside parameters"),
    ("negative_prompt", "set negative_prompt beside parameters"),
    ("duration", "set duration beside parameters"),
    ("mode", "set mode beside parameters"),
    ("aspect_ratio", "set aspect_ratio beside parameters"),
    ("audio", "set audio beside parameters"),
    ("sound", "set audio"),
    ("keep_original_sound", "set audio"),
    ("multi_shot", "the relay sends false"),
    ("shot_type", "the relay sends multi_shot as false"),
    ("multi_prompt", "the relay sends multi_shot as false"),
    ("purpose", "set purpose beside parameters"),
    ("labels", "set labels beside parameters"),
    ("reuse", "set reuse beside parameters"),
    ("not_before", "set not_before beside parameters"),
    ("off_peak", "set off_peak beside parameters"),
    (
        "settings",
        "the relay builds it; give its documented fields by themselves",
    ),
];

/// Refuses a key that is not the caller's to set.
pub(super) fn refuse_reserved(key: &str) -> Result<(), Refusal> {
    let Some((_, instead)) = RESERVED.iter().find(|(reserved, _)| *reserved == key) else {
        return Ok(());
    };
    let message = format!("parameters may not contain {key}: {instead}");
    Err(Refusal::invalid(path(key), message))
}

/// Refuses a key that no table knows: what it does to the price nobody can say.
pub(super) fn refuse_unknown(key: &str) -> Refusal {
    let message = format!(
        "the effect of parameters.{} on the price is not known; leave it out",
        shorten(key)
    );
    Refusal::unknown_price(path(key), message)
}

pub(super) fn path(key: &str) -> String {
    format!("parameters.{}", shorten(key))
}

/// Checks that what must be there is there, and that rules over several fields hold.
pub(super) fn check_presence(
    given: &Map<String, Value>,
    known: &[Parameter],
    together: &[Together],
) -> Result<(), Refusal> {
    let missing = known
        .iter()
        .find(|known| known.required && !given.contains_key(known.name));
    if let Some(missing) = missing {
        let field = path(missing.name);
        return Err(Refusal::invalid(&field, format!("{field} is missing")));
    }
    for rule in together {
        let (names, at_least_one, at_most_one) = match rule {
            Together::ExactlyOne(names) => (names, true, true),
            Together::AtLeastOne(names) => (names, true, false),
            Together::AtMostOne(names) => (names, false, true),
        };
        let count = names
            .iter()
            .filter(|name| given.contains_key(**name))
            .count();
        let names = names.join(" and ");
        if at_least_one && count == 0 {
            let message = format!("one of {names} must be given in parameters");
            return Err(Refusal::invalid("parameters", message));
        }
        if at_most_one && count > 1 {
            let message = format!("{names} exclude each other; give one of them");
            return Err(Refusal::invalid("parameters", message));
        }
    }
    Ok(())
}

/// Checks one value.
pub(super) fn check_value(field: &str, kind: Kind, value: &Value) -> Result<(), Refusal> {
    let whole = |min: i64, max: i64| value.as_i64().is_some_and(|n| (min..=max).contains(&n));
    let (fits, expected) = match kind {
        Kind::Text(max) => match value.as_str() {
            Some(text) => return check::text(field, text, max),
            None => (false, "text".to_owned()),
        },
        Kind::Media => (
            value.as_str().is_some_and(is_media),
            "a URL, or bare Base64 without a data: prefix".to_owned(),
        ),
        Kind::Url => (
            value.as_str().is_some_and(is_url),
            "an http or https URL".to_owned(),
        ),
        Kind::OneOf(words) => (
            value.as_str().is_some_and(|word| words.contains(&word)),
            format!("one of {}", words.join(", ")),
        ),
        Kind::Whole(min, max) => (
            whole(min, max),
            format!("a whole number from {min} to {max}"),
        ),
        Kind::WholeOrAuto(min, max) => (
            value == "auto" || whole(min, max),
            format!("a whole number from {min} to {max}, or \"auto\""),
        ),
        Kind::Number(min, max) => (
            value.is_number()
                && plain_number(&value.to_string())
                    .is_some_and(|number| number >= min.into() && number <= max.into()),
            format!("a number from {min} to {max}"),
        ),
        Kind::Flag => (value.is_boolean(), "true or false".to_owned()),
        Kind::List(min, max) => (
            value
                .as_array()
                .is_some_and(|list| (min..=max).contains(&list.len())),
            format!("a list of {min} to {max} entries"),
        ),
        Kind::Object => (value.is_object(), "an object".to_owned()),
    };
    if fits {
        return Ok(());
    }
    Err(Refusal::invalid(
        field,
        format!("{field} must be {expected}"),
    ))
}

pub(in crate::decide) fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.chars().any(|c| c.is_control() || c.is_whitespace())
    })
}

pub(in crate::decide) fn is_media(text: &str) -> bool {
    let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=-_\n".contains(&b);
    is_url(text) || (!text.is_empty() && text.bytes().all(base64))
}
