//! A stand-in Kling platform for tests, demos and load; `serve` never starts it.
//!
//! It is stateful: tasks are queued, generated and ended, occupy slots, are paid from packs,
//! call back and leave files on a content network, in both generations of the API. It
//! is written from the platform reference alone and imports nothing else of this crate, so
//! that one misreading of Kling's protocol is not made twice. What can go wrong is in [`faults`].
//!
//! Reading order: `catalogue` (products), `task` (shapes), `state` (the account), `create`,
//! `lifecycle`, `deduct`, `callbacks`, `query`, `account`, `cdn`, then [`Control`] and [`Forgery`].
//!
//! Deliberately absent: generation itself, cash billing unless a tag asks for it, the consumer web
//! site, rate limits other than slots (the platform documents none), persistence.

pub mod config;
pub mod faults;
pub mod stats;

mod account;
mod auth;
mod callbacks;
mod catalogue;
mod cdn;
mod clock;
mod control;
mod create;
mod deduct;
mod forge;
mod lifecycle;
mod media;
mod panel;
mod price;
mod query;
mod reply;
mod server;
mod signature;
mod state;
mod tags;
mod task;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use config::SimConfig;
pub use control::{Control, SimTask};
pub use faults::FaultPlan;
pub use forge::{Forgery, ForgeryKind};
pub use signature::sign;
pub use stats::SimStats;

use server::{Listener, Sim};

/// Why a simulator did not start, or did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A listener could not be bound.
    #[error("can not listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A bound listener could not be served.
    #[error("can not serve")]
    Serve(#[source] std::io::Error),
    /// The own CA could not be made.
    #[error("can not make a certificate")]
    Certificate(#[source] rcgen::Error),
    /// Given certificate or key is no PEM.
    #[error("certificate or key is not PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// Certificate and key can not be served.
    #[error("certificate can not be used")]
    Tls(#[source] rustls::Error),
    /// The client for callbacks could not be built.
    #[error("callback client can not be built")]
    Client(#[source] reqwest::Error),
    /// A webhook secret is not `whsec_` and base64; the value itself is not repeated.
    #[error("webhook secret of {0} characters is not a whsec_ value")]
    Secret(usize),
    /// A fault tag is not understood.
    #[error("fault tag not understood: {0}")]
    Tag(String),
    /// A forgery needs a task with a callback URL, or a URL.
    #[error("no such task, or it has no callback URL")]
    NoTarget,
}

/// A running platform. Stops when dropped.
pub struct Simulator {
    sim: Arc<Sim>,
    tls: Listener,
    plain: Option<(Listener, SocketAddr)>,
}

impl Simulator {
    /// Starts listening; returns once connections are accepted.
    ///
    /// A rustls crypto provider must have been installed in the process.
    ///
    /// # Errors
    /// When an address is taken, or certificates, secrets or fault tags can not be used.
    pub async fn start(config: SimConfig) -> Result<Self, SimError> {
        let identity = tls::identity(config.tls.as_ref())?;
        let (listener, address) = server::bind(config.listen)?;
        let plain = config.plain_http_listen.map(server::bind).transpose()?;
        let base_url = format!("https://localhost:{}", address.port());
        let sim = Arc::new(Sim::new(config, base_url, identity.ca_pem)?);
        let router = server::router(sim.clone());
        let tls = server::serve(listener, router.clone(), Some(identity.server))
            .map_err(SimError::Serve)?;
        let plain = match plain {
            Some((listener, address)) => Some((
                server::serve(listener, router, None).map_err(SimError::Serve)?,
                address,
            )),
            None => None,
        };
        tls.handle.listening().await;
        tracing::info!(url = sim.base_url, "simulated Kling platform is listening");
        Ok(Self { sim, tls, plain })
    }

    /// `https://localhost:PORT`: API and CDN.
    pub fn base_url(&self) -> String {
        self.sim.base_url.clone()
    }

    /// `http://127.0.0.1:PORT` of the extra listener without TLS.
    pub fn plain_url(&self) -> Option<String> {
        self.plain
            .as_ref()
            .map(|(_, address)| format!("http://{address}"))
    }

    /// The trust root that clients need, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.sim.ca_pem
    }

    /// A snapshot of all counters.
    pub fn stats(&self) -> SimStats {
        self.sim.state().stats()
    }

    /// The controls, which may be cloned and outlive this value.
    pub fn control(&self) -> Control {
        Control::new(self.sim.clone())
    }

    /// Stops listening and forgets everything.
    pub async fn stop(mut self) {
        self.halt();
        let listeners =
            std::iter::once(&mut self.tls).chain(self.plain.as_mut().map(|(listener, _)| listener));
        for listener in listeners {
            // A listener that broke has nothing left to stop.
            let _ = (&mut listener.serving).await;
        }
    }

    fn halt(&self) {
        self.sim.stopping.cancel();
        let plain = self.plain.iter().map(|(listener, _)| listener);
        for listener in plain.chain([&self.tls]) {
            listener
                .handle
                .graceful_shutdown(Some(Duration::from_millis(200)));
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Runs a simulator until `shutdown` is done.
///
/// # Errors
/// As [`Simulator::start`].
pub async fn run(
    config: SimConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<SimStats, SimError> {
    let simulator = Simulator::start(config).await?;
    shutdown.await;
    let stats = simulator.stats();
    simulator.stop().await;
    Ok(stats)
}
