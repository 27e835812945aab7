//! The sections of the configuration as types: a field per key, its meaning and its unit. Their
//! values without a file stand in `defaults`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rust_decimal::Decimal;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

pub use crate::model::ledger::LimitSetting;

use super::redact;

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
    #[serde(with = "super::duration")]
    pub commit_timeout: Duration,
    /// How long a read waits.
    #[serde(with = "super::duration")]
    pub read_timeout: Duration,
}

/// `[kling]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kling {
    /// The API's base, without a path prefix.
    pub base_url: Url,
    /// An extra trust root, PEM, for a stand-in platform.
    pub ca_file: Option<PathBuf>,
    /// Credential for both API generations.
    #[serde(serialize_with = "redact::one")]
    pub api_key: Option<SecretString>,
    /// JWT issuer, legacy endpoints.
    #[serde(serialize_with = "redact::one")]
    pub access_key: Option<SecretString>,
    /// JWT key, legacy endpoints.
    #[serde(serialize_with = "redact::one")]
    pub secret_key: Option<SecretString>,
    /// Slots per model version and pack type.
    pub max_concurrent: u32,
    /// Slots by model version, over `max_concurrent`.
    pub concurrency: BTreeMap<String, u32>,
    /// To establish a connection.
    #[serde(with = "super::duration")]
    pub connect_timeout: Duration,
    /// For a whole call.
    #[serde(with = "super::duration")]
    pub request_timeout: Duration,
    /// Bound of a response body, bytes.
    pub response_max_bytes: usize,
    /// Tries of one query before its caller is told.
    pub read_attempts_max: u32,
    /// First wait between two tries of a query; doubles, with jitter.
    #[serde(with = "super::duration")]
    pub read_backoff_base: Duration,
    /// Longest such wait.
    #[serde(with = "super::duration")]
    pub read_backoff_cap: Duration,
}

/// `[receiver]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receiver {
    /// HTTPS only.
    pub listen: SocketAddr,
    /// `https://…` as Kling sees it.
    pub public_url: Option<Url>,
    /// Certificate and key, PEM.
    pub tls: TlsFiles,
    /// `id:secret`; the first mints, all verify.
    #[serde(serialize_with = "redact::named")]
    pub capability_keys: Vec<SecretString>,
    /// `whsec_…`, several during rotation.
    #[serde(serialize_with = "redact::all")]
    pub webhook_secrets: Vec<SecretString>,
    /// What an unsigned callback is worth.
    pub unsigned: Unsigned,
    /// Bound of a body, bytes.
    pub body_max_bytes: usize,
    /// Bound of all bodies in hand, bytes; the bare path gets an eighth of it.
    pub bodies_max_bytes: usize,
    /// How long a callback waits for the broker before it is answered with 503.
    #[serde(with = "super::duration")]
    pub store_timeout: Duration,
    /// Bounds of the listener.
    pub limits: ListenerLimits,
}

/// Certificate and key files; reloaded when they change.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFiles {
    /// Certificate chain, PEM.
    pub cert_file: Option<PathBuf>,
    /// Private key, PEM.
    pub key_file: Option<PathBuf>,
}

/// What an unsigned callback on a valid capability path is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unsigned {
    /// Re-read before a terminal status is believed.
    #[default]
    Confirm,
    /// Believe it.
    Accept,
    /// Refuse it with 401.
    Reject,
}

/// `[receiver.limits]`, `[api.limits]`: bounds of a listener.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerLimits {
    /// Connections at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// To finish the TLS handshake.
    #[serde(with = "super::duration")]
    pub handshake_timeout: Duration,
    /// To send all headers.
    #[serde(with = "super::duration")]
    pub header_timeout: Duration,
    /// Headers of a request, bytes.
    pub headers_max_bytes: usize,
    /// From the headers to the answer, body included.
    #[serde(with = "super::duration")]
    pub request_timeout: Duration,
    /// Streams at once on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Streams that a client may reset before they were answered; more ends the connection.
    pub http2_resets_max: usize,
    /// After this a connection takes no further request and closes once it is idle.
    #[serde(with = "super::duration")]
    pub connection_age_max: Duration,
    /// Between two looks at the certificate files.
    #[serde(with = "super::duration")]
    pub certificate_check_every: Duration,
}

/// `[api]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Needs `tls` when not loopback.
    pub listen: SocketAddr,
    /// Certificate and key, PEM.
    pub tls: TlsFiles,
    /// `tenant:key`.
    #[serde(serialize_with = "redact::named")]
    pub keys: Vec<SecretString>,
    /// See every tenant, use console and operator calls.
    #[serde(serialize_with = "redact::all")]
    pub operator_keys: Vec<SecretString>,
    /// Requests per second and key.
    pub rate_limit: u32,
    /// Requests at once and key.
    pub rate_burst: u32,
    /// Bound of one request's body, bytes; the broker takes 1 MiB a message.
    pub body_max_bytes: usize,
    /// Bound of a batch's body, bytes.
    pub batch_body_max_bytes: usize,
    /// How long a caller waits for the commit before 503.
    #[serde(with = "super::duration")]
    pub accept_timeout: Duration,
    /// Bounds of the listener.
    pub limits: ListenerLimits,
}

/// `[admin]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// No user data, so plain text is allowed anywhere.
    pub listen: SocketAddr,
    /// Certificate and key, PEM.
    pub tls: TlsFiles,
    /// Bounds of the listener.
    pub limits: ListenerLimits,
}

/// `[storage]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// `file://`, `s3://`, `gs://` or `az://`; none: `<data_dir>/assets`.
    pub url: Option<Url>,
    /// Options of the object store by name, for example `endpoint`; secrets among them.
    #[serde(serialize_with = "redact::values")]
    pub options: BTreeMap<String, SecretString>,
    /// An extra trust root, PEM, for a stand-in platform.
    pub ca_file: Option<PathBuf>,
    /// Exact hosts, or suffixes that begin with a dot and match on a label boundary.
    pub allowed_hosts: Vec<String>,
    /// Accept private addresses (development).
    pub allow_private: bool,
    /// Per output, bytes.
    pub max_bytes: u64,
    /// Bound of all spooled files, bytes.
    pub spool_max_bytes: u64,
    /// Downloads at once.
    pub concurrency: usize,
    /// Redirects followed.
    pub redirects_max: u32,
    /// Tries of one download within one delivery, each going on where the last one stopped.
    pub attempts_max: u32,
    /// To establish a connection.
    #[serde(with = "super::duration")]
    pub connect_timeout: Duration,
    /// Between two pieces of a body.
    #[serde(with = "super::duration")]
    pub idle_timeout: Duration,
    /// For one output.
    #[serde(with = "super::duration")]
    pub total_timeout: Duration,
    /// First wait between two tries; doubles, with jitter.
    #[serde(with = "super::duration")]
    pub backoff_base: Duration,
    /// Longest such wait; a server that asks for a longer one is left for a later delivery.
    #[serde(with = "super::duration")]
    pub backoff_cap: Duration,
}

/// `[pricing]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pricing {
    /// `official-2026-09`, `seed-credits-v1` or a file.
    pub book: String,
}

/// One number or a list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Thresholds {
    /// One share of the limit.
    One(Decimal),
    /// Several shares of the limit.
    Several(Vec<Decimal>),
}

/// `[budget]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Per tenant and day; none: the book's.
    pub daily_limit: Option<LimitSetting>,
    /// Over all tenants; none: no account ledger.
    pub account_daily_limit: Option<LimitSetting>,
    /// By tenant, over `daily_limit`.
    pub tenants: BTreeMap<String, LimitSetting>,
    /// Shares of the limit, each alerted once a day.
    pub alert_threshold: Thresholds,
    /// IANA name of the time zone of the day.
    pub time_zone: String,
    /// `HH:MM` at which the day starts.
    pub day_starts: String,
}

/// `[dispatcher]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dispatcher {
    /// How long a claim lasts; longer than a call to Kling may take.
    #[serde(with = "super::duration")]
    pub claim_lease: Duration,
    /// Calls to Kling at once.
    pub concurrency: usize,
    /// First wait after a refusal that passes; doubles, with jitter.
    #[serde(with = "super::duration")]
    pub backoff_base: Duration,
    /// Longest such wait.
    #[serde(with = "super::duration")]
    pub backoff_cap: Duration,
    /// Wait before a task that Kling does not show is created again with the same id.
    #[serde(with = "super::duration")]
    pub lookup_delay: Duration,
    /// How long dispatch stops after Kling refused the account or its credential.
    #[serde(with = "super::duration")]
    pub circuit_open: Duration,
}

/// `[reconciler]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reconciler {
    /// Between two looks at the open tasks.
    #[serde(with = "super::duration")]
    pub sweep_every: Duration,
    /// How long a task may be silent before Kling is asked.
    #[serde(with = "super::duration")]
    pub quiet_after: Duration,
    /// The same for avatars, which take longer.
    #[serde(with = "super::duration")]
    pub quiet_after_avatar: Duration,
    /// When a silent task is reported; repeated with doubling gaps, at most 7 days.
    #[serde(with = "super::duration")]
    pub stalled_after: Duration,
    /// Bound of the queries.
    pub queries_per_second: u32,
}

/// `[runner]`: bounds of the consume loops.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runner {
    /// How long a handler may be silent before its message is delivered again.
    #[serde(with = "super::duration")]
    pub ack_wait: Duration,
    /// Messages in hand at once, per stage.
    pub in_flight_max: usize,
    /// Deliveries before a message is set aside.
    pub attempts_max: u32,
    /// First wait before a message is tried again; doubles, with jitter.
    #[serde(with = "super::duration")]
    pub backoff_base: Duration,
    /// Longest such wait.
    #[serde(with = "super::duration")]
    pub backoff_cap: Duration,
    /// How long a stopping program waits for the work in hand.
    #[serde(with = "super::duration")]
    pub drain_timeout: Duration,
}

/// `[retention]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Of task events: at least 31 days.
    #[serde(with = "super::duration")]
    pub tasks: Duration,
    /// Of ledger and budget entries.
    #[serde(with = "super::duration")]
    pub ledger: Duration,
}
