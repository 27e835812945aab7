//! One platform, one broker or three, and several real programs, with a link between each two that
//! a test can break.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

use super::requests::not_as_asked;
use crate::broker::{Node, free_port, open, until};
use crate::link::Link;
use crate::process::{Caller, DEADLINE, Program};
use crate::world::{self, Change, Expected, TENANTS, audit, drained, follow_until};

const SOON: Duration = Duration::from_secs(20);

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

/// Waits until a server has heard that the relay may not publish there any more, or not enter. A
/// signal is not answered: only a try tells.
pub(super) async fn revoked(node: &Node, denied: Option<&str>) {
    let violations = Arc::default();
    let Some(denied) = denied else {
        let entered = async || enter(node, &violations).await.is_ok();
        return until("it may not enter", SOON, async || !entered().await).await;
    };
    let mut client = None;
    until("it may enter", SOON, async || {
        client = enter(node, &violations).await.ok();
        client.is_some()
    })
    .await;
    let client = client.expect("the wait has ended");
    // As long as it passes, no stream may take it.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Expected-Stream", "none");
    let subject = denied.replace('>', "tried");
    until("it may not publish", SOON, async || {
        let message = client.publish_with_headers(subject.clone(), headers.clone(), "".into());
        let _ = message.await;
        let _ = client.flush().await;
        violations.load(Ordering::SeqCst) > 0
    })
    .await;
}

/// Comes as the relay does, and counts what it is told that it may not.
async fn enter(
    node: &Node,
    violations: &Arc<AtomicUsize>,
) -> Result<async_nats::Client, async_nats::ConnectError> {
    let counter = violations.clone();
    let options = async_nats::ConnectOptions::with_user_and_password("relay".into(), "word".into());
    let options = options.event_callback(move |event| {
        let text = event.to_string().to_lowercase();
        let denied = usize::from(text.contains("permissions violation"));
        counter.fetch_add(denied, Ordering::SeqCst);
        std::future::ready(())
    });
    options.connect(format!("127.0.0.1:{}", node.port)).await
}

/// What was accepted, and what it is to be.
type Asked = Vec<(TaskId, Value)>;

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
    caller: Caller,
    clients: Vec<JoinHandle<Asked>>,
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
        config.budget.account_daily_limit = config.budget.daily_limit.clone();
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
        let programs: Vec<Program> = programs.collect();
        let apis = programs.iter().map(|program| program.config.api.listen);
        let caller = Caller::of(apis);
        let (observer, log) = look(&parts.nodes.iter().collect::<Vec<_>>(), &config).await;
        Self {
            programs,
            sim,
            nodes: parts.nodes,
            links,
            front,
            observer,
            log,
            caller,
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

    /// Submits these, a share in each round; each until it is accepted, wherever. The tenants take
    /// turns, and now and then three go as a batch.
    pub(super) fn submit(&mut self, requests: Vec<Value>, rounds: usize) -> watch::Sender<usize> {
        let (round, begun) = watch::channel(0);
        let groups = groups(requests);
        let (before, count) = (self.clients.len(), groups.len());
        for (n, requests) in groups.into_iter().enumerate() {
            let (caller, mut begun) = (self.caller.clone(), begun.clone());
            let (key, tenant) = (format!("request-{}", before + n), TENANTS[(before + n) % 2]);
            self.clients.push(tokio::spawn(async move {
                let mine = |round: &usize| *round >= n * rounds / count;
                begun.wait_for(mine).await.expect("the rounds go on");
                let ids = caller.submit(tenant, &key, &requests, n).await;
                ids.into_iter().zip(requests).collect()
            }));
        }
        round
    }

    /// How many submissions were answered with 503.
    pub(super) fn refused(&self) -> usize {
        self.caller.refused()
    }

    /// Waits until everything that was submitted is finished, and checks the laws.
    pub(super) async fn conclude(mut self) -> SimStats {
        let mut asked = Vec::new();
        for client in std::mem::take(&mut self.clients) {
            asked.extend(client.await.expect("it was accepted"));
        }
        let ids: Vec<TaskId> = asked.iter().map(|(id, _)| id.clone()).collect();
        let ended = follow_until(&self.log, &ids, DEADLINE, |task| task.is_finished()).await;
        let control = self.sim.control();
        until("the platform is idle", DEADLINE, async || control.is_idle()).await;
        drained(&self.log).await;
        let stats = self.sim.stats();
        let mut breaches = audit(
            &self.observer,
            &self.log,
            &control,
            &ids,
            Expected::default(),
        )
        .await;
        breaches.extend(not_as_asked(&asked, &ended, &stats));
        for program in &mut self.programs {
            if program.is_running() {
                let (code, _) = program.terminate().await;
                assert_eq!(code, Some(0));
            }
            breaches.extend(program.shameful_lines());
        }
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        stats
    }
}

/// Four alone and three together, again and again.
fn groups(requests: Vec<Value>) -> Vec<Vec<Value>> {
    let mut requests = requests.into_iter();
    let sizes = [1, 1, 1, 1, 3].into_iter().cycle();
    let groups = sizes.map(|size| requests.by_ref().take(size).collect::<Vec<_>>());
    groups.take_while(|group| !group.is_empty()).collect()
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
