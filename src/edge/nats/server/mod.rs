//! The private nats-server of one machine: found, configured, started, watched, stopped.
//!
//! It listens on loopback, keeps its store under the data directory and syncs every write. A
//! command that needs the broker asks [`endpoint_of`] first; only one process at a time holds the
//! lock under which [`PrivateServer::start`] runs a server.

mod binary;
mod child;
mod disk;
mod render;
mod state;
mod writes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use self::disk::fit_to_disk;
pub use self::state::ServerFile;
pub use self::writes::Writes;

use self::child::{Child, Launch};
use super::Endpoint;
use super::log::Log;
use crate::config;
use crate::edge::clock::Clock;
use crate::edge::file_lock::FileLock;
use crate::edge::port::Port;

/// Why there is no private server, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No usable program was found.
    #[error(
        "no nats-server 2.15 or newer was found ({looked_at}): run deploy/nats/install.sh, or \
         install the official server and set nats.server_binary, or set nats.url"
    )]
    NoBinary {
        /// Where it was looked for, with the versions found.
        looked_at: String,
    },
    /// Another process runs the private server of this data directory.
    #[error("another process is starting or running the private server of {}", data_dir.display())]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The streams' bounds exceed the disk.
    #[error(
        "the disk under {} holds {available_bytes} bytes for the broker, but the streams may grow \
         to {needed_bytes}: lower nats.log_max_bytes and the other bounds, or use another disk",
        data_dir.display()
    )]
    DiskTooSmall {
        /// The data directory.
        data_dir: PathBuf,
        /// The sum of the bounds with a margin.
        needed_bytes: u64,
        /// Four fifths of what is free.
        available_bytes: u64,
    },
    /// One that was left behind does not end.
    #[error(
        "a private nats-server that ran before does not end: find it with `pgrep -f {}`, stop it, \
         and start again",
        config.display()
    )]
    StillThere {
        /// The configuration file that it runs on.
        config: PathBuf,
    },
    /// It ended, or was not ready in time.
    #[error("nats-server did not start; its last words: {words}")]
    NotReady {
        /// From its log.
        words: String,
    },
    /// A file or process operation failed.
    #[error("cannot {operation}")]
    Io {
        /// What was tried.
        operation: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl ServerError {
    fn io(operation: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Io { operation, source }
    }
}

/// How long a stopping server may take to write out before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// A store of six million messages takes ten seconds to open.
///
/// Source: broker reference 6.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const RESTART_FIRST: Duration = Duration::from_millis(200);
const RESTART_CAP: Duration = Duration::from_secs(10);

/// A running private server; it is restarted when it dies and stopped with us.
#[derive(Debug)]
pub struct PrivateServer {
    stop: watch::Sender<bool>,
    restart: Arc<Notify>,
    data_dir: PathBuf,
    watcher: JoinHandle<()>,
}

/// Returns the private server that runs for this data directory, if one does.
#[must_use]
pub fn endpoint_of(data_dir: &Path) -> Option<Endpoint> {
    let file = ServerFile::read(data_dir)?;
    child::is_ours(file.pid?, &paths(data_dir).config).then(|| file.relay_endpoint())
}

/// Returns the account that consumers of events may use with the running private server: it reads
/// events and submits, and writes nothing else.
#[must_use]
pub fn consumer_endpoint_of(data_dir: &Path) -> Option<Endpoint> {
    let file = ServerFile::read(data_dir)?;
    child::is_ours(file.pid?, &paths(data_dir).config).then(|| file.consumer_endpoint())
}

impl PrivateServer {
    /// Starts the private server of a data directory; one that outlived its program is stopped
    /// first.
    ///
    /// # Errors
    /// [`ServerError`], with what to do. [`ServerError::InUse`] means that [`endpoint_of`] will
    /// soon answer.
    pub async fn start(
        data_dir: &Path,
        nats: &config::Nats,
        clock: &Clock,
    ) -> Result<(Self, Endpoint), ServerError> {
        let paths = paths(data_dir);
        state::create_private_dir(&paths.dir)?;
        let lock = lock(data_dir, &paths.lock)?;
        let binary = binary::find(nats, data_dir).await?;
        let store_max_bytes = disk::store_max_bytes(data_dir, &paths.store, nats)?;
        let mut file = ServerFile::read(data_dir).unwrap_or_else(ServerFile::fresh);
        if let Some(pid) = file.pid.take() {
            child::stop_orphan(pid, &paths.config, clock).await;
        }
        let port = Port::keep_or_any(nats.listen)
            .map_err(ServerError::io(format!("listen on {}", nats.listen.ip())))?;
        file.listen = port.address();
        let launch = Arc::new(Launch {
            binary,
            config: paths.config.clone(),
            log: paths.log,
            port,
            name: file.server_name.clone(),
        });
        let text = render::config(&file, &paths.store, &launch.log, store_max_bytes);
        state::write_private(&paths.config, &text)?;
        let (stop, mut stopping) = watch::channel(false);
        let child = launch.spawn(clock, &mut stopping).await?;
        file.pid = Some(child.pid);
        file.write(data_dir)?;
        let endpoint = file.relay_endpoint();
        let restart = Arc::new(Notify::new());
        let watcher = Watcher {
            launch,
            file,
            data_dir: data_dir.to_owned(),
            clock: clock.clone(),
            stopping,
            restart: restart.clone(),
            _lock: lock,
        };
        let watcher = tokio::spawn(watcher.run(child));
        let server = Self {
            stop,
            restart,
            data_dir: data_dir.to_owned(),
            watcher,
        };
        Ok((server, endpoint))
    }

    /// Returns what looks after its writes.
    #[must_use]
    pub fn writes(&self, log: Log, clock: Clock) -> Writes {
        Writes::new(log, self.data_dir.clone(), self.restart.clone(), clock)
    }

    /// Stops the server: asks it, waits, then kills it.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.watcher.await {
            tracing::error!(%error, "the private server's watcher failed");
        }
    }
}

/// Uses the private server that runs for this data directory, or starts one.
///
/// # Errors
/// As [`PrivateServer::start`].
pub async fn enter(
    data_dir: &Path,
    nats: &config::Nats,
    clock: &Clock,
) -> Result<(Option<PrivateServer>, Endpoint), ServerError> {
    let deadline = tokio::time::Instant::now() + READY_TIMEOUT;
    loop {
        if let Some(endpoint) = endpoint_of(data_dir) {
            return Ok((None, endpoint));
        }
        match PrivateServer::start(data_dir, nats, clock).await {
            Ok((server, endpoint)) => return Ok((Some(server), endpoint)),
            Err(ServerError::InUse { data_dir }) => {
                if tokio::time::Instant::now() >= deadline {
                    return Err(ServerError::InUse { data_dir });
                }
                clock.sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Where things are under the data directory.
struct Paths {
    dir: PathBuf,
    lock: PathBuf,
    config: PathBuf,
    log: PathBuf,
    store: PathBuf,
}

fn paths(data_dir: &Path) -> Paths {
    // The configuration's path tells our server from others, so it must be the same text always.
    let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let dir = data_dir.join("nats");
    Paths {
        lock: dir.join("lock"),
        config: dir.join("nats-server.conf"),
        log: dir.join("nats-server.log"),
        store: dir.join("store"),
        dir,
    }
}

fn lock(data_dir: &Path, path: &Path) -> Result<FileLock, ServerError> {
    let operation = format!("lock {}", path.display());
    let lock = FileLock::take(path).map_err(ServerError::io(operation))?;
    lock.ok_or_else(|| ServerError::InUse {
        data_dir: data_dir.to_owned(),
    })
}

/// Restarts the server whenever it dies, until it is to stop.
struct Watcher {
    launch: Arc<Launch>,
    file: ServerFile,
    data_dir: PathBuf,
    clock: Clock,
    stopping: watch::Receiver<bool>,
    restart: Arc<Notify>,
    /// Held until the server has stopped, also when its handle is dropped.
    _lock: FileLock,
}

impl Watcher {
    async fn run(mut self, child: Child) {
        let mut child = Some(child);
        let mut wait = RESTART_FIRST;
        loop {
            if let Some(mut running) = child.take() {
                let (pid, started) = (running.pid, tokio::time::Instant::now());
                let died = tokio::select! {
                    () = running.ended() => true,
                    () = self.restart.notified() => {
                        running.stop(STOP_TIMEOUT).await;
                        false
                    }
                    () = stop_wanted(&mut self.stopping) => {
                        running.stop(STOP_TIMEOUT).await;
                        self.note(None);
                        return;
                    }
                };
                // Only its keeper may have died.
                drop(running);
                child::stop_orphan(pid, &self.launch.config, &self.clock).await;
                self.note(None);
                if !died || started.elapsed() > Duration::from_secs(60) {
                    wait = RESTART_FIRST;
                }
                if died {
                    tracing::error!("the private nats-server died; it is started again");
                }
            }
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = stop_wanted(&mut self.stopping) => return,
            }
            wait = (wait * 2).min(RESTART_CAP);
            match self.launch.spawn(&self.clock, &mut self.stopping).await {
                Ok(running) => {
                    self.note(Some(running.pid));
                    child = Some(running);
                }
                Err(_) if *self.stopping.borrow() => return,
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the private nats-server cannot be started again"
                ),
            }
        }
    }

    fn note(&mut self, pid: Option<u32>) {
        self.file.pid = pid;
        if let Err(error) = self.file.write(&self.data_dir) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "other commands may not find the private server"
            );
        }
    }
}

/// Waits for the stop, or until the handle is dropped: a server that nobody holds must not stay.
async fn stop_wanted(stopping: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone.
    let _ = stopping.wait_for(|stop| *stop).await;
}
