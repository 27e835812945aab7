//! Who comes in: the receiver, the submit API, health.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::super::redact;

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
    /// Bound of a body without a signature, bytes.
    pub unsigned_body_max_bytes: usize,
    /// Bound of all bodies in hand, bytes; the bare path gets an eighth of it.
    pub bodies_max_bytes: usize,
    /// How long a callback waits for the broker before it is answered with 503.
    #[serde(with = "super::super::duration")]
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
    /// Connections at once; one more takes the place of an idle one.
    pub connections_max: usize,
    /// Connections that wait in the system until they are taken.
    pub backlog: u32,
    /// To finish the TLS handshake.
    #[serde(with = "super::super::duration")]
    pub handshake_timeout: Duration,
    /// To send all headers.
    #[serde(with = "super::super::duration")]
    pub header_timeout: Duration,
    /// Headers of a request, bytes.
    pub headers_max_bytes: usize,
    /// From the headers to the answer, body included; as long again to take the answer.
    #[serde(with = "super::super::duration")]
    pub request_timeout: Duration,
    /// Streams at once on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Streams that a client may reset before they were answered; more ends the connection.
    pub http2_resets_max: usize,
    /// After this a connection takes no further request and closes once it is idle.
    #[serde(with = "super::super::duration")]
    pub connection_age_max: Duration,
    /// Between two looks at the certificate files.
    #[serde(with = "super::super::duration")]
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
    /// Live event streams at once and tenant; operators have as many together.
    pub streams_max: u32,
    /// Bound of one request's body, bytes; the broker takes 1 MiB a message.
    pub body_max_bytes: usize,
    /// Bound of a batch's body, bytes.
    pub batch_body_max_bytes: usize,
    /// Bound of all bodies in hand, as they stand in memory once they are parsed, bytes; a tenant
    /// has a quarter of it, operators have one together.
    pub bodies_max_bytes: usize,
    /// How long a caller waits for the commit before 503.
    #[serde(with = "super::super::duration")]
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
