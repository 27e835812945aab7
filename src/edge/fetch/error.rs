//! Why a download failed, split by what the caller does next.

use std::io;
use std::time::Duration;

use super::address::Refusal;

/// Why the fetcher could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum FetchSetupError {
    /// `storage.ca_file` cannot be read.
    #[error("storage.ca_file cannot be read")]
    ReadCa(#[source] io::Error),
    /// `storage.ca_file` holds no certificates, or the TLS client cannot be built.
    #[error(
        "the HTTPS client for downloads cannot be built (storage.ca_file must hold certificates)"
    )]
    Client(#[source] reqwest::Error),
    /// One file could be larger than the whole spool.
    #[error("storage.spool_max_bytes is smaller than storage.max_bytes: raise it")]
    SpoolTooSmall,
}

/// Why a download failed. Names the host and never the path or query, which are secrets.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address must never be called: a person should look, trying again changes nothing.
    #[error("the address at {host} is refused")]
    Refused {
        /// Whose address it is.
        host: String,
        /// Which check it failed.
        #[source]
        why: Refusal,
    },
    /// The server no longer serves the address: ask Kling for a fresh one.
    #[error("{host} no longer serves the address (HTTP status {status})")]
    Gone {
        /// Who said so.
        host: String,
        /// In which words.
        status: u16,
    },
    /// What arrived is not what the output should be: trying again rarely helps.
    #[error("{host} sent content that is not wanted")]
    BadContent {
        /// Who sent it.
        host: String,
        /// What is wrong with it.
        #[source]
        why: BadContent,
    },
    /// It may pass: try again later.
    #[error("the download from {host} did not finish")]
    Retry {
        /// Who was asked.
        host: String,
        /// The wait that the server asked for.
        after: Option<Duration>,
        /// What interrupted it.
        #[source]
        why: Interruption,
    },
    /// Our own disk: try again later.
    #[error("the spool could not take the download")]
    Spool(#[source] io::Error),
}

/// What is wrong with what arrived.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadContent {
    /// Nothing arrived.
    #[error("it is empty")]
    Empty,
    /// Larger than `storage.max_bytes`.
    #[error("it is larger than storage.max_bytes ({max_bytes} bytes)")]
    TooLarge {
        /// The bound.
        max_bytes: u64,
    },
    /// Of another kind than the output.
    #[error("its first bytes are {found}, expected {expected}")]
    MediaType {
        /// What the first bytes say.
        found: &'static str,
        /// What the output may be.
        expected: String,
    },
    /// Compressed, though that was not asked for.
    #[error("it has a content encoding, which was not asked for")]
    Encoded,
    /// A body whose end cannot be told from a broken connection.
    #[error("it tells no length")]
    NoLength,
}

/// What interrupted a download.
#[derive(Debug, thiserror::Error)]
pub enum Interruption {
    /// The connection could not be made or broke.
    #[error("the connection failed")]
    Connection(#[source] reqwest::Error),
    /// The server answered with a status that passes.
    #[error("HTTP status {0}")]
    Status(u16),
    /// Fewer bytes than announced.
    #[error("{got} of {expected} bytes arrived")]
    Truncated {
        /// How many arrived.
        got: u64,
        /// How many were announced.
        expected: u64,
    },
    /// The content changed between two tries.
    #[error("the content changed while it was downloaded")]
    Changed,
    /// Nothing arrived for `storage.idle_timeout`.
    #[error("nothing arrived for storage.idle_timeout")]
    Idle,
    /// Not finished after `storage.total_timeout`.
    #[error("it was not finished after storage.total_timeout")]
    TooSlow,
}
