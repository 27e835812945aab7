//! Clients that others wrote for the real platform, run against the simulator.
//!
//! They are installed once, pinned, into `.local/fidelity`. Where that can not be done (no node, no
//! python, no registry) the test says so and passes: it then has shown nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use kling_relay::sim::Simulator;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{install_crypto, quick};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fidelity");

fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<Output, String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    let output = command
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program} {}: {}",
        arguments.join(" "),
        said.trim()
    ))
}

/// A folder with the client installed, made afresh when its pins have changed.
fn installed(
    name: &str,
    pins: &str,
    install: impl Fn(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/fidelity");
    let pins = std::fs::read(Path::new(SOURCES).join(pins)).unwrap();
    let folder = local.join(format!(
        "{name}-{}",
        &hex::encode(Sha256::digest(pins))[..12]
    ));
    if folder.join("installed").exists() {
        return Ok(folder);
    }
    // Installed under another name and moved, so that an interrupted attempt leaves nothing.
    let attempt = local.join(format!("{name}-{}.part", std::process::id()));
    let _ = std::fs::remove_dir_all(&attempt);
    std::fs::create_dir_all(&attempt).unwrap();
    let done = install(&attempt);
    if done.is_ok() {
        std::fs::write(attempt.join("installed"), "").unwrap();
        if std::fs::rename(&attempt, &folder).is_ok() {
            return Ok(folder);
        }
    }
    let _ = std::fs::remove_dir_all(&attempt);
    // Another test may have been faster.
    done.map(|()| folder)
}

fn copy(names: &[&str], to: &Path) {
    for name in names {
        std::fs::copy(Path::new(SOURCES).join(name), to.join(name)).unwrap();
    }
}

/// A small platform with both listeners.
async fn platform() -> Simulator {
    install_crypto();
    let mut config = quick();
    config.plain_http_listen = Some(([127, 0, 0, 1], 0).into());
    Simulator::start(config).await.unwrap()
}

/// Runs a client to its end and reads the line that it prints.
async fn report(mut command: Command, sim: &Simulator) -> Value {
    let plain = sim.plain_url().unwrap();
    command
        .env("SIM_URL", sim.base_url())
        .env("SIM_PLAIN_URL", plain)
        .env("SIM_ACCESS_KEY", "simulator-access")
        .env("SIM_SECRET_KEY", "simulator-secret")
        .env("NO_PROXY", "localhost,127.0.0.1")
        .env_remove("ACCESS_TOKEN")
        .env_remove("SECRET_TOKEN");
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = tokio::time::timeout(Duration::from_secs(60), run)
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{said}");
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_default()).unwrap_or_else(|_| panic!("{text}\n{said}"))
}

#[tokio::test]
async fn the_npm_client_completes_jobs() {
    let install = |folder: &Path| {
        copy(&["package.json", "package-lock.json"], folder);
        let quiet = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
        run("npm", &quiet, folder).map(drop)
    };
    let folder = run("node", &["--version"], Path::new("."))
        .and_then(|_| installed("npm", "package-lock.json", install));
    let folder = match folder {
        Ok(folder) => folder,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let sim = platform().await;
    let folder_of_ca = tempfile::tempdir().unwrap();
    let ca = folder_of_ca.path().join("ca.pem");
    std::fs::write(&ca, sim.ca_pem()).unwrap();
    // Modules are found from where the script lies.
    copy(&["kling_api.mjs"], &folder);
    let mut command = Command::new("node");
    command.arg("kling_api.mjs").current_dir(&folder);
    command.env("NODE_EXTRA_CA_CERTS", ca);
    let report = report(command, &sim).await;

    let task = sim.control().task("fidelity-npm-video").unwrap();
    assert_eq!(report["task_id"], task.id);
    assert_eq!(report["status"], "succeed");
    assert_eq!(report["duration"], "5.041");
    assert_eq!(report["video_type"], "ftyp");
    assert!(report["video_bytes"].as_u64().unwrap() > 1000);
    assert_eq!(report["image_status"], "succeed");
    assert!(
        report["refusal"]
            .as_str()
            .unwrap()
            .contains("already exists"),
        "{report}"
    );
    assert_eq!(report["packs"], 3);
    let image = sim.control().task("fidelity-npm-image").unwrap();
    assert_eq!(report["image_url"], image.urls[0]);
    let stats = sim.stats();
    assert_eq!(
        (stats.creates.accepted, stats.creates.faulted["504"]),
        (2, 1)
    );
    assert_eq!(stats.deductions["video"].to_string(), "1.5");
    assert_eq!(stats.deductions["image"].to_string(), "4");
}

#[tokio::test]
async fn the_pypi_client_completes_a_job() {
    let install = |folder: &Path| {
        copy(&["requirements.txt"], folder);
        run("python3", &["-m", "venv", "venv"], folder)?;
        let pip = folder.join("venv/bin/pip");
        let arguments = [
            "install",
            "-q",
            "--ignore-requires-python",
            "--no-deps",
            "-r",
            "requirements.txt",
        ];
        run(pip.to_str().unwrap(), &arguments, folder).map(drop)
    };
    let new_enough = "import sys; sys.exit(sys.version_info < (3, 11))";
    let folder = run("python3", &["-c", new_enough], Path::new("."))
        .and_then(|_| installed("pypi", "requirements.txt", install));
    let folder = match folder {
        Ok(folder) => folder,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let sim = platform().await;
    let mut command = Command::new(folder.join("venv/bin/python"));
    command.arg(Path::new(SOURCES).join("klingai_api.py"));
    let report = report(command, &sim).await;

    let task = sim.control().task("fidelity-pypi").unwrap();
    assert_eq!(report["stranger"], "refused");
    assert_eq!(report["task_id"], task.id);
    assert_eq!(report["status"], "succeed");
    assert_eq!(report["external_id"], "fidelity-pypi");
    assert_eq!(report["deduction"], "5");
    assert_eq!(report["duration"], "10.041");
    assert_eq!(report["listed"], serde_json::json!([task.id]));
    assert!(
        report["dead_model"]
            .as_str()
            .unwrap()
            .contains("has been discontinued")
    );
    assert_eq!(sim.stats().deductions["video"].to_string(), "5");
}
