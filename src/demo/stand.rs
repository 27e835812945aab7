//! A simulator and a service that know each other, over real TLS, with the development material.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::app::App;
use crate::config::{Config, Role};
use crate::edge::clock::Clock;
use crate::edge::development::{Development, TENANT};
use crate::edge::port::Port;
use crate::sim::config::SimTls;
use crate::sim::{SimConfig, Simulator};
use crate::telemetry::Recorder;

/// What the simulator signs its callbacks with. No secret: it guards nothing but a stand-in.
const WEBHOOK_SECRET: &str = "whsec_c2ltdWxhdG9yLXdlYmhvb2stc2VjcmV0LTAwMDE=";
const SIM_API_KEY: &str = "api-key-kling-simulator";

/// How fast the stand-in platform works, and how soon the service looks after silent tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) queue: Duration,
    pub(super) process: Duration,
    pub(super) spread: Duration,
    pub(super) quiet_after: Duration,
    pub(super) sweep_every: Duration,
    pub(super) lookup_delay: Duration,
}

/// Both of them, running.
pub(super) struct Stand {
    pub(super) sim: Simulator,
    pub(super) app: App,
    pub(super) config: Config,
    pub(super) development: Development,
    pub(super) recorder: Recorder,
}

impl Stand {
    pub(super) async fn start(
        config: Config,
        pace: Pace,
        seed: u64,
        clock: Clock,
        recorder: Recorder,
    ) -> anyhow::Result<Self> {
        let development = Development::ensure(&config.data_dir, clock.now())?;
        let sim = Simulator::start(platform(&development, pace, seed)?).await?;
        // The receiver's address must be known before the first task is created.
        let port = Port::keep((Ipv4Addr::LOCALHOST, 0).into()).context("no free port")?;
        let config = service(config, &development, &sim, pace, port.address())?;
        config.check_serve(&Role::ALL)?;
        let app = Box::pin(App::start(&config, &Role::ALL, clock, recorder.clone())).await?;
        Ok(Self {
            sim,
            app,
            config,
            development,
            recorder,
        })
    }

    /// Returns where to submit.
    pub(super) fn api_url(&self) -> String {
        let address = self
            .app
            .address("api")
            .map_or_else(String::new, |a| a.to_string());
        format!("http://{address}")
    }

    pub(super) async fn stop(self) {
        self.app.stop().await;
        self.sim.stop().await;
    }
}

fn platform(material: &Development, pace: Pace, seed: u64) -> anyhow::Result<SimConfig> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut config = SimConfig {
        tls: Some(SimTls {
            cert_pem: read(&material.cert_file)?,
            key_pem: read(&material.key_file)?,
        }),
        seed,
        api_keys: vec![SIM_API_KEY.to_owned()],
        webhook_secrets: vec![WEBHOOK_SECRET.to_owned()],
        callback_ca_pem: Some(read(&material.ca_file)?),
        ..SimConfig::default()
    };
    config.timing.queue_time = pace.queue;
    config.timing.process_time = pace.process;
    config.timing.spread = pace.spread;
    Ok(config)
}

fn service(
    mut config: Config,
    material: &Development,
    sim: &Simulator,
    pace: Pace,
    receiver: SocketAddr,
) -> anyhow::Result<Config> {
    config.kling.base_url = Url::parse(&sim.base_url())?;
    config.kling.ca_file = Some(material.ca_file.clone());
    config.kling.api_key = Some(SecretString::from(SIM_API_KEY));
    config.dispatcher.lookup_delay = pace.lookup_delay;
    config.reconciler.quiet_after = pace.quiet_after;
    config.reconciler.sweep_every = pace.sweep_every;
    // The stand-in platform forgets its records when it stops.
    config.reconciler.audit_every = std::time::Duration::ZERO;
    config.receiver.listen = receiver;
    let public_url = format!("https://localhost:{}", receiver.port());
    config.receiver.public_url = Some(Url::parse(&public_url)?);
    config.receiver.tls.cert_file = Some(material.cert_file.clone());
    config.receiver.tls.key_file = Some(material.key_file.clone());
    config.receiver.capability_keys = vec![material.capability_key.clone()];
    config.receiver.webhook_secrets = vec![SecretString::from(WEBHOOK_SECRET)];
    let key = format!("{TENANT}:{}", material.api_key.expose_secret());
    config.api.keys = vec![SecretString::from(key)];
    config.api.operator_keys = vec![material.operator_key.clone()];
    config.storage.ca_file = Some(material.ca_file.clone());
    config.storage.allow_private = true;
    config.storage.allowed_hosts.push("localhost".to_owned());
    // Whoever has something there keeps it.
    for address in [&mut config.api.listen, &mut config.admin.listen] {
        if TcpListener::bind(*address).is_err() {
            address.set_port(0);
        }
    }
    Ok(config)
}
