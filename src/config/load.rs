//! File, then environment over it, to one tree of values; the tree to [`Config`]. Every key is
//! tried on its own, so that all problems are told at once and none of them repeats a secret.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::environment::{Setting, settings};
use super::{Config, secret_files, shape};

/// What is wrong with one key, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `section.key`, or the variable or file that could not be read.
    pub key: String,
    /// What it was set to; never a secret.
    pub value: Option<String>,
    /// What is expected, in words for the person who edits the file.
    pub fix: String,
}

impl Problem {
    /// Makes a problem that shows no value.
    pub(super) fn new(key: &str, fix: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            value: None,
            fix: fix.into(),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}: {}", self.key, self.fix),
            None => write!(f, "{}: {}", self.key, self.fix),
        }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl std::error::Error for ConfigError {}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl ConfigError {
    /// Returns an error if there are problems.
    pub(super) fn from_problems(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        Err(Self { problems })
    }
}

impl Config {
    /// Loads the configuration: the defaults, the file over them, the environment over both. What
    /// the keys mean together is left to [`Config::check`].
    ///
    /// # Errors
    /// [`ConfigError`] with every unknown key, wrong type and unreadable file.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut tree = file.map_or_else(Table::new, |path| read_file(path, &mut problems));
        secret_files::inline(&mut tree, "", &mut problems);
        let from_environment = settings(environment, &mut problems);
        let variables = overlay(&mut tree, from_environment, &mut problems);

        let mut wrong = shape::conform(&mut tree);
        for problem in &mut wrong {
            name_variable(problem, &variables);
        }
        problems.append(&mut wrong);
        ConfigError::from_problems(problems)?;
        // Each key passed alone, so only a mistake of ours could fail here.
        Value::Table(tree)
            .try_into()
            .map_err(|error: toml::de::Error| {
                let fix = error.message().to_owned();
                ConfigError {
                    problems: vec![Problem::new("configuration", fix)],
                }
            })
    }

    /// Returns the configuration as TOML with every secret as `[redacted]`. It reads back.
    #[must_use]
    pub fn effective_redacted(&self) -> String {
        toml::to_string_pretty(self).expect("the sections hold nothing that TOML lacks")
    }
}

fn read_file(path: &Path, problems: &mut Vec<Problem>) -> Table {
    let mut fail = |key: String, fix: String| {
        problems.push(Problem::new(&key, fix));
        Table::new()
    };
    let name = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return fail(name, format!("cannot be read: {error}")),
    };
    // The error's own Display would repeat the line, which may hold a secret.
    toml::from_str(&text).unwrap_or_else(|error: toml::de::Error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(0, |before| before.matches('\n').count() + 1);
        fail(
            format!("{name}, line {line}"),
            error.message().replace('\n', ", "),
        )
    })
}

/// Puts the environment's settings over the file's. A variable is its key's whole value: a table
/// replaces the file's table. Returns which variable set which key.
fn overlay(
    tree: &mut Table,
    settings: Vec<Setting>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    for Setting {
        variable,
        mut path,
        mut value,
    } in settings
    {
        let mut key = path.join(".");
        if let Some(secret) = secret_files::stands_for(&key).map(str::to_owned) {
            match secret_files::read(&variable, &secret, &value) {
                Ok(read) => value = read,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            }
            path = secret.split('.').map(str::to_owned).collect();
            key = secret;
        }
        if let Value::Table(table) = &mut value {
            secret_files::inline(table, &key, problems);
        }
        if let Some(other) = variables.get(&key) {
            let fix = format!("set either this or {other}, not both");
            problems.push(Problem::new(&variable, fix));
        } else if !put(tree, &path, value) {
            let fix = "a key above it is set to something else than a table";
            problems.push(Problem::new(&variable, fix));
        } else {
            variables.insert(key, variable);
        }
    }
    variables
}

/// Puts a value at a path, making tables on the way; false where something else is in the way.
fn put(tree: &mut Table, path: &[String], value: Value) -> bool {
    match path {
        [] => false,
        [key] => {
            tree.insert(key.clone(), value);
            true
        }
        [key, rest @ ..] => {
            let below = tree
                .entry(key.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            below
                .as_table_mut()
                .is_some_and(|table| put(table, rest, value))
        }
    }
}

/// Tells where a wrong value came from if the environment brought it.
fn name_variable(problem: &mut Problem, variables: &BTreeMap<String, String>) {
    let set_by = variables.iter().find(|(path, _)| {
        let rest = problem.key.strip_prefix(path.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    if let Some((_, variable)) = set_by {
        problem.fix.push_str(&format!(" (set by {variable})"));
    }
}
