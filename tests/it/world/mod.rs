//! The whole pipeline under test: broker, service and stand-in platform in one value, over real
//! TLS, and the laws that hold at the end whatever has happened.

mod laws;
mod loss;
mod staging;
mod stored;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use kling_relay::app::App;
use kling_relay::config::{Config, Role};
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::log::{Log, ReadFrom};
use kling_relay::edge::nats::read::Follow;
use kling_relay::edge::nats::topology::{self, Consumer};
use kling_relay::model::ids::TaskId;
use kling_relay::model::ledger::{Balance, LedgerKey, LedgerOwner};
use kling_relay::model::task::{Status, Task};
use kling_relay::sim::{Control, SimConfig, SimStats, Simulator};
use kling_relay::telemetry;
use serde_json::{Value, json};

pub(crate) use self::laws::audit;
pub(crate) use self::staging::{hurry, secret_of, stage};
pub(crate) use self::stored::stored_callbacks;
use crate::broker::{Node, until};

/// Longest wait for anything that a test did not time itself.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const SECRET: &str = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=";
/// The tenants that may submit; the key is the name.
pub(crate) const TENANTS: [&str; 2] = ["acme", "zeta"];

/// A change of what is the default in tests.
pub(crate) type Change<T> = Box<dyn FnOnce(&mut T)>;

/// What a test changes before the start.
#[derive(Default)]
pub(crate) struct Options {
    sim: Option<Change<SimConfig>>,
    service: Option<Change<Config>>,
}

impl Options {
    pub(crate) fn sim(mut self, change: impl FnOnce(&mut SimConfig) + 'static) -> Self {
        self.sim = Some(Box::new(change));
        self
    }

    pub(crate) fn service(mut self, change: impl FnOnce(&mut Config) + 'static) -> Self {
        self.service = Some(Box::new(change));
        self
    }
}

/// What a test expects of the end beyond the laws.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    /// Messages set aside.
    pub(crate) dead_letters: u64,
    /// The broker lost what it held: what was answered before is not to be found.
    pub(crate) lost: bool,
}

/// Broker, service and platform, running.
pub(crate) struct World {
    pub(crate) sim: Simulator,
    pub(crate) app: App,
    /// The service's.
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    http: reqwest::Client,
    submitted: Mutex<HashSet<TaskId>>,
    _node: Node,
    _data: tempfile::TempDir,
}

impl World {
    /// Starts a fast platform and a service with every role on a broker of its own.
    pub(crate) async fn start(options: Options) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let data = tempfile::tempdir().expect("a temporary directory");
        let node = Node::start();
        let (sim, mut config) = stage(data.path(), options.sim).await;
        config.nats.url = Some(node.endpoint().url);
        if let Some(change) = options.service {
            change(&mut config);
        }
        config
            .check_serve(&Role::ALL)
            .expect("a good configuration");
        let recorder = telemetry::recorder("test");
        let clock = Clock::system();
        let app = App::start(&config, &Role::ALL, clock.clone(), recorder).await;
        Self {
            sim,
            clock,
            app: app.expect("the service starts"),
            config,
            http: client(),
            submitted: Mutex::default(),
            _node: node,
            _data: data,
        }
    }

    /// Starts another process's worth of these roles on the same broker; stop it before the world.
    pub(crate) async fn replica(&self, roles: &[Role]) -> App {
        let recorder = telemetry::recorder("test");
        let app = App::start(&self.config, roles, Clock::system(), recorder).await;
        app.expect("the replica starts")
    }

    pub(crate) fn control(&self) -> Control {
        self.sim.control()
    }

    pub(crate) fn stats(&self) -> SimStats {
        self.sim.stats()
    }

    /// Submits a request of the first tenant over HTTP.
    pub(crate) async fn submit(&self, request: &Value) -> TaskId {
        let (status, body) = self.post(TENANTS[0], "/v1/tasks", request, None).await;
        assert_eq!(status, 202, "{body}");
        self.note(&body["task_id"])
    }

    pub(crate) async fn submit_all(&self, requests: &[Value]) -> Vec<TaskId> {
        let mut ids = Vec::with_capacity(requests.len());
        for request in requests {
            ids.push(self.submit(request).await);
        }
        ids
    }

    /// Submits a batch.
    pub(crate) async fn submit_batch(&self, tenant: &str, requests: &[Value]) -> Vec<TaskId> {
        let body = json!({ "tasks": requests });
        let (status, body) = self.post(tenant, "/v1/batches", &body, None).await;
        assert_eq!(status, 202, "{body}");
        let ids = body["task_ids"].as_array().expect("a batch has ids");
        ids.iter().map(|id| self.note(id)).collect()
    }

    /// Notes a task that the test submitted itself.
    pub(crate) fn note(&self, id: &Value) -> TaskId {
        let id = TaskId::parse(id.as_str().expect("an id")).expect("a task id");
        self.submitted.lock().unwrap().insert(id.clone());
        id
    }

    /// Posts to the API; returns status and body.
    pub(crate) async fn post(
        &self,
        tenant: &str,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> (u16, Value) {
        let address = self.app.address("api").expect("intake runs");
        let url = format!("http://{address}{path}");
        let request = self
            .http
            .post(url)
            .bearer_auth(secret_of(tenant))
            .json(body);
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let answer = request.send().await.expect("the API answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("the API answers JSON"))
    }

    /// Waits until these have ended, are stored and settled.
    pub(crate) async fn finished(&self, ids: &[TaskId]) -> HashMap<TaskId, Task> {
        let what = |task: &Task| task.is_finished();
        follow_until(self.app.log(), ids, DEADLINE, what).await
    }

    /// Waits until one has come so far, or further.
    pub(crate) async fn reaches(&self, id: &TaskId, status: Status) -> Task {
        let far = move |task: &Task| task.status.rank() >= status.rank();
        let mut tasks = follow_until(self.app.log(), std::slice::from_ref(id), DEADLINE, far).await;
        tasks.remove(id).expect("it was waited for")
    }

    /// Loads a task.
    pub(crate) async fn task(&self, id: &TaskId) -> Task {
        let loaded = self.app.log().load(id).await.expect("the log answers");
        loaded.expect("the task is there").task
    }

    /// Returns today's balance of a tenant.
    pub(crate) async fn balance(&self, task: &Task) -> Balance {
        let owner = LedgerOwner::Tenant(task.tenant.clone());
        let key = LedgerKey {
            owner,
            day: task.relay.day,
        };
        let balance = self.app.log().balance(&key).await.expect("the log answers");
        balance.expect("the day has entries")
    }

    /// Counts the messages of the log that match.
    pub(crate) async fn count(&self, filter: &str) -> usize {
        let found = self.app.log().read(filter, ReadFrom::Sequence(1), 1_000);
        found.await.expect("the log answers").len()
    }

    /// Waits until no stage has anything left to acknowledge.
    pub(crate) async fn drained(&self) {
        drained(self.app.log()).await;
    }

    /// Finishes everything, checks the laws, and stops.
    pub(crate) async fn stop(self, expected: Expected) -> SimStats {
        let ids: Vec<TaskId> = self.submitted.lock().unwrap().iter().cloned().collect();
        self.finished(&ids).await;
        let control = self.control();
        until("the platform is idle", DEADLINE, async || control.is_idle()).await;
        self.drained().await;
        let (broker, log) = (self.app.broker(), self.app.log());
        let breaches = audit(broker, log, &control, &ids, expected).await;
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        let stats = self.sim.stats();
        self.app.stop().await;
        self.sim.stop().await;
        stats
    }
}

pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy();
    client.build().expect("a client can be built")
}

/// A client that trusts a certificate authority of ours.
pub(crate) fn client_trusting(ca_file: &std::path::Path) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = std::fs::read(ca_file).expect("the CA can be read");
    let roots = reqwest::Certificate::from_pem_bundle(&pem).expect("a certificate");
    let client = reqwest::Client::builder().no_proxy().tls_certs_merge(roots);
    client.build().expect("a client can be built")
}

/// Follows every event; a broker that comes back from a blow may need a moment.
pub(crate) async fn all_events(log: &Log) -> Follow {
    let mut events = None;
    until("the log can be followed", DEADLINE, async || {
        let filters = vec![topology::TASK_EVENTS.to_owned()];
        events = log.follow(filters, 1).await.ok();
        events.is_some()
    })
    .await;
    events.expect("the wait has ended")
}

/// Follows the events until every one of the tasks is as it should be.
pub(crate) async fn follow_until(
    log: &Log,
    ids: &[TaskId],
    within: Duration,
    done: impl Fn(&Task) -> bool,
) -> HashMap<TaskId, Task> {
    let wanted: HashSet<&TaskId> = ids.iter().collect();
    let mut tasks: HashMap<TaskId, Task> = HashMap::new();
    let mut events = all_events(log).await;
    let all = async {
        while tasks.len() < wanted.len() || !tasks.values().all(&done) {
            let recorded = events
                .next()
                .await
                .expect("it never ends")
                .expect("readable");
            let task = recorded.task_event().expect("an event").task;
            if wanted.contains(&task.task_id) {
                tasks.insert(task.task_id.clone(), task);
            }
        }
    };
    if tokio::time::timeout(within, all).await.is_err() {
        let left = tasks.values().filter(|task| !done(task));
        let left = left.map(|task| format!("{} {:?}", task.task_id, task.status));
        let left: Vec<String> = left.take(10).collect();
        panic!(
            "not within {within:?}; {} of {} seen; {left:#?}",
            tasks.len(),
            wanted.len()
        );
    }
    tasks
}

pub(crate) async fn drained(log: &Log) {
    for consumer in Consumer::ALL {
        let what = format!("{} has acknowledged everything", consumer.name());
        until(&what, DEADLINE, async || {
            log.lag(consumer).await.is_ok_and(|lag| lag == 0)
        })
        .await;
    }
}

/// A text-to-video request of the new generation; faults are asked for by tags.
pub(crate) fn video(tags: &str) -> Value {
    video_of("kling-2.6", tags)
}

/// The same in the legacy generation.
pub(crate) fn legacy_video(tags: &str) -> Value {
    video_of("kling-v2-6", tags)
}

pub(crate) fn video_of(model: &str, tags: &str) -> Value {
    let tags = match tags {
        "" => String::new(),
        tags => format!(" [sim:{tags}]"),
    };
    let prompt = format!("A paper boat at dawn{tags}");
    json!({ "product": "text-to-video", "model": model, "prompt": prompt })
}
