//! The examples under `deploy/examples` against a running `dev`, where Python and its client are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Dev, WITHIN};

/// Puts the client into `.local/python` of this project; `None` where that cannot be.
fn client() -> Option<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = project.join(".local/python");
    if target.join("nats").exists() {
        return Some(target);
    }
    let requirements = project.join("deploy/examples/requirements.txt");
    let installed = Command::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--target",
        ])
        .arg(&target)
        .arg("-r")
        .arg(requirements)
        .stderr(Stdio::null())
        .status();
    installed
        .is_ok_and(|status| status.success())
        .then_some(target)
}

#[tokio::test]
async fn python_submits_and_reads_completions() {
    let Some(client) = client() else {
        eprintln!("skipped: python3 with pip cannot install nats-py here");
        return;
    };
    let dev = Dev::start(&[]).await;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples");
    let python = |script: &str| {
        let mut command = tokio::process::Command::new("python3");
        command
            .arg("-u")
            .arg(examples.join(script))
            .arg(dev.place.data_dir())
            .env("PYTHONPATH", &client)
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    };
    let mut consumer = python("completions.py");
    // It complains, rightly, when the broker goes at the end.
    let mut consumer = consumer.stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(consumer.stdout.take().unwrap()).lines();
    let submitted = python("submit.py")
        .arg("A paper boat at dawn")
        .output()
        .await
        .unwrap();
    let submitted = String::from_utf8(submitted.stdout).unwrap();
    let task = submitted
        .split_whitespace()
        .next()
        .expect("a task is accepted")
        .to_owned();
    let line = tokio::time::timeout(WITHIN, lines.next_line()).await;
    let line = line.expect("a completion comes").unwrap().unwrap();
    assert!(line.contains(&task) && line.contains("succeeded"), "{line}");
    dev.stop().await;
}

#[tokio::test]
async fn curl_submits_and_follows() {
    let curl = Command::new("curl")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !curl.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no curl here");
        return;
    }
    let dev = Dev::start(&[]).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples/submit.sh");
    let mut shell = tokio::process::Command::new("sh")
        .arg(script)
        .arg(dev.place.data_dir())
        .arg(dev.said["api_url"].as_str().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    let follow = async {
        while !seen.iter().any(|line: &String| line == "event: settled") {
            seen.push(lines.next_line().await.unwrap().expect("it goes on"));
        }
    };
    tokio::time::timeout(WITHIN, follow)
        .await
        .expect("the task ends");
    assert!(seen[0].contains("task_id"), "{seen:?}");
    assert!(seen.iter().any(|line| line == "event: succeeded"));
    // A listener does not hold the stop up, and is let go by it.
    dev.stop().await;
    shell.wait().await.unwrap();
}

/// Puts the JavaScript client into `.local/node` of this project; `None` where that cannot be.
fn javascript() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/node");
    let modules = target.join("node_modules");
    if modules.join("@nats-io/jetstream").exists() {
        return Some(target);
    }
    let npm = Command::new("npm")
        .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(&target)
        .args(["@nats-io/transport-node@3", "@nats-io/jetstream@3"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    npm.is_ok_and(|status| status.success()).then_some(target)
}

/// The recipe for consumers in other languages: what a replay brings them.
#[tokio::test]
async fn python_and_javascript_read_what_is_delivered_again() {
    let dev = Dev::start(&[]).await;
    let done = dev.run(&["submit", "--prompt", "a fox", "--wait"]).await;
    done.is(0, "succeeded");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples");
    let mut commands = Vec::new();
    if let Some(client) = client() {
        let mut command = tokio::process::Command::new("python3");
        command.arg("-u").arg(examples.join("replays.py"));
        command.env("PYTHONPATH", &client);
        commands.push(command);
    }
    if let Some(client) = javascript() {
        // Node looks for packages beside the script.
        let script = client.join("replays.mjs");
        std::fs::copy(examples.join("replays.mjs"), &script).expect("copied");
        let mut command = tokio::process::Command::new("node");
        command.arg(script);
        commands.push(command);
    }
    if commands.is_empty() {
        eprintln!("skipped: neither client can be installed here");
    }
    for (mut command, name) in commands.into_iter().zip(["billing", "search"]) {
        let replay = format!("replay --consumer {name} --from-sequence 1 --event succeeded");
        let mut replay: Vec<&str> = replay.split(' ').collect();
        replay.extend(["--reason", "x", "--who", "olga"]);
        dev.run(&replay).await.is(0, "1 delivered");
        command.arg(name).arg(dev.place.data_dir());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(WITHIN, lines.next_line()).await;
        let line = line.expect("in time").expect("text").expect("a line");
        assert!(line.contains(".succeeded "), "{line}");
    }
    dev.stop().await;
}
