//! The results of a task: one [`Output`] per address, in Kling's order.

use serde_json::{Map, Value};

use super::{Malformed, OUTPUTS_MAX, id_text, text};
use crate::model::observation::{Output, SignedUrl};

/// Longer addresses are not Kling's.
const URL_MAX_BYTES: usize = 8 << 10;

/// Addresses of a result with the key of its length. A sound comes in two formats and a multi-shot
/// in three views, each a file of its own.
///
/// Source: platform reference 2.4, 2.6.
const ADDRESSES: [(&str, &str); 9] = [
    ("url", "duration"),
    ("mp3_url", "mp3_duration"),
    ("wav_url", "wav_duration"),
    ("url_mp3", "duration_mp3"),
    ("url_wav", "duration_wav"),
    ("url_1", "duration"),
    ("url_2", "duration"),
    ("url_3", "duration"),
    ("trial_url", "duration"),
];

const IDS: [&str; 3] = ["id", "voice_id", "element_id"];

/// Lists of a legacy `task_result` and what they hold.
const LEGACY: [(&str, &str); 5] = [
    ("videos", "video"),
    ("images", "image"),
    ("audios", "audio"),
    ("voices", "voice"),
    ("elements", "element"),
];

/// Reads the `outputs` of the new dialect; an entry that names no type is passed over.
pub(super) fn new(outputs: Option<&Value>) -> Result<Vec<Output>, Malformed> {
    let entries = list(outputs).filter_map(|entry| {
        let kind = entry.get("type")?.as_str()?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let known = (1..=32).contains(&kind.len()) && kind.bytes().all(plain);
        known.then(|| results(entry, kind))
    });
    bounded(entries.flatten())
}

/// Reads the `task_result` of the legacy dialect.
pub(super) fn legacy(result: Option<&Value>) -> Result<Vec<Output>, Malformed> {
    let result = result.and_then(Value::as_object);
    let lists = LEGACY.iter().flat_map(|(key, kind)| {
        let mut entries: Vec<_> = list(result.and_then(|result| result.get(*key))).collect();
        // Entries without an index keep their place: the sort is stable.
        entries.sort_by_key(|entry| entry.get("index").and_then(Value::as_u64));
        entries.into_iter().flat_map(|entry| results(entry, kind))
    });
    bounded(lists)
}

/// `null` and anything that is no list hold nothing.
fn list(value: Option<&Value>) -> impl Iterator<Item = &Map<String, Value>> {
    let entries = value.and_then(Value::as_array).map(Vec::as_slice);
    entries
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_object)
}

fn bounded(outputs: impl Iterator<Item = Output>) -> Result<Vec<Output>, Malformed> {
    let outputs: Vec<_> = outputs.take(OUTPUTS_MAX + 1).collect();
    if outputs.len() > OUTPUTS_MAX {
        return Err(Malformed::TooManyOutputs);
    }
    Ok(outputs)
}

fn results(entry: &Map<String, Value>, kind: &str) -> Vec<Output> {
    let id = id_text(entry, &IDS).filter(|id| id.len() <= 128);
    let output = |url: &str, duration: Option<String>| Output {
        kind: kind.to_owned(),
        id: id.clone(),
        url: SignedUrl(url.to_owned()),
        duration,
    };
    let mut outputs: Vec<_> = ADDRESSES
        .iter()
        .filter_map(|(url, duration)| Some(output(address(entry, url)?, length(entry, duration))))
        .collect();
    // The watermarked copy is a second rendering of the same result, wanted only where it is alone.
    if outputs.is_empty()
        && let Some(url) = address(entry, "watermark_url")
    {
        outputs.push(output(url, length(entry, "duration")));
    }
    // An element is used by its id; there is nothing to download.
    if outputs.is_empty() && kind == "element" && id.is_some() {
        outputs.push(output("", None));
    }
    outputs
}

fn address<'a>(entry: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let url = entry.get(key)?.as_str()?;
    (1..=URL_MAX_BYTES).contains(&url.len()).then_some(url)
}

fn length(entry: &Map<String, Value>, key: &str) -> Option<String> {
    text(entry, &[key]).filter(|length| (1..=32).contains(&length.len()))
}
