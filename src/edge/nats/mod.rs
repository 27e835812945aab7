//! The broker: private server, topology, the log, the folding money writer.
//!
//! Nobody outside this module writes a NATS header. Stages load and commit through [`log::Log`],
//! money moves through [`money::Money`], and every name and bound stands in [`topology`].

pub mod server;
pub mod topology;
mod ensure;
mod wire;
pub mod record;
mod error;
pub mod log;
mod compose;
pub mod read;
mod follow;
pub mod callbacks;
pub mod dead;
pub mod replay;
mod audit;
pub mod money;
pub mod usage;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use crate::config;

/// The oldest server that takes our batches: older ones refuse valid batches that carry two
/// expected subjects of equal length.
///
/// Source: broker reference 1.
pub const SERVER_FLOOR: (u64, u64) = (2, 15);

/// Returns the headers that mark a reply of our NATS service as a refusal.
///
/// Source: the NATS service API (ADR-32).
#[must_use]
pub fn service_error(status: u16, title: &str) -> async_nats::HeaderMap {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Service-Error", title);
    headers.insert("Nats-Service-Error-Code", status.to_string());
    headers
}

/// Where replies to us arrive: apart from the default, so that a consumer's account cannot read
/// them.
pub const INBOX_PREFIX: &str = "_INBOX_kling_relay";

/// A connection over which nothing passes any more is given up after three of these: a router that
/// forgot it tells nobody, and the client's own minute would make that three minutes.
const PING_EVERY: Duration = Duration::from_secs(5);

/// How a connection proves who it is.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// It does not.
    None,
    /// With a name and a password.
    Password {
        /// The user's name.
        user: String,
        /// The user's password.
        password: SecretString,
    },
    /// With a `.creds` file.
    File(PathBuf),
}

/// Where a broker is and how to enter.
#[derive(Clone)]
pub struct Endpoint {
    /// `nats://host:port` or `tls://host:port`; several, parted by commas, for a cluster.
    pub url: String,
    /// Who is calling.
    pub credentials: Credentials,
}

/// Leaves out what the address may hold of a password.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &shown(&self.url))
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Returns the configured broker; `None` asks for a private server.
    #[must_use]
    pub fn configured(nats: &config::Nats) -> Option<Self> {
        let url = nats.url.clone()?;
        let credentials = match &nats.credentials_file {
            Some(path) => Credentials::File(path.clone()),
            None => within(&url),
        };
        Some(Self { url, credentials })
    }
}

/// Takes the name and password that stand before the `@` of the first address with one: the client
/// library reads them and never sends them.
fn within(urls: &str) -> Credentials {
    let named = urls
        .split(',')
        .filter_map(|url| url::Url::parse(url.trim()).ok())
        .find_map(|url| Some((decoded(url.username()), decoded(url.password()?))));
    match named {
        Some((user, password)) => Credentials::Password {
            user,
            password: SecretString::from(password),
        },
        None => Credentials::None,
    }
}

/// Undoes the `%` spelling that a URL needs for what would end its name or password.
fn decoded(text: &str) -> String {
    let text = format!("text={}", text.replace('+', "%2B"));
    let mut fields = url::form_urlencoded::parse(text.as_bytes());
    fields
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Why there is no usable broker, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Nothing answers, or it refuses us.
    #[error("no NATS server can be used at {url}: check nats.url and its credentials")]
    Unreachable {
        /// The address that was tried.
        url: String,
        /// What the client said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The credentials or the trust root cannot be read.
    #[error("cannot read {}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server is too old.
    #[error(
        "nats-server {found} at {url} is too old: atomic batches need {}.{} or newer; upgrade it, \
         or run deploy/nats/install.sh and leave nats.url unset for a private server",
        SERVER_FLOOR.0, SERVER_FLOOR.1
    )]
    TooOld {
        /// The address.
        url: String,
        /// Its version.
        found: String,
    },
    /// The server runs without JetStream.
    #[error(
        "the NATS server at {url} runs without JetStream: add a jetstream block to its \
             configuration (deploy/nats/nats-server.conf shows one)"
    )]
    NoJetStream {
        /// The address.
        url: String,
    },
}

/// A connection to the broker, shared by everything in the process.
#[derive(Clone)]
pub struct Broker {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    connections: Arc<watch::Sender<u64>>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("state", &self.client.connection_state())
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Connects and checks the server's version. A lost connection is made again for ever.
    ///
    /// # Errors
    /// [`BrokerError`] when nothing answers, or what answers cannot carry the log.
    pub async fn connect(nats: &config::Nats, endpoint: &Endpoint) -> Result<Self, BrokerError> {
        let connections = Arc::new(watch::Sender::new(0));
        let options = options(nats, endpoint, connections.clone()).await?;
        let addresses: Vec<&str> = endpoint.url.split(',').map(str::trim).collect();
        let client = options
            .connect(addresses.as_slice())
            .await
            .map_err(|error| BrokerError::Unreachable {
                url: shown(&endpoint.url),
                source: Box::new(error),
            })?;
        check(&client.server_info(), &endpoint.url)?;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(nats.read_timeout.max(Duration::from_secs(5)))
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            connections,
        })
    }

    /// Returns the client, for request/reply services and plain subscriptions.
    #[must_use]
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// Returns the JetStream context, for consumers.
    #[must_use]
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// Tells whether the connection stands at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Leaves the server that is connected now for any of those that are known.
    pub async fn reconnect(&self) {
        if let Err(error) = self.client.force_reconnect().await {
            tracing::debug!(%error, "the broker connection was already closed");
        }
    }

    /// Returns how often a connection was made: a change means that the server may have restarted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        *self.connections.borrow()
    }

    /// Waits until another connection was made than those counted in `seen`.
    pub async fn connected_since(&self, seen: u64) {
        let mut connections = self.connections.subscribe();
        // The sender lives as long as this does.
        let _ = connections.wait_for(|made| *made != seen).await;
    }

    /// Returns the version of the server that is connected now.
    #[must_use]
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// Returns the greatest message that the server takes, in bytes, headers included.
    #[must_use]
    pub fn payload_max_bytes(&self) -> usize {
        self.client.max_payload()
    }

    /// Sends what is buffered and closes the subscriptions.
    pub async fn drain(&self) {
        if let Err(error) = self.client.drain().await {
            tracing::debug!(%error, "the broker connection was already closed");
        }
    }
}

async fn options(
    nats: &config::Nats,
    endpoint: &Endpoint,
    connections: Arc<watch::Sender<u64>>,
) -> Result<async_nats::ConnectOptions, BrokerError> {
    let mut options = async_nats::ConnectOptions::new()
        .name("kling-relay")
        .custom_inbox_prefix(INBOX_PREFIX)
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(PING_EVERY)
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            observe(&event, &connections);
            std::future::ready(())
        });
    if let Some(path) = &nats.ca_file {
        options = options.add_root_certificates(path.clone());
    }
    match &endpoint.credentials {
        Credentials::None => Ok(options),
        Credentials::Password { user, password } => {
            Ok(options.user_and_password(user.clone(), password.expose_secret().to_owned()))
        }
        Credentials::File(path) => {
            options
                .credentials_file(path)
                .await
                .map_err(|source| BrokerError::Credentials {
                    path: path.clone(),
                    source,
                })
        }
    }
}

/// A restarted server on the same machine is back in a second or two: try often, never flood.
fn reconnect_delay(attempt: usize) -> Duration {
    let steps = u64::try_from(attempt).unwrap_or(u64::MAX);
    Duration::from_millis(steps.saturating_mul(50).min(1_000))
}

fn observe(event: &async_nats::Event, connections: &watch::Sender<u64>) {
    match event {
        async_nats::Event::Connected => {
            connections.send_modify(|made| *made += 1);
            let made = *connections.borrow();
            if made > 1 {
                tracing::info!(connections = made, "connected to the broker again");
            }
        }
        async_nats::Event::Disconnected => tracing::warn!("the broker connection was lost"),
        async_nats::Event::SlowConsumer(id) => {
            tracing::warn!(
                subscription = id,
                "a subscription dropped messages: it is too slow"
            );
        }
        async_nats::Event::LameDuckMode
        | async_nats::Event::Draining
        | async_nats::Event::Closed
        | async_nats::Event::ServerError(_)
        | async_nats::Event::ClientError(_) => tracing::debug!(%event, "broker connection"),
    }
}

fn check(info: &async_nats::ServerInfo, url: &str) -> Result<(), BrokerError> {
    if !version_is_enough(&info.version) {
        return Err(BrokerError::TooOld {
            url: shown(url),
            found: info.version.clone(),
        });
    }
    if !info.jetstream {
        return Err(BrokerError::NoJetStream { url: shown(url) });
    }
    Ok(())
}

/// Tells whether a version such as `2.15.1` or `v2.16.0-beta.1` reaches [`SERVER_FLOOR`].
#[must_use]
pub fn version_is_enough(version: &str) -> bool {
    let mut numbers = version
        .trim_start_matches('v')
        .split(['.', '-'])
        .map_while(|part| part.parse::<u64>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) >= SERVER_FLOOR,
        (_, _) => false,
    }
}

/// A URL may hold a password before its `@`: it is never shown.
fn shown(url: &str) -> String {
    url.split(',')
        .map(|one| match (one.find("://"), one.rfind('@')) {
            (Some(scheme), Some(at)) if at > scheme => {
                format!("{}://…{}", &one[..scheme], &one[at..])
            }
            (_, _) => one.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(",")
}
