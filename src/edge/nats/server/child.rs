//! The server's process: started under a small shell that stops it when we are gone, however we
//! went, and stopped by asking before killing.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{READY_TIMEOUT, STOP_TIMEOUT, ServerError, stop_wanted};
use crate::edge::clock::Clock;
use crate::edge::port::Port;

/// Starts the server, says its process id, and asks it to stop when our end of the pipe on its
/// standard input closes: the system closes it even after a SIGKILL. What does so stands before the
/// id is said, which nobody may hear any more, and saying it then kills the shell.
const KEEPER: &str = r#"
exec 3<&0
export GOMEMLIMIT="${GOMEMLIMIT:-$3}"
"$1" -c "$2" </dev/null >/dev/null 3<&- & server=$!
( while read -r _ <&3; do :; done; kill -TERM "$server" 2>/dev/null ) >/dev/null & keeper=$!
echo "$server"
exec >/dev/null
wait "$server"; code=$?
kill "$keeper" 2>/dev/null
exit "$code"
"#;

/// What it takes to start the server, again and again.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) binary: PathBuf,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
    /// Kept also while the server is down, from all who do not ask for it by its number.
    pub(super) port: Port,
    pub(super) name: String,
}

/// A running server.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: u32,
    shell: tokio::process::Child,
    /// Closing it stops the server.
    keeper: Option<ChildStdin>,
}

impl Launch {
    /// Starts the server and waits until it is ready; when it is to stop before, it fails.
    pub(super) async fn spawn(
        &self,
        clock: &Clock,
        stopping: &mut watch::Receiver<bool>,
    ) -> Result<Child, ServerError> {
        let operation = || format!("start {}", self.binary.display());
        let mut command = Command::new("sh");
        command
            .args(["-c", KEEPER, "sh"])
            .arg(&self.binary)
            .arg(&self.config)
            .arg(memory_limit())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.words(clock).await?)
            // Ctrl-C at the terminal must not stop the broker before we have drained.
            .process_group(0);
        let mut shell = command.spawn().map_err(ServerError::io(operation()))?;
        let keeper = shell.stdin.take();
        let mut first_line = String::new();
        if let Some(stdout) = shell.stdout.take() {
            let mut lines = BufReader::new(stdout);
            let read = lines.read_line(&mut first_line);
            read.await.map_err(ServerError::io(operation()))?;
        }
        let Ok(pid) = first_line.trim().parse() else {
            return Err(self.not_ready());
        };
        let mut child = Child { pid, shell, keeper };
        if self.becomes_ready(&mut child, clock, stopping).await {
            return Ok(child);
        }
        child.stop(STOP_TIMEOUT).await;
        Err(self.not_ready())
    }

    async fn becomes_ready(
        &self,
        child: &mut Child,
        clock: &Clock,
        stopping: &mut watch::Receiver<bool>,
    ) -> bool {
        let deadline = Instant::now() + READY_TIMEOUT;
        while Instant::now() < deadline {
            if self.answers().await {
                return true;
            }
            let pause = clock.sleep(Duration::from_millis(20));
            tokio::select! {
                () = child.ended() => return false,
                () = stop_wanted(stopping) => return false,
                () = pause => {}
            }
        }
        false
    }

    /// Tells whether the server on our port is this one, with JetStream running: another may have
    /// taken the port between our look and its start.
    async fn answers(&self) -> bool {
        let greeting = async {
            let stream = TcpStream::connect(self.port.address()).await.ok()?;
            let mut line = String::new();
            let mut reader = BufReader::new(stream);
            reader.read_line(&mut line).await.ok()?;
            serde_json::from_str::<Value>(line.strip_prefix("INFO ")?).ok()
        };
        let within = tokio::time::timeout(Duration::from_secs(2), greeting);
        within.await.ok().flatten().is_some_and(|info| {
            info["server_name"] == self.name.as_str() && info["jetstream"] == true
        })
    }

    /// Returns where the server may complain before its log is open, once no earlier server has
    /// it: two must not write one store.
    ///
    /// The file is locked, and the server inherits the lock: it ends with the server's process,
    /// however we ended before it, and whether or not anybody noted which process that was.
    async fn words(&self, clock: &Clock) -> Result<File, ServerError> {
        let path = self.log.with_extension("err");
        let operation = || format!("lock {}", path.display());
        let words = File::create(&path).map_err(ServerError::io(operation()))?;
        let deadline = Instant::now() + STOP_TIMEOUT * 2;
        loop {
            match words.try_lock() {
                Ok(()) => return Ok(words),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    clock.sleep(Duration::from_millis(20)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let config = self.config.clone();
                    return Err(ServerError::StillThere { config });
                }
                Err(TryLockError::Error(source)) => {
                    return Err(ServerError::io(operation())(source));
                }
            }
        }
    }

    fn not_ready(&self) -> ServerError {
        let last_lines = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(3).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
        };
        let words = [self.log.with_extension("err"), self.log.clone()]
            .iter()
            .map(|path| last_lines(path))
            .filter(|words| !words.is_empty())
            .collect::<Vec<_>>()
            .join(" | ");
        ServerError::NotReady { words }
    }
}

impl Child {
    /// Waits until the server has ended.
    pub(super) async fn ended(&mut self) {
        if let Err(error) = self.shell.wait().await {
            tracing::warn!(%error, "the private server's end cannot be awaited");
        }
    }

    /// Asks the server to stop, waits, then kills it.
    pub(super) async fn stop(&mut self, timeout: Duration) {
        self.keeper.take();
        signal("TERM", self.pid);
        if tokio::time::timeout(timeout, self.shell.wait())
            .await
            .is_err()
        {
            tracing::warn!("the private server does not stop and is killed");
            signal("KILL", self.pid);
            self.ended().await;
        }
    }
}

/// Stops a server of ours that outlived its program.
pub(super) async fn stop_orphan(pid: u32, config: &Path, clock: &Clock) {
    if !is_ours(pid, config) {
        return;
    }
    tracing::warn!(
        pid,
        "a private nats-server outlived its program and is stopped"
    );
    let started = Instant::now();
    signal("TERM", pid);
    while is_ours(pid, config) {
        if started.elapsed() > STOP_TIMEOUT {
            signal("KILL", pid);
        }
        if started.elapsed() > STOP_TIMEOUT * 2 {
            return;
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
}

/// Tells whether a process is the server that runs on our configuration file: process ids are
/// used again by others.
pub(super) fn is_ours(pid: u32, config: &Path) -> bool {
    let config = config.to_string_lossy();
    let command_line = match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => String::from_utf8_lossy(&line).replace('\0', " "),
        Err(_) if Path::new("/proc/self").exists() => return false,
        Err(_) => {
            let ps = StdCommand::new("ps")
                .args(["-o", "command=", "-p", &pid.to_string()])
                .output();
            ps.map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
                .unwrap_or_default()
        }
    };
    command_line.contains(&*config)
}

/// Sends a signal without unsafe code; a process that is gone needs none.
fn signal(name: &str, pid: u32) {
    let sent = StdCommand::new("sh")
        .args([
            "-c",
            "kill -s \"$1\" \"$2\" 2>/dev/null",
            "sh",
            name,
            &pid.to_string(),
        ])
        .stdin(Stdio::null())
        .status();
    if let Err(error) = sent {
        tracing::warn!(%error, pid, "a signal could not be sent");
    }
}

/// Half of the machine's memory, at most what a control group allows; the server has no bound of
/// its own.
///
/// Source: broker reference 7.
fn memory_limit() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let machine_kib = read("/proc/meminfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(2_u64 << 20);
    let group_bytes = read("/sys/fs/cgroup/memory.max")
        .trim()
        .parse()
        .unwrap_or(u64::MAX);
    let bytes = (machine_kib * 1_024).min(group_bytes) / 2;
    format!("{}MiB", (bytes >> 20).max(128))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_ends_also_if_its_program_died_before_it_heard_which_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let words = File::create(dir.path().join("words")).unwrap();
        words.lock().unwrap();
        let (ear, mouth) = std::io::pipe().unwrap();
        drop(ear);
        let mut shell = StdCommand::new("sh")
            .args(["-c", KEEPER, "sh", "sh", "exec sleep 60", "64MiB"])
            .stdin(Stdio::null())
            .stdout(mouth)
            .stderr(words)
            .spawn()
            .unwrap();
        shell.wait().unwrap();
        // The lock is held as long as the server is there.
        let started = std::time::Instant::now();
        File::open(dir.path().join("words"))
            .unwrap()
            .lock()
            .unwrap();
        assert!(started.elapsed() < Duration::from_secs(30), "it stayed");
    }
}
