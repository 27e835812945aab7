//! What the environment says: which names are ours, and what their values mean.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::load::Problem;

const PREFIX: &str = "KLING_RELAY_";
/// The only names without `__` that are ours.
const TOP_LEVEL: [&str; 2] = ["data_dir", "environment"];

/// Returns the process's environment. Names and values that are not UTF-8 are nobody's setting.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Returns the directories in which programs are looked for.
pub fn program_dirs() -> Vec<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

/// Returns the directives of `RUST_LOG`, if there are any.
pub fn log_directives() -> Option<String> {
    std::env::var("RUST_LOG").ok()
}

/// Tells whether `NO_COLOR` asks for plain text.
pub fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Returns the name of whoever runs the program, as the environment has it.
pub fn user_name() -> Option<String> {
    std::env::var("USER").ok().filter(|name| !name.is_empty())
}

/// One setting from the environment.
pub(super) struct Setting {
    /// The variable's name.
    pub(super) variable: String,
    /// Section by section down to the key.
    pub(super) path: Vec<String>,
    /// What it is set to.
    pub(super) value: Value,
}

/// Picks what is ours, in an order in which a table comes before its own keys. Kubernetes puts
/// names like `KLING_RELAY_SERVICE_HOST` in front of every program, so a name alone means nothing.
pub(super) fn settings(
    environment: impl Iterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> Vec<Setting> {
    let ours: BTreeMap<String, String> = environment
        .filter(|(name, _)| path_of(name).is_some())
        .collect();
    let mut settings = Vec::new();
    for (variable, text) in ours {
        let path = path_of(&variable).expect("the names were filtered by it");
        match value_of(&text) {
            Ok(value) => settings.push(Setting {
                variable,
                path,
                value,
            }),
            Err(reason) => problems.push(Problem {
                key: variable,
                value: None,
                fix: format!("a value that begins with [ or {{ is read as TOML: {reason}"),
            }),
        }
    }
    settings
}

fn path_of(name: &str) -> Option<Vec<String>> {
    let rest = name.strip_prefix(PREFIX)?.to_lowercase();
    let ours = rest.contains("__") || TOP_LEVEL.contains(&rest.as_str());
    ours.then(|| rest.split("__").map(str::to_owned).collect())
}

/// Reads one value. Text stays text here; a number field given as text is converted where the
/// field's type is known, so an API key made of digits stays as it is.
fn value_of(text: &str) -> Result<Value, String> {
    if !text.starts_with(['[', '{']) {
        return Ok(Value::String(text.to_owned()));
    }
    // The error's own Display would repeat the line, which may hold a secret.
    let table: Table =
        toml::from_str(&format!("value = {text}")).map_err(|error| error.message().to_owned())?;
    let only = table.into_iter().next().map(|(_, value)| value);
    only.ok_or_else(|| "there is no value".to_owned())
}
