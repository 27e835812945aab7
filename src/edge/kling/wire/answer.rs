//! Answers of the API: the envelope, lists and pages of tasks.

use serde_json::{Map, Value};

use super::{
    MESSAGE_MAX_CHARS, Malformed, Terms, external_id, id_text, parse_task, shorten, text, whole,
};
use crate::model::observation::Observation;
use crate::model::reply::Reply;

/// Kling's envelope around every answer of its API.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// 0 for success.
    pub code: i64,
    /// Kling's words, shortened.
    pub message: String,
    /// What Kling's support asks for.
    pub request_id: Option<String>,
    /// The answer proper; `null` where Kling leaves it out.
    pub data: Value,
}

/// Parses an envelope. A wrong path or host answers with anything, HTML included.
///
/// Source: platform reference 1.3, 4.
///
/// # Errors
/// [`Malformed`] when the bytes are no envelope.
pub fn parse_envelope(body: &[u8]) -> Result<Envelope, Malformed> {
    let value: Value = serde_json::from_slice(body).map_err(|_| Malformed::NotJson)?;
    let Value::Object(mut object) = value else {
        return Err(Malformed::NoKnownShape);
    };
    let code = object.get("code").ok_or(Malformed::NoKnownShape)?;
    let code = whole(code).ok_or(Malformed::Field {
        field: "code",
        expected: "a whole number",
    })?;
    let message = text(&object, &["message", "msg"]).unwrap_or_default();
    Ok(Envelope {
        code,
        message: shorten(&message, MESSAGE_MAX_CHARS),
        request_id: text(&object, &["request_id"]).map(|id| shorten(&id, 64)),
        data: object.remove("data").unwrap_or(Value::Null),
    })
}

/// One element of a list of tasks. Its ids are given even where the rest cannot be read, so that a
/// task that *is* there is never taken for one that is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Kling's id.
    pub kling_id: Option<String>,
    /// The `external_task_id`, where Kling repeats it.
    pub external_id: Option<String>,
    /// The task.
    pub observation: Result<Observation, Malformed>,
    /// The element as it came.
    pub raw: Value,
}

/// Parses the `data` of an answer that lists tasks: of `GET /tasks`, of a legacy list or, as a list
/// of one, of a single query. `null` is an empty list. `terms_of` is given Kling's and the external
/// id.
///
/// Source: platform reference 2.4, 2.5.
///
/// # Errors
/// [`Malformed`] when it is neither a list nor a task.
pub fn parse_tasks(
    data: Value,
    terms_of: impl Fn(Option<&str>, Option<&str>) -> Terms,
) -> Result<Vec<Entry>, Malformed> {
    let elements = match data {
        Value::Array(elements) => elements,
        Value::Null => Vec::new(),
        Value::Object(_) => vec![data],
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(Malformed::NoKnownShape);
        }
    };
    let entry = |raw: Value| {
        let object = raw.as_object();
        let kling_id = object.and_then(|o| id_text(o, &["id", "task_id"]));
        let external_id = object.and_then(external_id);
        let terms = terms_of(kling_id.as_deref(), external_id.as_deref());
        Entry {
            observation: parse_task(&raw, terms),
            kling_id,
            external_id,
            raw,
        }
    };
    Ok(elements.into_iter().map(entry).collect())
}

/// One page of the cursor query.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Its tasks.
    pub tasks: Vec<Entry>,
    /// Where the next page starts; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// Parses the `data` of `POST /tasks`. An account without tasks has no `result` at all.
///
/// Source: platform reference 2.4.
///
/// # Errors
/// [`Malformed`] when it is no page.
pub fn parse_page(data: Value, terms: Terms) -> Result<Page, Malformed> {
    let Value::Object(mut object) = data else {
        return Err(Malformed::NoKnownShape);
    };
    let tasks = object.remove("result").unwrap_or(Value::Null);
    Ok(Page {
        tasks: parse_tasks(tasks, |_, _| terms)?,
        next_cursor: next_cursor(&object)?,
    })
}

/// Where a page's next one starts. A page that has a next one and does not say where is not taken
/// for the last: whoever counts what is there would count too little.
pub(super) fn next_cursor(object: &Map<String, Value>) -> Result<Option<String>, Malformed> {
    let has_more = object.get("has_more").and_then(Value::as_bool);
    let cursor = text(object, &["next_cursor"]).filter(|cursor| !cursor.is_empty());
    match (has_more, cursor) {
        (Some(true), None) => Err(Malformed::Field {
            field: "next_cursor",
            expected: "there, although there is more",
        }),
        (Some(false), _) => Ok(None),
        (_, cursor) => Ok(cursor),
    }
}

/// Tells whether a single legacy query was answered that there is no such task: 400, not 404.
///
/// Source: platform reference 2.5.
#[must_use]
pub fn says_not_found(reply: &Reply) -> bool {
    let message = reply.message.to_ascii_lowercase();
    reply.code == Some(1201) && (message.contains("not found") || message.contains("not exist"))
}
