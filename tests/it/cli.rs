//! The program as a person or a script uses it: the real binary, its output and its exit codes.

mod alone;
mod events_on_the_wire;
mod examples;
mod letters;
pub(crate) mod recovery;
mod replays;
mod running;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kling_relay::edge::nats::server::ServerFile;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::broker;

pub(crate) const WITHIN: Duration = Duration::from_secs(90);

/// Less than the drain's bound: a stop that runs into it has been held up by somebody.
const STOPS_WITHIN: Duration = Duration::from_secs(15);

/// A data directory, and the program with nothing else of the environment.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Reads stdout as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let document = serde_json::from_str(&self.stdout);
        document.unwrap_or_else(|error| panic!("no JSON document ({error}): {self:?}"))
    }

    /// Reads stdout as JSON Lines.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.stdout.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    }

    #[track_caller]
    pub(crate) fn is(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        let said = format!("{}{}", self.stdout, self.stderr);
        assert!(said.contains(words), "{words:?} is not in {self:?}");
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where `dev` writes its log.
    fn log(&self) -> PathBuf {
        self.dir.path().join("dev.log")
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kling-relay"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KLING_RELAY_DATA_DIR", self.data_dir())
            .env("KLING_RELAY_NATS__SERVER_BINARY", broker::program())
            .env("KLING_RELAY_NATS__LISTEN", "127.0.0.1:0")
            .env("KLING_RELAY_NATS__LOG_MAX_BYTES", "536870912")
            .env("KLING_RELAY_NATS__CALLBACKS_MAX_BYTES", "67108864")
            .env("KLING_RELAY_NATS__DEAD_MAX_BYTES", "67108864")
            .env("KLING_RELAY_NATS__REPLAY_MAX_BYTES", "67108864")
            .env("KLING_RELAY_API__LISTEN", "127.0.0.1:0")
            .env("KLING_RELAY_ADMIN__LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    /// Tells whether a broker of this data directory runs.
    pub(crate) fn has_broker(&self) -> bool {
        let pid = ServerFile::read(&self.data_dir()).and_then(|file| file.pid);
        pid.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists())
    }
}

/// `dev`, running.
pub(crate) struct Dev {
    pub(crate) place: Place,
    /// What it said at its start.
    pub(crate) said: Value,
    child: tokio::process::Child,
}

impl Dev {
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Self {
        let place = Place::new();
        let mut command = place.command(&["dev", "--json"]);
        command
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            // A pipe that nobody reads would stop the program once it is full.
            .stderr(std::fs::File::create(place.log()).unwrap());
        let child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut dev = Self {
            place,
            said: Value::Null,
            child,
        };
        let mut line = String::new();
        let mut stdout = BufReader::new(dev.child.stdout.take().unwrap());
        let read = tokio::time::timeout(WITHIN, stdout.read_line(&mut line));
        read.await.expect("dev starts in time").unwrap();
        dev.said = serde_json::from_str(&line).expect("dev starts");
        dev
    }

    /// Runs a command beside it.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Said {
        let command = tokio::process::Command::from(self.place.command(arguments));
        let mut command = command;
        let run = tokio::time::timeout(WITHIN, command.output());
        let output = run
            .await
            .unwrap_or_else(|_| panic!("{arguments:?} does not end"));
        output.unwrap().into()
    }

    /// Stops it as Ctrl-C does, and expects a clean end.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(sent.success());
        let ended = tokio::time::timeout(STOPS_WITHIN, self.child.wait()).await;
        assert_eq!(ended.expect("it drains in time").unwrap().code(), Some(0));
        assert!(!self.place.has_broker(), "its broker stops with it");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        broker::last_words(&self.place.log());
    }
}
