//! The real program: killed at any moment, stopped while it works; nothing is lost or made
//! twice.

mod reuse;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kling_relay::config::Config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::Broker;
use kling_relay::edge::nats::log::Log;
use kling_relay::edge::nats::server::{ServerFile, endpoint_of};
use kling_relay::model::ids::TaskId;
use kling_relay::sim::{SimConfig, Simulator};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::broker::{self, free_port, until};
use crate::world::{self, Expected, audit, drained, follow_until, legacy_video, video};

const KILLS: usize = 20;
const TASKS: usize = 200;
const DRAIN: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(120);

/// What dies with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// The program; its broker is stopped by the shell that watches over it.
    Alone,
    /// The broker is killed in the same moment.
    WithBroker,
    /// The watching shell is killed first: the broker stays, and nobody's.
    LeavesOrphan,
}

/// A program on a data directory of its own, and the platform that it works with.
struct Site {
    sim: Simulator,
    config: Config,
    file: PathBuf,
    child: Option<Child>,
    data: tempfile::TempDir,
}

impl Site {
    async fn prepare() -> Self {
        let data = tempfile::tempdir().unwrap();
        let platform = |sim: &mut SimConfig| sim.slots.video = 20;
        let (sim, mut config) = world::stage(data.path(), Some(Box::new(platform))).await;
        let ms = Duration::from_millis;
        config.nats.server_binary = Some(broker::program().to_owned());
        config.nats.listen = ([127, 0, 0, 1], free_port()).into();
        config.nats.commit_timeout = ms(1_000);
        config.api.listen = ([127, 0, 0, 1], free_port()).into();
        config.kling.max_concurrent = 20;
        (config.kling.connect_timeout, config.kling.request_timeout) = (ms(2_000), ms(2_000));
        config.dispatcher.claim_lease = ms(4_000);
        config.runner.ack_wait = ms(4_000);
        config.runner.drain_timeout = DRAIN;
        config.reconciler.quiet_after = ms(1_000);
        let file = data.path().join("kling-relay.toml");
        std::fs::write(&file, world::settings(&config)).unwrap();
        Self {
            sim,
            config,
            file,
            child: None,
            data,
        }
    }

    fn start(&mut self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data.path().join("program.log"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_kling-relay"))
            .arg("serve")
            .arg("--config")
            .arg(&self.file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Waits until the API takes connections.
    async fn serves(&self) {
        let address = self.config.api.listen;
        until("the API listens", DEADLINE, async || {
            TcpStream::connect(address).is_ok()
        })
        .await;
    }

    fn kill(&mut self, death: Death) {
        let mut child = self.child.take().unwrap();
        let server = ServerFile::read(self.data.path()).and_then(|file| file.pid);
        if let (Death::LeavesOrphan, Some(pid)) = (death, server) {
            keepers(pid).into_iter().for_each(kill);
        }
        child.kill().unwrap();
        if let (Death::WithBroker, Some(pid)) = (death, server) {
            kill(pid);
        }
        child.wait().unwrap();
    }

    /// Asks the program to stop; returns its exit code and how long it took.
    async fn terminate(&mut self) -> (Option<i32>, Duration) {
        let mut child = self.child.take().unwrap();
        let started = Instant::now();
        signal("-TERM", child.id());
        let mut status = None;
        until("the program ends", DEADLINE, async || {
            status = child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        (status.and_then(|status| status.code()), started.elapsed())
    }

    /// Waits until all is finished, and checks the laws and how many the platform made.
    async fn conclude(&mut self, ids: &[TaskId], made: usize) {
        // The broker of the last death may still be on its way out.
        self.serves().await;
        let data_dir = self.data.path();
        until("the broker runs", DEADLINE, async || {
            endpoint_of(data_dir).is_some()
        })
        .await;
        let endpoint = endpoint_of(data_dir).unwrap();
        let (nats, retention) = (&self.config.nats, &self.config.retention);
        let broker = Broker::connect(nats, &endpoint).await.unwrap();
        let log = Log::new(&broker, Clock::system(), "test", nats, retention);
        follow_until(&log, ids, DEADLINE, |task| task.is_finished()).await;
        let control = self.sim.control();
        until("the platform is idle", DEADLINE, async || control.is_idle()).await;
        drained(&log).await;
        let breaches = audit(&broker, &log, &control, ids, Expected::default()).await;
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        assert_eq!(self.sim.stats().creates.accepted, made as u64);
        let (code, took) = self.terminate().await;
        assert_eq!(code, Some(0));
        assert!(took < DRAIN, "an idle program takes {took:?} to stop");
        assert!(
            endpoint_of(self.data.path()).is_none(),
            "the broker is left behind"
        );
    }
}

impl Drop for Site {
    #[expect(
        clippy::print_stderr,
        reason = "what the program said explains a failure"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.data.path().join("program.log"));
            let log = log.unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(40).collect();
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        if self.child.is_some() {
            self.kill(Death::Alone);
        }
        if let Some(pid) = ServerFile::read(self.data.path()).and_then(|file| file.pid)
            && endpoint_of(self.data.path()).is_some()
        {
            kill(pid);
        }
    }
}

fn kill(pid: u32) {
    signal("-KILL", pid);
}

fn signal(name: &str, pid: u32) {
    // It may have ended by itself.
    let _ = Command::new("kill")
        .args([name, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// The shell that started the broker, and its helper.
fn keepers(server: u32) -> Vec<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{server}/stat")).unwrap_or_default();
    let parent = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().nth(1));
    let Some(shell) = parent
        .and_then(|pid| pid.parse::<u32>().ok())
        .filter(|pid| *pid > 1)
    else {
        return Vec::new();
    };
    let children = format!("/proc/{shell}/task/{shell}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    std::iter::once(shell)
        .chain(children)
        .filter(|pid| *pid != server)
        .collect()
}

fn submit(config: &Config, rounds: &watch::Receiver<usize>) -> Vec<JoinHandle<TaskId>> {
    let both = |n: usize| {
        if n.is_multiple_of(2) {
            video("")
        } else {
            legacy_video("")
        }
    };
    submit_each(config, rounds, (TASKS, KILLS), both)
}

/// Submits so many as a client does that wants each request once: the same key until there is an
/// answer. The tasks of a round wait until it has come.
fn submit_each(
    config: &Config,
    rounds: &watch::Receiver<usize>,
    (tasks, rounds_max): (usize, usize),
    body: impl Fn(usize) -> Value,
) -> Vec<JoinHandle<TaskId>> {
    let url: Arc<str> = format!("http://{}/v1/tasks", config.api.listen).into();
    let client = world::client();
    let submit = |n: usize| {
        let (url, client, mut rounds) = (Arc::clone(&url), client.clone(), rounds.clone());
        let body = body(n);
        tokio::spawn(async move {
            rounds
                .wait_for(|round| *round >= n * rounds_max / tasks)
                .await
                .unwrap();
            submit_once(&client, &url, &format!("request-{n}"), &body).await
        })
    };
    (0..tasks).map(submit).collect()
}

async fn submit_once(client: &reqwest::Client, url: &str, key: &str, body: &Value) -> TaskId {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        let request = client
            .post(url)
            .bearer_auth(world::secret_of("acme"))
            .json(body);
        let request = request
            .header("idempotency-key", key)
            .timeout(Duration::from_secs(5));
        if let Some((status, body)) = answer(request).await {
            assert!(matches!(status, 202 | 503), "{status}: {body}");
            if status == 202 {
                return TaskId::parse(body["task_id"].as_str().unwrap()).unwrap();
            }
        }
        Clock::system().sleep(Duration::from_millis(50)).await;
    }
    panic!("{key} was not accepted within {DEADLINE:?}");
}

/// The answer, unless it is lost.
async fn answer(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.json().await.ok()?))
}

async fn all(tasks: Vec<JoinHandle<TaskId>>) -> Vec<TaskId> {
    let mut ids = Vec::with_capacity(tasks.len());
    for task in tasks {
        ids.push(task.await.unwrap());
    }
    ids
}

fn random_death(dice: &mut StdRng) -> Death {
    match dice.random_range(0..4) {
        0 => Death::WithBroker,
        1 => Death::LeavesOrphan,
        _ => Death::Alone,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_killed_at_twenty_moments_makes_each_task_once() {
    let seed = std::env::var("KILL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    eprintln!("KILL_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut site = Site::prepare().await;
    let (round, rounds) = watch::channel(0);
    let submissions = submit(&site.config, &rounds);
    for n in 0..KILLS {
        site.start();
        // Most die at work, some while they start.
        if dice.random_range(0..4) > 0 {
            site.serves().await;
        }
        let moment = Duration::from_millis(dice.random_range(0..900));
        Clock::system().sleep(moment).await;
        let death = random_death(&mut dice);
        eprintln!("{n}: {death:?} after {moment:?}");
        site.kill(death);
        round.send_replace(n + 1);
    }
    site.start();
    let ids = all(submissions).await;
    site.conclude(&ids, ids.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_asked_to_stop_at_work_drains_and_loses_nothing() {
    let mut site = Site::prepare().await;
    site.start();
    site.serves().await;
    let (_round, rounds) = watch::channel(KILLS);
    let submissions = submit(&site.config, &rounds);
    let control = site.sim.control();
    let busy = async || control.stats().creates.accepted >= 20;
    until("it is at work", DEADLINE, busy).await;
    let (code, took) = site.terminate().await;
    assert_eq!(code, Some(0));
    // Listeners and stages drain one after the other, and then the broker stops.
    assert!(took < DRAIN * 2, "{took:?}");
    assert!(
        endpoint_of(site.data.path()).is_none(),
        "the broker is left behind"
    );
    site.start();
    let ids = all(submissions).await;
    site.conclude(&ids, ids.len()).await;
}

#[test]
fn the_file_says_what_the_configuration_does() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let site = runtime.block_on(Site::prepare());
    let read = Config::load(Some(Path::new(&site.file)), std::iter::empty()).unwrap();
    let text = |config: &Config| toml::to_string(config).unwrap();
    assert_eq!(text(&read), text(&site.config));
}
