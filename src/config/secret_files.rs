//! `x_file` for any secret key `x`: the file holds the value, or one entry of a list a line.

use toml::{Table, Value};

use super::load::Problem;

/// The secrets that are one text.
const TEXTS: [&str; 5] = [
    "kling.api_key",
    "kling.access_key",
    "kling.secret_key",
    "prompt.moderation.key",
    "budget.alert_hook",
];
/// The secrets that are lists.
const LISTS: [&str; 4] = [
    "receiver.capability_keys",
    "receiver.webhook_secrets",
    "api.keys",
    "api.operator_keys",
];
/// The table whose values may all be secrets.
const OPTIONS: &str = "storage.options";
/// Options of the object store that are themselves paths.
const OPTION_PATHS: &str = "token_file";
/// Bound of such a file, bytes.
const FILE_MAX_BYTES: u64 = 256 << 10;

/// Tells whether the key's value is a secret.
pub(super) fn is_secret(key: &str) -> bool {
    let option = key
        .strip_prefix(OPTIONS)
        .is_some_and(|rest| rest.starts_with('.'));
    option || TEXTS.contains(&key) || LISTS.contains(&key)
}

/// Returns the secret that the key `<secret>_file` stands for, if it is one.
pub(super) fn stands_for(key: &str) -> Option<&str> {
    let secret = key.strip_suffix("_file")?;
    (is_secret(secret) && !key.ends_with(OPTION_PATHS)).then_some(secret)
}

/// Replaces each `x_file` in the table by `x` with what the file holds. `above` is the table's own
/// key, empty for the root.
pub(super) fn inline(table: &mut Table, above: &str, problems: &mut Vec<Problem>) {
    let names: Vec<String> = table.keys().cloned().collect();
    for name in names {
        let key = match above {
            "" => name.clone(),
            above => format!("{above}.{name}"),
        };
        if let Some(Value::Table(below)) = table.get_mut(&name) {
            inline(below, &key, problems);
            continue;
        }
        let (Some(secret), Some(plain)) = (stands_for(&key), name.strip_suffix("_file")) else {
            continue;
        };
        if table.contains_key(plain) {
            problems.push(Problem::new(
                &key,
                format!("set either this or {secret}, not both"),
            ));
        }
        let Some(value) = table.remove(&name) else {
            continue;
        };
        match read(&key, secret, &value) {
            Ok(value) => {
                table.insert(plain.to_owned(), value);
            }
            Err(problem) => problems.push(problem),
        }
    }
}

/// Reads the file that `key` names: one text for a text, a line an entry for a list.
pub(super) fn read(key: &str, secret: &str, value: &Value) -> Result<Value, Problem> {
    let Some(path) = value.as_str() else {
        return Err(Problem::new(key, "expected the path of a file, as text"));
    };
    let fail = |fix: String| Problem {
        key: key.to_owned(),
        value: Some(format!("{path:?}")),
        fix,
    };
    let cannot = |error: std::io::Error| fail(format!("the file cannot be read: {error}"));
    let size = std::fs::metadata(path).map_err(cannot)?.len();
    if size > FILE_MAX_BYTES {
        return Err(fail(format!("the file is over {FILE_MAX_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if LISTS.contains(&secret) {
        return Ok(Value::Array(
            lines.map(|line| Value::String(line.to_owned())).collect(),
        ));
    }
    // A JSON credential of an object store has many lines.
    if !TEXTS.contains(&secret) && !text.trim().is_empty() {
        return Ok(Value::String(text.trim().to_owned()));
    }
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(Value::String(line.to_owned())),
        (_, Some(_)) => Err(fail(
            "the file has more than one line; expected the secret".into(),
        )),
        (None, _) => Err(fail("the file is empty; expected the secret".to_owned())),
    }
}
