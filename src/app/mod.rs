//! The only wiring: configuration to edges, stages and supervised tasks, and their drain.

mod build;
mod descriptors;
mod screening;
mod stop;
mod supervise;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::build::{Edges, private_server};
use self::supervise::{Base, Supervisor};
use crate::config::{Config, Role};
use crate::edge::clock::Clock;
use crate::edge::nats::server::{PrivateServer, fit_to_disk};
use crate::edge::nats::topology::Consumer;
use crate::edge::nats::{Broker, Endpoint};
use crate::http::api::{self, Api};
use crate::http::callbacks;
use crate::http::health::{self, Readiness};
use crate::http::server::{self, Listen, Listener};
use crate::stage::accountant::Accountant;
use crate::stage::feed::Feed;
use crate::stage::intake;
use crate::stage::reconciler::Reconciler;
use crate::stage::runner::Runner;
use crate::stage::views::Views;
use crate::telemetry::Recorder;

pub use self::build::{audit_rules, book, check, day_limits, kling};

/// A running service.
pub struct App {
    edges: Edges,
    views: Views,
    readiness: Readiness,
    /// Stops the roles.
    stop: CancellationToken,
    /// Stops what the roles lean on, after them.
    stop_base: CancellationToken,
    roles: TaskTracker,
    listeners: Vec<(&'static str, Listener)>,
    server: Option<PrivateServer>,
    /// How long listeners and stages may go on after a stop.
    drain_timeout: Duration,
}

/// What the roles share, handed to each starter.
struct Wiring<'a> {
    config: &'a Config,
    edges: &'a Edges,
    views: &'a Views,
    runner: Runner,
    supervisor: Supervisor,
    stop: CancellationToken,
}

impl App {
    /// Starts these roles, and a private broker if none is configured.
    ///
    /// # Errors
    /// What cannot be had: the broker, an address, a certificate, a credential.
    pub async fn start(
        config: &Config,
        roles: &[Role],
        clock: Clock,
        recorder: Recorder,
    ) -> anyhow::Result<Self> {
        let mut config = config.clone();
        descriptors::fit(&mut config, roles);
        let (server, endpoint) = match Endpoint::configured(&config.nats) {
            Some(endpoint) => (None, endpoint),
            None => {
                // The defaults suit a server; a laptop with a full disk should start as well.
                fit_to_disk(&mut config.nats, &config.data_dir);
                private_server(&config, &clock).await?
            }
        };
        let config = &config;
        let (stop, stop_base) = (CancellationToken::new(), CancellationToken::new());
        let edges = Edges::connect(config, roles, &endpoint, clock, &stop_base).await?;
        let readiness = build::readiness(&edges, roles);
        let tracker = TaskTracker::new();
        let mut app = Self {
            edges,
            views: Views::default(),
            readiness,
            stop,
            stop_base,
            roles: tracker,
            listeners: Vec::new(),
            server,
            drain_timeout: config.runner.drain_timeout,
        };
        app.start_base(config, recorder).await?;
        for role in roles {
            app.start_role(config, *role).await?;
            app.readiness.running(*role);
        }
        app.roles.close();
        tracing::info!(
            roles = roles
                .iter()
                .map(|r| r.as_str())
                .collect::<Vec<_>>()
                .join(","),
            "started"
        );
        Ok(app)
    }

    /// Views, metrics and the admin listener: what every process has.
    async fn start_base(&mut self, config: &Config, recorder: Recorder) -> anyhow::Result<()> {
        self.keep_base(&recorder);
        let router = health::router(self.readiness.clone(), recorder);
        let listen = Listen {
            name: "admin",
            address: config.admin.listen,
            tls: &config.admin.tls,
            limits: &config.admin.limits,
            failure: server::plain_failure,
            drain_timeout: config.runner.drain_timeout,
        };
        let (clock, stop) = (self.edges.clock.clone(), self.stop_base.clone());
        self.listeners
            .push(("admin", server::serve(listen, router, clock, stop).await?));
        Ok(())
    }

    /// What the roles lean on, each begun anew when it dies.
    fn keep_base(&self, recorder: &Recorder) {
        let base = Base {
            broker: self.edges.broker.clone(),
            log: self.edges.log.clone(),
            views: self.views.clone(),
            clock: self.edges.clock.clone(),
            stop: self.stop_base.clone(),
        };
        if let Some(server) = &self.server {
            let writes = server.writes(base.log.clone(), base.clock.clone());
            base.keep_one("writes", move |base| writes.clone().keep(base.stop));
        }
        let recorder = recorder.clone();
        base.keep_one("metrics", move |base| {
            health::keep_metrics(recorder.clone(), base.clock, base.stop)
        });
        base.keep();
    }

    async fn start_role(&mut self, config: &Config, role: Role) -> anyhow::Result<()> {
        let clock = self.edges.clock.clone();
        let runner = Runner::new(self.edges.log.clone(), clock.clone(), config.runner.clone());
        let supervisor = Supervisor::new(
            role,
            self.readiness.clone(),
            self.roles.clone(),
            clock,
            self.stop.clone(),
        );
        let wiring = Wiring {
            config,
            edges: &self.edges,
            views: &self.views,
            runner,
            supervisor,
            stop: self.stop.clone(),
        };
        match role {
            Role::Intake => {
                let listener = wiring.intake().await?;
                self.listeners.push(("api", listener));
            }
            Role::Dispatcher => wiring.dispatcher()?,
            Role::Receiver => {
                let listener = wiring.receiver().await?;
                self.listeners.push(("receiver", listener));
            }
            Role::Completer => wiring.completer()?,
            Role::Downloader => wiring.downloader()?,
            Role::Accountant => wiring.accountant()?,
            Role::Reconciler => wiring.reconciler()?,
        }
        Ok(())
    }

    /// Returns where a listener is bound: `api`, `receiver` or `admin`.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.listeners
            .iter()
            .find(|(name, _)| *name == listener)
            .map(|(_, l)| l.address())
    }

    /// Returns the broker's connection.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.edges.broker
    }

    /// Returns the log.
    #[must_use]
    pub fn log(&self) -> &crate::edge::nats::log::Log {
        &self.edges.log
    }

    /// Returns the views.
    #[must_use]
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// Returns what `/readyz` answers from.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl Wiring<'_> {
    async fn intake(self) -> anyhow::Result<Listener> {
        let edges = self.edges;
        let intake = build::intake(self.config, edges, self.views)?;
        let api = Api::new(
            intake.clone(),
            Feed::new(edges.log.clone()),
            build::reports(self.config, edges)?,
            edges.clock.clone(),
            &self.config.api,
            self.stop.clone(),
        );
        let retrier = Arc::new(build::retrier(self.config, &intake));
        let (runner, stop) = (self.runner.clone(), self.stop.clone());
        self.supervisor.keep(move || {
            let (runner, handler, stop) = (runner.clone(), retrier.clone(), stop.clone());
            async move { runner.run(Consumer::Retrier, handler, stop).await }
        });
        let (broker, stop) = (edges.broker.clone(), self.stop.clone());
        let requests_max = self.config.runner.in_flight_max;
        self.supervisor.keep(move || {
            let (broker, intake, stop) = (broker.clone(), intake.clone(), stop.clone());
            async move {
                if let Err(error) = intake::serve(&broker, intake, requests_max, stop).await {
                    tracing::error!(error = error.to_string(), "the NATS service stopped");
                }
            }
        });
        let listen = Listen {
            name: "api",
            address: self.config.api.listen,
            tls: &self.config.api.tls,
            limits: &self.config.api.limits,
            failure: api::failure,
            drain_timeout: self.config.runner.drain_timeout,
        };
        let router = api.router();
        Ok(server::serve(listen, router, edges.clock.clone(), self.stop).await?)
    }

    fn dispatcher(self) -> anyhow::Result<()> {
        let dispatcher = build::dispatcher(self.config, self.edges, self.views)?;
        let (stop, drain) = (self.stop, self.config.runner.drain_timeout);
        self.supervisor.keep(move || {
            let (dispatcher, stop) = (dispatcher.clone(), stop.clone());
            async move { dispatcher.run(stop, drain).await }
        });
        Ok(())
    }

    async fn receiver(self) -> anyhow::Result<Listener> {
        let receiver = build::receiver(self.config, self.edges)?;
        let router = callbacks::router(receiver, &self.config.receiver);
        let listen = Listen {
            name: "receiver",
            address: self.config.receiver.listen,
            tls: &self.config.receiver.tls,
            limits: &self.config.receiver.limits,
            failure: server::plain_failure,
            drain_timeout: self.config.runner.drain_timeout,
        };
        Ok(server::serve(listen, router, self.edges.clock.clone(), self.stop).await?)
    }

    fn completer(self) -> anyhow::Result<()> {
        let completer = Arc::new(build::completer(self.config, self.edges)?);
        let (runner, stop) = (self.runner, self.stop);
        self.supervisor.keep(move || {
            let (runner, handler, stop) = (runner.clone(), completer.clone(), stop.clone());
            async move { runner.run(Consumer::Completer, handler, stop).await }
        });
        Ok(())
    }

    fn downloader(self) -> anyhow::Result<()> {
        let downloader = Arc::new(build::downloader(self.config, self.edges)?);
        let (runner, stop) = (self.runner, self.stop);
        self.supervisor.keep(move || {
            let (runner, handler, stop) = (runner.clone(), downloader.clone(), stop.clone());
            async move { runner.run(Consumer::Downloader, handler, stop).await }
        });
        Ok(())
    }

    fn accountant(self) -> anyhow::Result<()> {
        let money = self
            .edges
            .money
            .clone()
            .context("the accountant has no money writer")?;
        let accountant = Arc::new(Accountant::new(self.edges.log.clone(), money));
        let digest = build::digest(self.config, self.edges);
        let alerter = Arc::new(build::alerter(self.config, &self.edges.clock)?);
        let (runner, stop) = (self.runner.clone(), self.stop.clone());
        self.supervisor.clone().keep(move || {
            let (runner, handler, stop) = (runner.clone(), alerter.clone(), stop.clone());
            async move { runner.run(Consumer::Alerter, handler, stop).await }
        });
        let stop = self.stop.clone();
        self.supervisor.clone().keep(move || {
            let (digest, stop) = (digest.clone(), stop.clone());
            async move { digest.run(stop).await }
        });
        let (runner, stop) = (self.runner, self.stop);
        self.supervisor.keep(move || {
            let (runner, handler, stop) = (runner.clone(), accountant.clone(), stop.clone());
            async move { runner.run(Consumer::Accountant, handler, stop).await }
        });
        Ok(())
    }

    fn reconciler(self) -> anyhow::Result<()> {
        let reconciler = Arc::new(Reconciler::new(
            self.edges.log.clone(),
            self.edges.kling()?,
            self.views.clone(),
            self.edges.clock.clone(),
            self.config.reconciler.clone(),
            audit_rules(self.config)?,
        ));
        let stop = self.stop;
        self.supervisor.keep(move || {
            let (reconciler, stop) = (reconciler.clone(), stop.clone());
            async move { reconciler.run(stop).await }
        });
        Ok(())
    }
}
