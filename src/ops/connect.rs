//! How a command finds the broker and the service.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use async_nats::RequestErrorKind;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::edge::clock::Clock;
use crate::edge::nats::log::Log;
use crate::edge::nats::server::{PrivateServer, endpoint_of, enter};
use crate::edge::nats::{Broker, Endpoint, topology};
use crate::model::problem::Problem;

/// How long a command waits for the service's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection, and the private server if this command had to start it.
pub struct Connected {
    /// The broker.
    pub broker: Broker,
    /// The log.
    pub log: Log,
    server: Option<PrivateServer>,
}

/// What a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A service that answers.
    Service,
    /// The log alone.
    Log,
}

/// Connects to the configured broker; without one, to the private server that runs on this data
/// directory. A command that needs the log alone starts that server if it does not run.
///
/// # Errors
/// Says what to start or install.
pub async fn connect(config: &Config, clock: &Clock, need: Need) -> anyhow::Result<Connected> {
    let running = || endpoint_of(&config.data_dir);
    let (server, endpoint) = match (Endpoint::configured(&config.nats).or_else(running), need) {
        (Some(endpoint), _) => (None, endpoint),
        (None, Need::Log) => enter(&config.data_dir, &config.nats, clock).await?,
        (None, Need::Service) => bail!(
            "no service runs on {}; start `kling-relay dev` (or `serve`) with the same data_dir, \
             or set nats.url to its broker",
            config.data_dir.display()
        ),
    };
    let broker = Broker::connect(&config.nats, &endpoint).await?;
    topology::ensure(&broker, &config.nats, &config.runner).await?;
    let log = Log::new(
        &broker,
        clock.clone(),
        &config.environment,
        &config.nats,
        &config.retention,
    );
    Ok(Connected {
        broker,
        log,
        server,
    })
}

impl Connected {
    /// Disconnects, and stops what was started.
    pub async fn close(self) {
        self.broker.drain().await;
        if let Some(server) = self.server {
            server.stop().await;
        }
    }

    /// Asks the running service.
    ///
    /// # Errors
    /// The service's refusal as a [`Problem`], or that no service runs.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        subject: String,
        body: Vec<u8>,
        idempotency_key: Option<&str>,
    ) -> anyhow::Result<T> {
        if body.len() > self.broker.payload_max_bytes() {
            bail!("the request is larger than the broker takes; send media by URL");
        }
        let mut headers = async_nats::HeaderMap::new();
        if let Some(key) = idempotency_key {
            headers.insert("Idempotency-Key", key);
        }
        let request = async_nats::Request::new()
            .headers(headers)
            .payload(body.into())
            .timeout(Some(ANSWER_TIMEOUT));
        let answer = self.broker.client().send_request(subject, request).await;
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => anyhow!(
                "no service runs with this broker, so nothing was sent; start `kling-relay dev` \
                 (or `serve`)"
            ),
            RequestErrorKind::TimedOut
            | RequestErrorKind::InvalidSubject
            | RequestErrorKind::MaxPayloadExceeded
            | RequestErrorKind::Other => anyhow::Error::new(error).context(
                "the service did not answer; repeat a submission with the same --idempotency-key",
            ),
        })?;
        if let Ok(problem) = serde_json::from_slice::<Problem>(&answer.payload) {
            return Err(problem.into());
        }
        serde_json::from_slice(&answer.payload).context("the service's answer cannot be read")
    }
}
