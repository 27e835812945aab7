//! What arrives: one request or a batch, as JSON, with errors that name the field.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::problem::{Problem, ProblemCode};
use super::request::TaskRequest;

/// One request, or `{"tasks": […]}`.
#[derive(Clone, Debug)]
pub enum Submission {
    /// One request.
    One(Box<TaskRequest>),
    /// Several in one commit.
    Batch(Vec<TaskRequest>),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    tasks: Vec<TaskRequest>,
}

impl Submission {
    /// Parses a body.
    ///
    /// # Errors
    /// `invalid-request`, naming the field.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        if has_tasks(body) {
            let batch: Batch = parse_json(body)?;
            return Ok(Submission::Batch(batch.tasks));
        }
        Ok(Submission::One(Box::new(parse_json(body)?)))
    }

    /// Returns the requests.
    #[must_use]
    pub fn requests(&self) -> &[TaskRequest] {
        match self {
            Submission::One(request) => std::slice::from_ref(request),
            Submission::Batch(requests) => requests,
        }
    }
}

/// A question about prices: one request, or `{"tasks": […]}`, with `"advise": true` beside the
/// tasks if cheaper ways are asked for too.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// What would be made.
    pub submission: Submission,
    /// Whether cheaper ways are asked for.
    pub advise: bool,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    tasks: Vec<TaskRequest>,
    #[serde(default)]
    advise: bool,
}

impl Inquiry {
    /// Parses a body.
    ///
    /// # Errors
    /// `invalid-request`, naming the field.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        if has_tasks(body) {
            let Asked { tasks, advise } = parse_json(body)?;
            let submission = Submission::Batch(tasks);
            return Ok(Self { submission, advise });
        }
        let submission = Submission::parse(body)?;
        let advise = false;
        Ok(Self { submission, advise })
    }
}

/// Tells whether a document is an object with the key `tasks`, and keeps nothing else of it.
fn has_tasks(body: &[u8]) -> bool {
    struct Keys;

    impl<'de> Visitor<'de> for Keys {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
            let mut found = false;
            while let Some(key) = map.next_key::<String>()? {
                found |= key == "tasks";
                map.next_value::<IgnoredAny>()?;
            }
            Ok(found)
        }
    }

    // What is broken is reported by who reads it in full.
    let mut document = serde_json::Deserializer::from_slice(body);
    document.deserialize_map(Keys).unwrap_or(false)
}

/// Parses JSON.
///
/// # Errors
/// `invalid-request`, naming the field and what was expected. The text of a prompt never stands in
/// it.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut deserializer);
    let parsed = match parsed {
        // A number where a name belongs counts as broken JSON for the parser, not for the caller.
        Err(error) if error.inner().is_syntax() => match serde_json::from_slice(body) {
            Ok(value) => return parse_value(value),
            Err(_) => return Err(misfit(error)),
        },
        parsed => parsed.map_err(misfit)?,
    };
    deserializer.end().map_err(|_| {
        let detail = "the body has text after its JSON document; send one document";
        Problem::new(ProblemCode::InvalidRequest, detail)
    })?;
    Ok(parsed)
}

/// Reads a JSON value into one of our types.
///
/// # Errors
/// As [`parse_json`].
pub fn parse_value<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(misfit)
}

/// Says what does not fit, and the fix. A parser's own words may quote what a caller sent, which
/// may be a prompt or a key, so they are never passed on.
fn misfit(error: serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let error = error.into_inner();
    let invalid = |detail: String| Problem::new(ProblemCode::InvalidRequest, detail);
    if error.is_syntax() || error.is_eof() {
        let (line, column) = (error.line(), error.column());
        return invalid(format!(
            "the body is no JSON document (line {line}, column {column}); send one JSON object"
        ));
    }
    let message = error.to_string();
    let expected = message.rsplit_once(", expected ");
    let expected = expected.map(|(_, expected)| without_place(expected));
    if let Some(name) = quoted_after(&message, "missing field `") {
        let field = format!("{}{name}", inside(&path));
        return invalid(format!("{field:?} is missing; add it")).field(field);
    }
    if let Some(name) = quoted_after(&message, "unknown field `") {
        let outside = path.strip_suffix(name);
        let field = shown(&format!(
            "{}{name}",
            outside.map_or_else(|| inside(&path), str::to_owned)
        ));
        let known = expected.map_or_else(String::new, in_words);
        return invalid(format!("there is no field {field:?}; use {known}")).field(field);
    }
    if let Some(name) = quoted_after(&message, "duplicate field `") {
        return invalid(format!("{name:?} is given twice; send it once")).field(name);
    }
    let field = shown(&path);
    let wanted = match (field.rsplit('.').next(), expected) {
        (Some("duration"), _) => "a number of seconds, 5 or \"5\"".to_owned(),
        (Some("not_before"), _) => "a time as 2026-11-21T08:00:00Z (RFC 3339)".to_owned(),
        (_, Some(expected)) => in_words(expected),
        (_, None) => "something else".to_owned(),
    };
    match field.as_str() {
        "" | "." | "?" => invalid(format!("the body must be {wanted}")),
        _ => invalid(format!("{field:?} must be {wanted}")).field(field),
    }
}

/// Returns the start of a field's path in the object at a path.
fn inside(path: &str) -> String {
    match path {
        "." | "?" => String::new(),
        path => format!("{path}."),
    }
}

/// Cuts a path where it stops looking like one: a key may be anything, even a prompt.
fn shown(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.:[]?".contains(c);
    let plain: String = path.chars().take(96).take_while(|c| is_plain(*c)).collect();
    if plain.len() < path.len() {
        format!("{plain}…")
    } else {
        plain
    }
}

fn quoted_after<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    let rest = message.strip_prefix(before)?;
    let end = rest.find("`, expected").or_else(|| rest.find('`'))?;
    Some(&rest[..end])
}

fn without_place(expected: &str) -> &str {
    expected
        .find(" at line ")
        .map_or(expected, |end| &expected[..end])
}

fn in_words(expected: &str) -> String {
    match expected {
        "a string" | "string or map" => "text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a map" => "a JSON object".to_owned(),
        "a sequence" => "a list".to_owned(),
        other if other.starts_with("struct ") => "a JSON object".to_owned(),
        other => other.replace('`', "\""),
    }
}
