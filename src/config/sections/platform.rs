//! What is called: Kling, its downloads and our storage, and when.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::super::redact;
use crate::model::window::DayWindow;

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
    #[serde(with = "super::super::duration")]
    pub connect_timeout: Duration,
    /// For a whole call.
    #[serde(with = "super::super::duration")]
    pub request_timeout: Duration,
    /// Bound of a response body, bytes.
    pub response_max_bytes: usize,
    /// Tries of one query before its caller is told.
    pub read_attempts_max: u32,
    /// First wait between two tries of a query; doubles, with jitter.
    #[serde(with = "super::super::duration")]
    pub read_backoff_base: Duration,
    /// Longest such wait.
    #[serde(with = "super::super::duration")]
    pub read_backoff_cap: Duration,
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
    #[serde(with = "super::super::duration")]
    pub connect_timeout: Duration,
    /// Between two pieces of a body.
    #[serde(with = "super::super::duration")]
    pub idle_timeout: Duration,
    /// For one output.
    #[serde(with = "super::super::duration")]
    pub total_timeout: Duration,
    /// First wait between two tries; doubles, with jitter.
    #[serde(with = "super::super::duration")]
    pub backoff_base: Duration,
    /// Longest such wait; a server that asks for a longer one is left for a later delivery.
    #[serde(with = "super::super::duration")]
    pub backoff_cap: Duration,
}

/// `[dispatcher]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dispatcher {
    /// How long a claim lasts; longer than a call to Kling may take.
    #[serde(with = "super::super::duration")]
    pub claim_lease: Duration,
    /// Calls to Kling at once.
    pub concurrency: usize,
    /// First wait after a refusal that passes; doubles, with jitter.
    #[serde(with = "super::super::duration")]
    pub backoff_base: Duration,
    /// Longest such wait.
    #[serde(with = "super::super::duration")]
    pub backoff_cap: Duration,
    /// Wait before a task that Kling does not show is created again with the same id.
    #[serde(with = "super::super::duration")]
    pub lookup_delay: Duration,
    /// How long dispatch stops after Kling refused the account or its credential.
    #[serde(with = "super::super::duration")]
    pub circuit_open: Duration,
    /// When `off_peak` tasks are dispatched; none: they are refused.
    pub off_peak: Option<DayWindow>,
}

/// `[reconciler]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reconciler {
    /// Between two looks at the open tasks.
    #[serde(with = "super::super::duration")]
    pub sweep_every: Duration,
    /// How long a task may be silent before Kling is asked.
    #[serde(with = "super::super::duration")]
    pub quiet_after: Duration,
    /// The same for avatars, which take longer.
    #[serde(with = "super::super::duration")]
    pub quiet_after_avatar: Duration,
    /// When a silent task is reported; repeated with doubling gaps, at most 7 days.
    #[serde(with = "super::super::duration")]
    pub stalled_after: Duration,
    /// Bound of the queries.
    pub queries_per_second: u32,
    /// Queries, and reports, under way at once.
    pub concurrency: usize,
    /// Between two audits of our ledger against Kling's records, in whole days; 0: none.
    #[serde(with = "super::super::duration")]
    pub audit_every: Duration,
    /// How long Kling's records may stay behind what it took.
    #[serde(with = "super::super::duration")]
    pub audit_lag: Duration,
}
