//! `nats.json`: where the private server is and how to enter, for the other commands.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ServerError;
use crate::edge::nats::{Credentials, Endpoint, wire};

/// What `<data_dir>/nats.json` holds (mode 0600).
#[derive(Clone, Serialize, Deserialize)]
pub struct ServerFile {
    /// For clients.
    pub url: String,
    /// The relay's own account: everything.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The account for consumers of events: reads events, submits, writes nothing else.
    pub consumer_user: String,
    /// Its password.
    pub consumer_password: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// By which it is told from another server on the same port.
    pub server_name: String,
    /// The running server's process; none when it is stopped.
    pub pid: Option<u32>,
}

/// Leaves out the passwords.
impl std::fmt::Debug for ServerFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerFile")
            .field("url", &self.url)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl ServerFile {
    /// Makes one with new passwords; they stay the same over restarts, so that consumers need not
    /// be told again.
    pub(super) fn fresh() -> Self {
        Self {
            url: String::new(),
            user: "relay".to_owned(),
            password: wire::fresh_id(),
            consumer_user: "consumer".to_owned(),
            consumer_password: wire::fresh_id(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            server_name: format!("kling-relay-{}", &wire::fresh_id()[..8]),
            pid: None,
        }
    }

    /// Reads the file of a data directory; `None` if there is none or it cannot be read.
    #[must_use]
    pub fn read(data_dir: &Path) -> Option<Self> {
        let text = std::fs::read(path(data_dir)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn write(&mut self, data_dir: &Path) -> Result<(), ServerError> {
        self.url = format!("nats://{}", self.listen);
        let text = serde_json::to_string_pretty(self).expect("a struct of texts is JSON");
        write_private(&path(data_dir), &text)
    }

    pub(super) fn relay_endpoint(&self) -> Endpoint {
        self.endpoint(&self.user, &self.password)
    }

    pub(super) fn consumer_endpoint(&self) -> Endpoint {
        self.endpoint(&self.consumer_user, &self.consumer_password)
    }

    fn endpoint(&self, user: &str, password: &str) -> Endpoint {
        Endpoint {
            url: format!("nats://{}", self.listen),
            credentials: Credentials::Password {
                user: user.to_owned(),
                password: password.into(),
            },
        }
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("nats.json")
}

/// Makes a directory that only we can enter.
pub(super) fn create_private_dir(dir: &Path) -> Result<(), ServerError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(ServerError::io(format!("create {}", dir.display())))
}

/// Writes a file that only we can read, whole or not at all.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ServerError> {
    let operation = format!("write {}", path.display());
    let part = path.with_extension("part");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(ServerError::io(operation))
}
