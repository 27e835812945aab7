//! Finds a nats-server that is new enough.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::ServerError;
use crate::config;
use crate::edge::nats::version_is_enough;

const PROGRAM: &str = "nats-server";
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the first candidate that reports a version that is enough.
pub(super) async fn find(nats: &config::Nats, data_dir: &Path) -> Result<PathBuf, ServerError> {
    let mut looked_at = Vec::new();
    for candidate in candidates(nats, data_dir) {
        if !candidate.is_file() {
            continue;
        }
        match version(&candidate).await {
            Some(version) if version_is_enough(&version) => return Ok(candidate),
            Some(version) => looked_at.push(format!("{} is {version}", candidate.display())),
            None => looked_at.push(format!("{} does not run", candidate.display())),
        }
    }
    if looked_at.is_empty() {
        looked_at.push("none on PATH, in the data directory's bin, or in .local/bin".to_owned());
    }
    Err(ServerError::NoBinary {
        looked_at: looked_at.join(", "),
    })
}

/// Returns where a server may be, in the order of the contract.
fn candidates(nats: &config::Nats, data_dir: &Path) -> Vec<PathBuf> {
    let on_path = config::program_dirs()
        .into_iter()
        .map(|dir| dir.join(PROGRAM));
    let in_data = std::iter::once(data_dir.join("bin").join(PROGRAM));
    let in_project = project_dirs()
        .into_iter()
        .map(|dir| dir.join(".local/bin").join(PROGRAM));
    nats.server_binary
        .clone()
        .into_iter()
        .chain(on_path)
        .chain(in_data)
        .chain(in_project)
        .collect()
}

/// The project is where we run, or what holds the `target` directory that we were built into.
fn project_dirs() -> Vec<PathBuf> {
    let current = std::env::current_dir().ok();
    let built_in = std::env::current_exe().ok().and_then(|exe| {
        let target = exe.ancestors().find(|dir| dir.ends_with("target"))?;
        target.parent().map(Path::to_owned)
    });
    current.into_iter().chain(built_in).collect()
}

/// Asks a program for its version, such as `2.15.1`.
async fn version(program: &Path) -> Option<String> {
    let asked = Command::new(program)
        .arg("--version")
        .kill_on_drop(true)
        .output();
    let answer = tokio::time::timeout(VERSION_TIMEOUT, asked)
        .await
        .ok()?
        .ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let version = text.split_whitespace().last()?.trim_start_matches('v');
    Some(version.to_owned())
}
