//! Kling's JSON, converted at once into our words: the only place that knows its spelling.
//!
//! Two dialects describe a task, told apart by their keys: the new one (`id`, `status`) and the
//! legacy one (`task_id`, `task_status`). Tolerated in either: an envelope around the task, `null`
//! arrays, numbers where text is documented and the reverse, unknown keys, both spellings of
//! success. Whether a task is *believed* is decided elsewhere (`decide::trust`). Size is bounded by
//! whoever reads the bytes, depth by the parser (128 levels), outputs and texts here.

mod answer;
mod billing;
mod outputs;
mod records;

use jiff::Timestamp;
use serde_json::{Map, Value};
use url::Url;

pub use answer::{Entry, Envelope, Page, parse_envelope, parse_page, parse_tasks, says_not_found};
pub use records::{RecordPage, RecordSource, parse_records};

use crate::model::amount::Unit;
use crate::model::ids::{KlingTaskId, TaskId};
use crate::model::observation::{Observation, ObservedStatus};
use crate::model::request::KlingCall;

/// Results of one task that are read; more is taken for a body that we do not understand.
pub const OUTPUTS_MAX: usize = 64;

/// Characters of Kling's own words that are kept.
pub const MESSAGE_MAX_CHARS: usize = 500;

/// Why bytes are nothing of Kling's that we know. Holds no content: bodies carry signed addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, cut off, or nested too deep.
    #[error("not JSON")]
    NotJson,
    /// JSON, but no dialect's keys.
    #[error("neither id and status nor task_id and task_status are there")]
    NoKnownShape,
    /// Keys of both dialects: nobody can say which is meant.
    #[error("both id and status and task_id and task_status are there")]
    BothShapes,
    /// A field that has to be understood is not.
    #[error("the field {field:?} is not {expected}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What would be understood.
        expected: &'static str,
    },
    /// More outputs than [`OUTPUTS_MAX`].
    #[error("more than {OUTPUTS_MAX} outputs")]
    TooManyOutputs,
}

/// What a body leaves unsaid about money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The unit of the product's pack: the legacy dialect gives a bare number of units. `None`
    /// where the product is not known: then such a number says nothing.
    pub pack: Option<Unit>,
    /// The currency of the account's cash balance: the legacy dialect gives a bare amount.
    pub cash: Unit,
}

impl Terms {
    /// Makes the terms of a task whose product is paid from this pack.
    #[must_use]
    pub fn new(pack: Unit, cash: Unit) -> Self {
        Self {
            pack: Some(pack),
            cash,
        }
    }
}

/// For whoever only asks whether a body has a known shape.
impl Default for Terms {
    fn default() -> Self {
        Self::new(Unit::Video, Unit::Usd)
    }
}

/// Returns the currency of cash balances behind an API host.
///
/// Source: platform reference 1.1 and 2.4; the Beijing host serves the accounts of mainland China.
#[must_use]
pub fn cash_unit(base_url: &Url) -> Unit {
    match base_url.host_str() {
        Some(host) if host.contains("beijing") => Unit::Cny,
        Some(_) | None => Unit::Usd,
    }
}

/// Parses a callback body of either dialect.
///
/// Source: platform reference 3.2.
///
/// # Errors
/// [`Malformed`] when the bytes are no task that we know.
pub fn parse_callback(body: &[u8], terms: Terms) -> Result<Observation, Malformed> {
    let value: Value = serde_json::from_slice(body).map_err(|_| Malformed::NotJson)?;
    parse_task(&value, terms)
}

/// Parses a task object of either dialect, bare or as the `data` of an envelope.
///
/// Source: platform reference 2.4, 2.5.
///
/// # Errors
/// [`Malformed`] when it is no task that we know.
pub fn parse_task(value: &Value, terms: Terms) -> Result<Observation, Malformed> {
    let object = value.as_object().ok_or(Malformed::NoKnownShape)?;
    match (
        Dialect::of(object),
        object.get("data").and_then(Value::as_object),
    ) {
        (Err(Malformed::NoKnownShape), Some(inner)) => observe(inner, Dialect::of(inner)?, terms),
        (dialect, _) => observe(object, dialect?, terms),
    }
}

/// Parses the `data` of the answer to a create. Kling may leave the status out: it is `submitted`.
///
/// Source: platform reference 2.2, 2.5.
///
/// # Errors
/// [`Malformed`] when no task id can be read: the task may exist nevertheless.
pub fn parse_created(data: &Value) -> Result<Observation, Malformed> {
    let mut object = data.as_object().ok_or(Malformed::NoKnownShape)?.clone();
    for (id, status) in [("id", "status"), ("task_id", "task_status")] {
        if present(&object, id) && !present(&object, status) {
            object.insert(status.to_owned(), Value::from("submitted"));
        }
    }
    observe(&object, Dialect::of(&object)?, Terms::default())
}

/// Writes a task as its own body again, with our id in it, so that what a query learned can take a
/// callback's path. Legacy tasks come out of `GET /tasks` without the id they were created with.
#[must_use]
pub fn task_body(raw: &Value, external_id: &TaskId) -> Vec<u8> {
    let mut raw = raw.clone();
    if let Some(object) = raw.as_object_mut()
        && self::external_id(object).is_none()
    {
        object.insert("external_task_id".to_owned(), external_id.as_str().into());
    }
    raw.to_string().into_bytes()
}

/// Completes the body of a create with the callback address and our id, where its standard wants
/// them. A `callback_url` in the wrong place is ignored by Kling, and the task would never call
/// back.
///
/// Source: platform reference 2.2, 2.5.
#[must_use]
pub fn create_body(call: &KlingCall, external_id: &TaskId, callback_url: &str) -> Value {
    let mut body = call.body.clone();
    let ours = [
        ("callback_url", callback_url),
        ("external_task_id", external_id.as_str()),
    ];
    let ours = ours.map(|(key, value)| (key.to_owned(), Value::from(value)));
    if is_legacy(&call.path) {
        body.extend(ours);
    } else {
        let mut options = match body.remove("options") {
            Some(Value::Object(options)) => options,
            Some(_) | None => Map::new(),
        };
        options.extend(ours);
        body.insert("options".to_owned(), Value::Object(options));
    }
    Value::Object(body)
}

/// Tells whether a path belongs to the legacy standard.
#[must_use]
pub fn is_legacy(path: &str) -> bool {
    path.starts_with("/v1/")
}

/// How one standard spells a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    New,
    Legacy,
}

impl Dialect {
    fn of(object: &Map<String, Value>) -> Result<Self, Malformed> {
        let new = present(object, "id") && present(object, "status");
        let legacy = present(object, "task_id") && present(object, "task_status");
        match (new, legacy) {
            (true, false) => Ok(Self::New),
            (false, true) => Ok(Self::Legacy),
            (true, true) => Err(Malformed::BothShapes),
            (false, false) => Err(Malformed::NoKnownShape),
        }
    }
}

fn observe(
    object: &Map<String, Value>,
    dialect: Dialect,
    terms: Terms,
) -> Result<Observation, Malformed> {
    let (id, status, message) = match dialect {
        Dialect::New => ("id", "status", "message"),
        Dialect::Legacy => ("task_id", "task_status", "task_status_msg"),
    };
    let kling_task_id = id_text(object, &[id])
        .and_then(|text| KlingTaskId::parse(&text).ok())
        .ok_or(Malformed::Field {
            field: id,
            expected: "a task id",
        })?;
    let status = parse_status(object.get(status)).ok_or(Malformed::Field {
        field: status,
        expected: "submitted, processing, succeeded or failed",
    })?;
    let ended = status.is_terminal();
    let message = text(object, &[message]).unwrap_or_default();
    Ok(Observation {
        kling_task_id,
        external_id: external_id(object),
        status,
        message: shorten(&message, MESSAGE_MAX_CHARS),
        outputs: match dialect {
            Dialect::New => outputs::new(object.get("outputs"))?,
            Dialect::Legacy => outputs::legacy(object.get("task_result"))?,
        },
        // Before the end a bill says nothing: legacy shows "0" there.
        billing: if ended {
            billing::read(object, terms)
        } else {
            None
        },
        created_at: time(object, &["create_time", "created_at"]),
        updated_at: time(object, &["update_time", "updated_at"]),
    })
}

fn parse_status(value: Option<&Value>) -> Option<ObservedStatus> {
    match value?.as_str()? {
        "submitted" => Some(ObservedStatus::Submitted),
        "processing" => Some(ObservedStatus::Processing),
        "succeed" | "succeeded" => Some(ObservedStatus::Succeeded),
        "failed" => Some(ObservedStatus::Failed),
        _ => None,
    }
}

/// New tasks carry it at the top; legacy ones in `task_info`, and some at the top too.
fn external_id(object: &Map<String, Value>) -> Option<String> {
    let nested = object.get("task_info").and_then(Value::as_object);
    nested
        .and_then(|info| id_text(info, &["external_task_id"]))
        .or_else(|| id_text(object, &["external_id", "external_task_id"]))
        .filter(|id| id.len() <= 256)
}

/// A key whose value is `null` is as good as absent.
fn present(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key).is_some_and(|value| !value.is_null())
}

/// The first of the keys that holds non-empty text or a whole number. A number with a point or an
/// exponent has already lost its last digits in the parser, and an id must be exact.
fn id_text(object: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| match object.get(*key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    })
}

/// The first of the keys that holds text or a number, as text.
fn text(object: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| match object.get(*key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn time(object: &Map<String, Value>, keys: &[&str]) -> Option<Timestamp> {
    let milliseconds = keys.iter().find_map(|key| whole(object.get(*key)?))?;
    Timestamp::from_millisecond(milliseconds).ok()
}

fn shorten(value: &str, chars: usize) -> String {
    value.chars().take(chars).collect()
}
