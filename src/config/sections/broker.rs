//! What the log lives in: the broker, its consumers, how long it keeps things.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::redact;

/// `[nats]`
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nats {
    /// None: start a private server. Else use that server or cluster (2.15 or newer).
    #[serde(serialize_with = "redact::address")]
    pub url: Option<String>,
    /// A `.creds` file.
    pub credentials_file: Option<PathBuf>,
    /// An extra trust root, PEM.
    pub ca_file: Option<PathBuf>,
    /// Copies of each stream.
    pub replicas: usize,
    /// The private server's program.
    pub server_binary: Option<PathBuf>,
    /// Where the private server listens; a free port if taken.
    pub listen: SocketAddr,
    /// Bound of the `KLING` stream, bytes.
    pub log_max_bytes: i64,
    /// Bound of `KLING_CALLBACKS`, bytes.
    pub callbacks_max_bytes: i64,
    /// Bound of `KLING_DEAD`, bytes.
    pub dead_max_bytes: i64,
    /// Bound of `KLING_REPLAY`, bytes.
    pub replay_max_bytes: i64,
    /// How long a commit waits for its acknowledgement before its outcome is unknown.
    #[serde(with = "super::super::duration")]
    pub commit_timeout: Duration,
    /// How long a read waits.
    #[serde(with = "super::super::duration")]
    pub read_timeout: Duration,
}

/// `[runner]`: bounds of the consume loops.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runner {
    /// How long a handler may be silent before its message is delivered again.
    #[serde(with = "super::super::duration")]
    pub ack_wait: Duration,
    /// Messages in hand at once, per stage.
    pub in_flight_max: usize,
    /// Failed tries before a message is set aside; waiting for the broker is none.
    pub attempts_max: u32,
    /// First wait before a message is tried again; doubles, with jitter.
    #[serde(with = "super::super::duration")]
    pub backoff_base: Duration,
    /// Longest such wait.
    #[serde(with = "super::super::duration")]
    pub backoff_cap: Duration,
    /// How long a stopping program waits for the work in hand.
    #[serde(with = "super::super::duration")]
    pub drain_timeout: Duration,
}

/// `[retention]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Of task events: at least 31 days.
    #[serde(with = "super::super::duration")]
    pub tasks: Duration,
    /// Of ledger and budget entries.
    #[serde(with = "super::super::duration")]
    pub ledger: Duration,
}
