//! Changes JSON as JSON: a random byte nearly always makes it no JSON at all, and then nothing
//! behind the parser is ever reached.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Number, Value, json};

/// Texts on which readers of text stumble: several bytes a character, none at all, what ends a
/// string or a path, numbers in other spellings.
const TEXTS: [&str; 12] = [
    "",
    " ",
    "é",
    "纸船 🦊",
    "\u{0}",
    "\"\\",
    "../..",
    "null",
    "-1",
    "1e400",
    "٣",
    "0.10",
];

/// Makes the next input of the last one; `words` are the keys and values that mean something.
pub(crate) fn mutate(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    words: &[&str],
) -> usize {
    let mut dice = SmallRng::seed_from_u64(u64::from(seed));
    let parsed = serde_json::from_slice(&data[..size]);
    if let (Ok(mut value), false) = (parsed, dice.random_ratio(1, 8)) {
        for _ in 0..dice.random_range(1..=3) {
            change(&mut value, words, &mut dice);
        }
        let text = value.to_string();
        if text.len() <= max_size {
            data[..text.len()].copy_from_slice(text.as_bytes());
            return text.len();
        }
    }
    libfuzzer_sys::fuzzer_mutate(data, size, max_size)
}

fn change(root: &mut Value, words: &[&str], dice: &mut SmallRng) {
    let donor = nth(root, dice.random_range(0..count(root))).clone();
    let place = dice.random_range(0..count(root));
    let node = nth(root, place);
    match dice.random_range(0..4) {
        0 => *node = scalar(words, dice),
        1 => *node = donor,
        _ => match node {
            Value::String(text) => *text = other_text(text, words, dice),
            Value::Array(items) => other_items(items, donor, dice),
            Value::Object(fields) => other_fields(fields, donor, words, dice),
            Value::Null | Value::Bool(_) | Value::Number(_) => *node = scalar(words, dice),
        },
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// The value that is so far down the tree, root first.
fn nth(value: &mut Value, n: usize) -> &mut Value {
    if n == 0 {
        return value;
    }
    let mut left = n - 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    for child in children {
        let below = count(child);
        if left < below {
            return nth(child, left);
        }
        left -= below;
    }
    unreachable!("n is below the count")
}

fn word<'a>(words: &[&'a str], dice: &mut SmallRng) -> &'a str {
    let all = if dice.random() { words } else { &TEXTS };
    all.choose(dice).copied().unwrap_or_default()
}

fn scalar(words: &[&str], dice: &mut SmallRng) -> Value {
    match dice.random_range(0..8) {
        0 => Value::Null,
        1 => json!(dice.random::<bool>()),
        2 => json!(dice.random::<i64>()),
        3 => json!(dice.random_range(-2..100)),
        4 => Number::from_f64(dice.random_range(-1e3..1e3)).map_or(Value::Null, Value::Number),
        5 => json!(*[i64::MIN, i64::MAX, 0].choose(dice).unwrap_or(&0)),
        6 => json!([{}]),
        _ => json!(word(words, dice)),
    }
}

fn other_text(text: &str, words: &[&str], dice: &mut SmallRng) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let place = dice.random_range(0..=chars.len());
    match dice.random_range(0..4) {
        0 => chars.truncate(place),
        1 => chars.insert(place, dice.random()),
        2 => drop(chars.splice(place..place, word(words, dice).chars())),
        _ => {
            let times = dice.random_range(1..600);
            chars.extend(std::iter::repeat_n(dice.random::<char>(), times));
        }
    }
    chars.into_iter().collect()
}

fn other_items(items: &mut Vec<Value>, donor: Value, dice: &mut SmallRng) {
    let place = dice.random_range(0..=items.len());
    match dice.random_range(0..3) {
        0 => items.truncate(place),
        1 => items.insert(place, donor),
        _ => items.extend(std::iter::repeat_n(donor, dice.random_range(1..70))),
    }
}

fn other_fields(
    fields: &mut Map<String, Value>,
    donor: Value,
    words: &[&str],
    dice: &mut SmallRng,
) {
    let keys: Vec<String> = fields.keys().cloned().collect();
    let old = keys.choose(dice).cloned().unwrap_or_default();
    match dice.random_range(0..3) {
        0 => drop(fields.remove(&old)),
        1 => drop(fields.insert(word(words, dice).to_owned(), donor)),
        _ => {
            let value = fields.remove(&old).unwrap_or(donor);
            fields.insert(word(words, dice).to_owned(), value);
        }
    }
}
