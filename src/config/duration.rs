//! Durations as text with a unit: read in any form that people write (`90s`, `1m 30s`, `35d`),
//! written in the largest unit that divides them.

use std::time::Duration;

use serde::{Deserializer, Serializer};

/// Reads `30s`, `5m`, `35d` and the like.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    humantime_serde::deserialize(from)
}

/// Writes the same form with one unit.
pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(*value))
}

/// Returns the duration in one unit: 35 days are `35d`, not `1month 4days 13h 26m 24s`.
pub(super) fn text(value: Duration) -> String {
    let ms = value.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    let unit = units
        .iter()
        .find(|(_, size)| ms > 0 && ms.is_multiple_of(*size));
    match unit {
        Some((name, size)) => format!("{}{name}", ms / size),
        None => format!("{ms}ms"),
    }
}
