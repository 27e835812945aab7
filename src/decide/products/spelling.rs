//! What a model's spelling says by itself, for models that the table does not know.

use crate::model::task::Generation;

/// What can be read from a spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelled {
    /// The version, the same for both spellings: `4.0-turbo` for `kling-v4-turbo`.
    pub version: String,
    /// Which generation spells it so.
    pub generation: Generation,
}

/// Reads a spelling: `kling-4.0` is new, `kling-v4` legacy, both version `4.0`.
///
/// Returns `None` unless the text is `kling-` and up to 58 of `a-z`, `0-9`, `.` and `-`: on the
/// new generation the spelling becomes part of a path.
///
/// Source: platform reference, introduction (how the two generations are told apart) and 9.3.
#[must_use]
pub fn spelled(spelling: &str) -> Option<Spelled> {
    let rest = spelling.strip_prefix("kling-")?;
    let clean = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    if !(1..=58).contains(&rest.len()) || !rest.bytes().all(clean) {
        return None;
    }
    let legacy_rest = rest
        .strip_prefix("video-")
        .or_else(|| rest.strip_prefix("image-"))
        .or_else(|| {
            rest.strip_prefix('v')
                .filter(|numbers| numbers.starts_with(|c: char| c.is_ascii_digit()))
        });
    Some(match legacy_rest {
        Some(numbers) => Spelled {
            version: version_of(numbers),
            generation: Generation::Legacy,
        },
        None => Spelled {
            version: version_of(rest),
            generation: Generation::New,
        },
    })
}

/// Turns `3-omni` and `3.0-omni` into `3.0-omni`, `2-6` and `2.6` into `2.6`.
fn version_of(rest: &str) -> String {
    let parts: Vec<&str> = rest.split('-').collect();
    let numeric = |part: &&&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (number, names) = match parts.iter().take(2).take_while(numeric).count() {
        0 => (parts[0].to_owned(), &parts[1..]),
        1 => (format!("{}.0", parts[0]), &parts[1..]),
        _ => (format!("{}.{}", parts[0], parts[1]), &parts[2..]),
    };
    std::iter::once(number.as_str())
        .chain(names.iter().copied())
        .collect::<Vec<_>>()
        .join("-")
}
