//! The shape of the configuration: which keys there are and what kind of value each takes, read
//! off the defaults. Values that came as text are converted to the kind of their key.

use serde_json::{Value as Json, json};
use toml::{Table, Value};

use super::load::Problem;
use super::{Config, secret_files};

/// Tables with free names, with an example of what stands under each name.
fn open_tables() -> [(&'static str, Json); 4] {
    [
        ("kling.concurrency", json!(5)),
        ("storage.options", Json::Null),
        ("budget.tenants", Json::Null),
        ("pricing.cost.rates", Json::Null),
    ]
}

/// Converts text to the kinds of its keys and returns every unknown key and wrong value.
pub(super) fn conform(tree: &mut Table) -> Vec<Problem> {
    let shape = serde_json::to_value(Config::default()).expect("the defaults can be written");
    let mut problems = Vec::new();
    conform_table(tree, &[], &shape, &mut problems);
    problems
}

fn conform_table(tree: &mut Table, above: &[&str], shape: &Json, problems: &mut Vec<Problem>) {
    for (name, value) in tree.iter_mut() {
        let path: Vec<&str> = above.iter().copied().chain([name.as_str()]).collect();
        let key = path.join(".");
        let open = open_tables()
            .into_iter()
            .find(|(open, _)| *open == above.join("."));
        let below = match &open {
            Some((_, example)) => Some(example),
            None => shape.get(name),
        };
        match (below, value) {
            (None, _) => problems.push(unknown(&key, above, shape)),
            (Some(Json::Object(_)), Value::Table(table)) => {
                let below = below.expect("it has just been matched");
                conform_table(table, &path, below, problems);
            }
            (Some(Json::Object(_)), value) => {
                problems.push(wrong(&key, value, "expected a table", ""));
            }
            (Some(example), value) => {
                convert(value, example, &key);
                if let Err(reason) = try_alone(&path, value) {
                    // Of numbers, truth values and limits the reader says nothing that helps.
                    let plain =
                        matches!(example, Json::Number(_) | Json::Bool(_)) || is_money(&key);
                    let reason = if plain { String::new() } else { reason };
                    problems.push(wrong(&key, value, &expected(&key, example), &reason));
                }
            }
        }
    }
}

/// Turns text into the number or truth value that the key takes, and numbers into text where
/// decimals are read: the file's `0.8` never takes part in an arithmetic of floats.
fn convert(value: &mut Value, example: &Json, key: &str) {
    let converted = match (&*value, example) {
        (Value::String(text), Json::Number(_)) => text.parse().ok().map(Value::Integer),
        (Value::String(text), Json::Bool(_)) => text.parse().ok().map(Value::Boolean),
        _ => None,
    };
    if let Some(converted) = converted {
        *value = converted;
    } else if key.starts_with("budget.") && !example.is_number() {
        numbers_to_text(value);
    }
}

/// Tells whether decimals stand under a key.
fn is_money(key: &str) -> bool {
    key.starts_with("budget.") || key.starts_with("pricing.cost.")
}

fn numbers_to_text(value: &mut Value) {
    match value {
        Value::Float(number) => *value = Value::String(number.to_string()),
        Value::Integer(number) => *value = Value::String(number.to_string()),
        Value::Array(values) => values.iter_mut().for_each(numbers_to_text),
        Value::Table(table) => table
            .iter_mut()
            .for_each(|(_, value)| numbers_to_text(value)),
        Value::String(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

/// Reads a configuration in which only this key is set.
fn try_alone(path: &[&str], value: &Value) -> Result<(), String> {
    let tree = path.iter().rev().fold(value.clone(), |value, name| {
        Value::Table(Table::from_iter([((*name).to_owned(), value)]))
    });
    let read: Result<Config, toml::de::Error> = tree.try_into();
    read.map(|_| ()).map_err(|error| error.message().to_owned())
}

fn unknown(key: &str, above: &[&str], shape: &Json) -> Problem {
    // The value is not shown: a misspelt name may well hold a secret.
    let known: Vec<&str> = shape
        .as_object()
        .map(|table| table.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let section = match above {
        [] => "at the top there are".to_owned(),
        above => format!("[{}] has", above.join(".")),
    };
    Problem::new(
        key,
        format!("there is no such key; {section} {}", known.join(", ")),
    )
}

fn wrong(key: &str, value: &Value, expected: &str, reason: &str) -> Problem {
    let secret = secret_files::is_secret(key) || key == "storage.options";
    // An address may hold credentials, and the reader's own words may repeat them.
    let secret = secret || value.as_str().is_some_and(|text| text.contains('@'));
    let fix = match reason {
        "" => expected.to_owned(),
        _ if secret => expected.to_owned(),
        reason => format!("{expected} ({})", reason.trim().replace('\n', " ")),
    };
    Problem {
        key: key.to_owned(),
        value: (!secret).then(|| shown(value)),
        fix,
    }
}

/// Shows at most 80 characters of a value.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// Says what a key takes.
fn expected(key: &str, example: &Json) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    if key.ends_with("daily_limit") || key.starts_with("budget.tenants.") {
        return "expected a number, or a table of numbers by unit".to_owned();
    }
    match example {
        Json::Number(number) => format!("expected a whole number, for example {number}"),
        Json::Bool(_) => "expected true or false".to_owned(),
        Json::Array(_) => "expected a list of texts, for example [\"…\", \"…\"]".to_owned(),
        Json::String(text) if name == "alert_threshold" => {
            format!("expected a number, for example {text}, or a list of them")
        }
        Json::String(text) if key == "receiver.unsigned" => {
            format!("expected \"confirm\", \"accept\" or \"reject\", for example \"{text}\"")
        }
        Json::String(text) => format!("expected text like \"{text}\""),
        Json::Null if name.ends_with("url") => "expected a URL, as text".to_owned(),
        Json::Null if name.ends_with("_file") => "expected the path of a file, as text".to_owned(),
        Json::Null | Json::Object(_) => "expected text in quotation marks".to_owned(),
    }
}
