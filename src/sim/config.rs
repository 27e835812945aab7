//! What a simulator can be told before it starts. Unknown keys fail; durations carry their unit.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::faults::FaultPlan;

/// Everything that can be set on a simulator. [`Default`] is a fast, faultless platform.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimConfig {
    /// HTTPS listener for API and CDN; port 0 takes a free one.
    pub listen: SocketAddr,
    /// An extra listener without TLS, for clients that can not be given a trust root.
    pub plain_http_listen: Option<SocketAddr>,
    /// Server certificate; without it the simulator makes its own CA.
    pub tls: Option<SimTls>,
    /// Fixes which tasks the probabilities in `faults` hit: the n-th create always fares the same.
    pub seed: u64,
    /// API keys, valid on every endpoint.
    pub api_keys: Vec<String>,
    /// Access key and secret key pairs, valid as JWT on legacy and account endpoints.
    pub access_keys: Vec<(String, String)>,
    /// `whsec_…` values: none leaves callbacks unsigned, two is a rotation (two signatures).
    pub webhook_secrets: Vec<String>,
    /// PEM of an extra trust root for posting to the callback receiver.
    pub callback_ca_pem: Option<String>,
    /// Concurrency per model version and pack type.
    pub slots: SlotLimits,
    /// Units left in each resource pack when the simulator starts.
    pub packs: PackUnits,
    /// How long things take.
    pub timing: Timing,
    /// How callbacks are sent.
    pub callbacks: CallbackConfig,
    /// Leaves the external id of legacy tasks out of `/tasks`, as the platform may.
    ///
    /// Source: platform reference 2.4 ("without `task_info`").
    pub hide_legacy_ids: bool,
    /// What finished tasks point to.
    pub outputs: OutputConfig,
    /// Faults beyond those that prompts ask for.
    pub faults: FaultPlan,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            plain_http_listen: None,
            tls: None,
            seed: 0,
            api_keys: vec!["api-key-kling-simulator".to_owned()],
            access_keys: vec![("simulator-access".to_owned(), "simulator-secret".to_owned())],
            webhook_secrets: Vec::new(),
            callback_ca_pem: None,
            slots: SlotLimits::default(),
            packs: PackUnits::default(),
            timing: Timing::default(),
            callbacks: CallbackConfig::default(),
            hide_legacy_ids: false,
            outputs: OutputConfig::default(),
            faults: FaultPlan::default(),
        }
    }
}

/// A server certificate chain and its key, both PEM.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimTls {
    /// Certificate chain, leaf first.
    pub cert_pem: String,
    /// Private key of the leaf.
    pub key_pem: String,
}

/// Slots per model version, by pack type.
///
/// Source: platform reference 5 (trial video packs carry 5, image packs 9).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlotLimits {
    /// Unfinished video tasks per model version.
    pub video: u32,
    /// Unfinished images per model version; a task takes as many as it asked for.
    pub image: u32,
    /// Unfinished try-on tasks.
    pub try_on: u32,
    /// Overrides by pool, such as `"video:kling-2.6"` (the version's new spelling).
    pub pools: BTreeMap<String, u32>,
}

impl Default for SlotLimits {
    fn default() -> Self {
        Self {
            video: 5,
            image: 9,
            try_on: 5,
            pools: BTreeMap::new(),
        }
    }
}

/// Units left per pack type; a create that could not be paid for is refused with 1102.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PackUnits {
    /// Video units.
    pub video: Decimal,
    /// Image units.
    pub image: Decimal,
    /// Try-on units.
    pub try_on: Decimal,
    /// US dollars on the cash balance, which pays where a tag says so.
    pub cash: Decimal,
}

impl Default for PackUnits {
    fn default() -> Self {
        let ample = Decimal::from(100_000_000_u32);
        Self {
            video: ample,
            image: ample,
            try_on: ample,
            cash: ample,
        }
    }
}

/// How long things take.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// From `submitted` to `processing`.
    #[serde(with = "humantime_serde")]
    pub queue_time: Duration,
    /// From `processing` to the end.
    #[serde(with = "humantime_serde")]
    pub process_time: Duration,
    /// At most this is added to `process_time`, evenly spread over the tasks.
    #[serde(with = "humantime_serde")]
    pub spread: Duration,
    /// Added before a create is answered.
    #[serde(with = "humantime_serde")]
    pub create_latency: Duration,
    /// Added before a look-up by id is answered.
    #[serde(with = "humantime_serde")]
    pub query_latency: Duration,
    /// How long a `create=timeout` fault stays silent before the connection is cut.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            queue_time: Duration::from_millis(100),
            process_time: Duration::from_millis(300),
            spread: Duration::ZERO,
            create_latency: Duration::ZERO,
            query_latency: Duration::ZERO,
            silence: Duration::from_secs(120),
        }
    }
}

/// How callbacks are sent.
///
/// Source: platform reference 3.1; no redelivery is documented, so none is the default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallbackConfig {
    /// Also sends the `submitted` status, which the platform may or may not do.
    pub send_submitted: bool,
    /// Longest wait for an answer.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Pauses before each redelivery of a callback that was not answered with 2xx.
    pub redeliver: Vec<Pause>,
    /// Gives every redelivery a fresh `webhook-id` instead of the first one's.
    pub redeliver_new_id: bool,
    /// Posts that may be under way at once.
    pub max_in_flight: usize,
}

impl Default for CallbackConfig {
    fn default() -> Self {
        Self {
            send_submitted: false,
            timeout: Duration::from_secs(5),
            redeliver: Vec::new(),
            redeliver_new_id: false,
            max_in_flight: 256,
        }
    }
}

/// One duration in a list, written like `"5s"`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub struct Pause(#[serde(with = "humantime_serde")] pub Duration);

/// What finished tasks point to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputConfig {
    /// Base of download URLs when clients reach the simulator by another name than `localhost`.
    pub base_url: Option<String>,
    /// Harmless bytes added to each video, to make downloads weigh something. At most 64 MiB.
    pub padding_bytes: u32,
    /// Life of a signed URL.
    ///
    /// Source: platform reference 6 (30 days).
    #[serde(with = "humantime_serde")]
    pub url_life: Duration,
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self {
            base_url: None,
            padding_bytes: 0,
            url_life: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}
