//! A small reading of JSON Schema: the words that our generated schemas use, no others.

use serde_json::{Map, Value};

/// Returns where a document breaks its schema.
///
/// # Panics
/// On a word of JSON Schema that it does not know: nothing goes unchecked by mistake.
pub(crate) fn violations(schema: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, document, "$", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let schema = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return found.push(format!("{at} must not be there")),
        schema => schema
            .as_object()
            .expect("a schema is an object or a truth value"),
    };
    for (word, rule) in schema {
        match word.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "format" | "default" => {}
            "minimum" | "maximum" | "additionalProperties" | "items" | "properties" => {}
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                let target = root.pointer(pointer).expect("a reference has its target");
                check(root, target, value, at, found);
            }
            "type" => {
                if !is_of(rule, value) {
                    found.push(format!("{at} is no {rule}"));
                }
            }
            "enum" => {
                if !rule.as_array().unwrap().contains(value) {
                    found.push(format!("{at} is none of {rule}"));
                }
            }
            "const" => {
                if rule != value {
                    found.push(format!("{at} is not {rule}"));
                }
            }
            "anyOf" | "oneOf" => {
                let fits = |one: &Value| {
                    let mut within = Vec::new();
                    check(root, one, value, at, &mut within);
                    within.is_empty()
                };
                if !rule.as_array().unwrap().iter().any(fits) {
                    found.push(format!("{at} fits none of {word}"));
                }
            }
            "allOf" => {
                for one in rule.as_array().unwrap() {
                    check(root, one, value, at, found);
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        found.push(format!("{at} lacks {name}"));
                    }
                }
            }
            other => panic!("the word {other:?} of JSON Schema is not known here"),
        }
    }
    match value {
        Value::Object(members) => members_fit(root, schema, members, at, found),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                if let Some(rule) = schema.get("items") {
                    check(root, rule, item, &format!("{at}[{i}]"), found);
                }
            }
        }
        _ => {}
    }
}

fn members_fit(
    root: &Value,
    schema: &Map<String, Value>,
    members: &Map<String, Value>,
    at: &str,
    found: &mut Vec<String>,
) {
    let named = schema.get("properties");
    for (name, member) in members {
        let rule = named.and_then(|named| named.get(name));
        if let Some(rule) = rule.or_else(|| schema.get("additionalProperties")) {
            check(root, rule, member, &format!("{at}.{name}"), found);
        }
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| is_of(kind, value)),
        kind => match kind.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            other => panic!("the type {other:?} is not known here"),
        },
    }
}
