//! One platform, one broker or three, and several real programs, with a link between each two that
//! a test can break.

use std::time::Duration;

use kling_relay::config::Config;
use kling_relay::edge::nats::log::Log;
use kling_relay::edge::nats::{Broker, Credentials, Endpoint};
use kling_relay::model::ids::TaskId;
use kling_relay::sim::{SimConfig, SimStats, Simulator};
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

use crate::broker::{Node, free_port, open, until};
use crate::kit::{audit_chain, everything};
use crate::link::Link;
use crate::process::{DEADLINE, Program, submit_once};
use crate::world::{self, Change, Expected, audit, drained, follow_until};

/// The part of a server's configuration that says who may do what; the observer always may.
pub(super) fn users(relay_password: &str, denied: &[&str]) -> String {
    let denied: Vec<String> = denied
        .iter()
        .map(|subject| format!("\"{subject}\""))
        .collect();
    format!(
        "authorization {{ users: [ {{ user: observer, password: watches }}, \
         {{ user: relay, password: {relay_password}, \
         permissions: {{ publish: {{ allow: \">\", deny: [{}] }}, subscribe: \">\" }} }} ] }}",
        denied.join(", ")
    )
}

/// Everything, and what was submitted.
pub(super) struct Stand {
    pub(super) programs: Vec<Program>,
    pub(super) sim: Simulator,
    pub(super) nodes: Vec<Node>,
    /// From the programs to each node.
    pub(super) links: Vec<Link>,
    /// From the platform to the receivers.
    pub(super) front: Link,
    /// The test's own connection, past the links.
    pub(super) observer: Broker,
    pub(super) log: Log,
    clients: Vec<JoinHandle<TaskId>>,
    _data: tempfile::TempDir,
}

/// What a stand is made of.
pub(super) struct Parts {
    pub(super) nodes: Vec<Node>,
    pub(super) programs: usize,
    pub(super) roles: Option<&'static str>,
    pub(super) sim: Option<Change<SimConfig>>,
    pub(super) service: Option<Change<Config>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            nodes: vec![Node::start_with(&users("word", &[]))],
            programs: 1,
            roles: None,
            sim: None,
            service: None,
        }
    }
}

impl Stand {
    /// Prepares everything; no program runs yet.
    pub(super) async fn prepare(parts: Parts) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        let change = parts.sim;
        let platform = move |sim: &mut SimConfig| {
            sim.slots.video = 20;
            sim.timing.silence = Duration::from_secs(4);
            if let Some(change) = change {
                change(sim);
            }
        };
        let (sim, mut config) = world::stage(data.path(), Some(Box::new(platform))).await;
        world::hurry(&mut config);
        let mut links = Vec::new();
        for node in &parts.nodes {
            links.push(Link::to(&[node.port]).await);
        }
        let way = |link: &Link| format!("nats://relay:word@127.0.0.1:{}", link.port);
        config.nats.url = Some(links.iter().map(way).collect::<Vec<_>>().join(","));
        config.nats.replicas = parts.nodes.len();
        let assets = Url::from_directory_path(data.path().join("assets"));
        config.storage.url = Some(assets.expect("an absolute path"));
        if let Some(change) = parts.service {
            change(&mut config);
        }
        let receivers: Vec<u16> = (0..parts.programs).map(|_| free_port()).collect();
        let front = Link::to(&receivers).await;
        let public_url = format!("https://localhost:{}", front.port);
        config.receiver.public_url = Some(Url::parse(&public_url).expect("a URL"));
        let programs = receivers.iter().enumerate().map(|(n, receiver)| {
            let mut config = config.clone();
            config.data_dir = data.path().join(format!("program-{n}"));
            config.receiver.listen = ([127, 0, 0, 1], *receiver).into();
            config.api.listen = ([127, 0, 0, 1], free_port()).into();
            config.admin.listen = ([127, 0, 0, 1], free_port()).into();
            match parts.roles {
                Some(roles) => Program::with_roles(config, roles),
                None => Program::prepare(config),
            }
        });
        let programs = programs.collect();
        let (observer, log) = look(&parts.nodes.iter().collect::<Vec<_>>(), &config).await;
        Self {
            programs,
            sim,
            nodes: parts.nodes,
            links,
            front,
            observer,
            log,
            clients: Vec::new(),
            _data: data,
        }
    }

    /// Connects past the links, to these servers only.
    pub(super) async fn look_from(&self, nodes: &[&Node]) -> (Broker, Log) {
        look(nodes, &self.programs[0].config).await
    }

    /// Starts every program and waits until it serves.
    pub(super) async fn start(&mut self) {
        self.programs.iter_mut().for_each(Program::start);
        self.serve().await;
    }

    /// Waits until every program takes submissions.
    pub(super) async fn serve(&self) {
        for program in &self.programs {
            program.serves(program.config.api.listen).await;
        }
    }

    /// Submits these, a share in each round; each until it is accepted, wherever.
    pub(super) fn submit(&mut self, requests: Vec<Value>, rounds: usize) -> watch::Sender<usize> {
        let (round, begun) = watch::channel(0);
        let addresses = self
            .programs
            .iter()
            .map(|program| program.config.api.listen);
        let urls: Vec<String> = addresses
            .map(|address| format!("http://{address}/v1/tasks"))
            .collect();
        let (client, count) = (world::client(), requests.len());
        let before = self.clients.len();
        for (n, request) in requests.into_iter().enumerate() {
            let (client, mut urls, mut begun) = (client.clone(), urls.clone(), begun.clone());
            let first = n % urls.len();
            urls.rotate_left(first);
            let key = format!("request-{}", before + n);
            self.clients.push(tokio::spawn(async move {
                let mine = |round: &usize| *round >= n * rounds / count;
                begun.wait_for(mine).await.expect("the rounds go on");
                submit_once(&client, &urls, &key, &request).await
            }));
        }
        round
    }

    /// Waits until everything that was submitted is finished, and checks the laws.
    pub(super) async fn conclude(mut self) -> SimStats {
        let mut ids = Vec::new();
        for client in std::mem::take(&mut self.clients) {
            ids.push(client.await.expect("it was accepted"));
        }
        follow_until(&self.log, &ids, DEADLINE, |task| task.is_finished()).await;
        let control = self.sim.control();
        until("the platform is idle", DEADLINE, async || control.is_idle()).await;
        drained(&self.log).await;
        let breaches = audit(
            &self.observer,
            &self.log,
            &control,
            &ids,
            Expected::default(),
        )
        .await;
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        let messages = everything(&self.log).await;
        assert_eq!(audit_chain(&messages).torn, 0, "half a batch");
        for program in self
            .programs
            .iter_mut()
            .filter(|program| program.is_running())
        {
            let (code, _) = program.terminate().await;
            assert_eq!(code, Some(0));
        }
        self.sim.stats()
    }
}

async fn look(nodes: &[&Node], config: &Config) -> (Broker, Log) {
    let direct = |node: &&Node| format!("nats://127.0.0.1:{}", node.port);
    let endpoint = Endpoint {
        url: nodes.iter().map(direct).collect::<Vec<_>>().join(","),
        credentials: Credentials::Password {
            user: "observer".to_owned(),
            password: SecretString::from("watches"),
        },
    };
    open(&endpoint, &config.nats).await
}
