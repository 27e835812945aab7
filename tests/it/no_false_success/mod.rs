//! No success that is not stored: callbacks and submissions flow, over TLS, at a service whose
//! broker is killed, full, paused or refuses in the middle of it. Every 200 and every 202 is found
//! afterwards, everything else was a 503 that said when to come again, and readiness told the truth
//! within five seconds. `make faults` does the same with three servers.

mod traffic;

use std::time::{Duration, Instant};

use kling_relay::app::App;
use kling_relay::config::{Config, Role};
use kling_relay::edge::clock::Clock;
use kling_relay::telemetry;
use serde_json::Value;

use self::traffic::Traffic;
use crate::broker::{Node, until};
use crate::world;

/// Longest time in which readiness may be wrong.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(60);

/// A service that takes callbacks and submissions, and nobody who works on them.
pub(crate) struct Site {
    pub(crate) nodes: Vec<Node>,
    pub(crate) app: App,
    config: Config,
    /// Longest time in which readiness may be wrong once the fault is cured.
    pub(crate) ready_within: Duration,
    http: reqwest::Client,
    _data: tempfile::TempDir,
}

impl Site {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(vec![Node::start()], change).await
    }

    pub(crate) async fn start_on(nodes: Vec<Node>, change: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let (sim, mut config) = world::stage(data.path(), None).await;
        sim.stop().await;
        let urls: Vec<String> = nodes.iter().map(|node| node.endpoint().url).collect();
        config.nats.url = Some(urls.join(","));
        config.nats.replicas = nodes.len();
        let ms = Duration::from_millis;
        config.nats.commit_timeout = ms(700);
        config.receiver.store_timeout = ms(1_000);
        config.api.accept_timeout = ms(1_500);
        change(&mut config);
        let (roles, clock) = ([Role::Intake, Role::Receiver], Clock::system());
        let recorder = telemetry::recorder("test");
        let app = App::start(&config, &roles, clock, recorder).await.unwrap();
        Self {
            nodes,
            app,
            config,
            ready_within: TOLD_WITHIN,
            http: world::client(),
            _data: data,
        }
    }

    async fn is_ready(&self) -> bool {
        let address = self.app.address("admin").unwrap();
        let url = format!("http://{address}/readyz");
        let answer = self.http.get(url).send().await.unwrap();
        answer.status() == 200
    }

    /// Waits until readiness says so; fails when that takes longer than it may.
    async fn tells(&self, ready: bool, within: Duration) -> Duration {
        let started = Instant::now();
        until("readiness tells", DEADLINE, async || {
            self.is_ready().await == ready
        })
        .await;
        let took = started.elapsed();
        assert!(took < within, "ready {ready} only after {took:?}");
        took
    }

    /// Changes a stream's bound, as an operator does.
    async fn bound(&self, stream: &str, max_bytes: i64) {
        let client = self.app.broker().client();
        let call = async |call: String, body: Value| -> Value {
            let answer = client.request(call, body.to_string().into()).await;
            serde_json::from_slice(&answer.unwrap().payload).unwrap()
        };
        let info = call(format!("$JS.API.STREAM.INFO.{stream}"), Value::Null).await;
        let mut config = info["config"].clone();
        config["max_bytes"] = max_bytes.into();
        let changed = call(format!("$JS.API.STREAM.UPDATE.{stream}"), config).await;
        assert!(changed.get("error").is_none(), "{changed}");
    }
}

/// Traffic before, during and after a fault; then everything that was said is held against what is
/// stored.
#[expect(clippy::print_stderr, reason = "a failed run shows what it measured")]
pub(crate) async fn check(
    mut site: Site,
    fault: impl AsyncFnOnce(&mut Site),
    cure: impl AsyncFnOnce(&mut Site),
) {
    let traffic = Traffic::start(&site.config, site.app.address("api").unwrap());
    let flowing = async |more: (usize, usize)| {
        let (callbacks, tasks) = traffic.succeeded();
        until("it flows", DEADLINE, async || {
            let now = traffic.succeeded();
            now.0 >= callbacks + more.0 && now.1 >= tasks + more.1
        })
        .await;
    };
    flowing((20, 5)).await;
    assert!(site.is_ready().await);
    fault(&mut site).await;
    let down = site.tells(false, TOLD_WITHIN).await;
    let (callbacks, tasks) = traffic.refused();
    until("both are refused", DEADLINE, async || {
        let now = traffic.refused();
        now.0 > callbacks && now.1 > tasks
    })
    .await;
    cure(&mut site).await;
    let up = site.tells(true, site.ready_within).await;
    flowing((20, 5)).await;
    let said = traffic.stop().await;
    eprintln!("told after {down:?} and {up:?}; {}", said.summary());
    said.hold_against(&site.app).await;
    site.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_makes_no_false_success() {
    let site = Site::start(|_| {}).await;
    let cure = async |site: &mut Site| {
        site.nodes[0].restart();
        site.nodes[0].wait_ready();
    };
    check(site, async |site| site.nodes[0].kill(), cure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_answers_nothing_makes_no_false_success() {
    let site = Site::start(|_| {}).await;
    let pause = async |site: &mut Site| site.nodes[0].pause();
    check(site, pause, async |site| site.nodes[0].resume()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_refuses_makes_no_false_success() {
    let user = |denied: &str| {
        format!(
            "authorization {{ users: [ {{ user: relay, password: any, \
             permissions: {{ publish: {{ allow: \">\", deny: [{denied}] }} }} }} ] }}\n\
             no_auth_user: relay"
        )
    };
    let site = Site::start_on(vec![Node::start_with(&user("\"nothing\""))], |_| {}).await;
    let revoke = async |site: &mut Site| {
        site.nodes[0].reload(&user("\"kling.>\""));
    };
    let restore = async |site: &mut Site| {
        site.nodes[0].reload(&user("\"nothing\""));
    };
    check(site, revoke, restore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_broker_makes_no_false_success() {
    let site = Site::start(|_| {}).await;
    let fill = async |site: &mut Site| {
        site.bound("KLING", 1).await;
        site.bound("KLING_CALLBACKS", 1).await;
    };
    let make_room = async |site: &mut Site| {
        site.bound("KLING", 512 << 20).await;
        site.bound("KLING_CALLBACKS", 64 << 20).await;
    };
    check(site, fill, make_room).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_disk_is_full_makes_no_false_success() {
    let site = Site::start(|_| {}).await;
    let fill = async |site: &mut Site| site.nodes[0].limit_files(true);
    // Room alone does not help: the server must be started anew.
    let make_room = async |site: &mut Site| {
        site.nodes[0].limit_files(false);
        site.nodes[0].kill();
        site.nodes[0].restart();
        site.nodes[0].wait_ready();
    };
    check(site, fill, make_room).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fills_up_is_told_before_the_first_refusal() {
    let site = Site::start(|config| config.nats.callbacks_max_bytes = 256 << 10).await;
    let traffic = Traffic::start(&site.config, site.app.address("api").unwrap());
    assert!(site.is_ready().await);
    until("it is full", DEADLINE, async || traffic.refused().0 > 3).await;
    site.tells(false, TOLD_WITHIN).await;
    traffic.stop().await.hold_against(&site.app).await;
    site.app.stop().await;
}
