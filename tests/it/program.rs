//! The real program: killed at any moment, stopped while it works; nothing is lost or made
//! twice.

mod reuse;

use std::time::Duration;

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
use crate::process::{Caller, DEADLINE, Program, kill};
use crate::world::{self, Expected, audit, drained, follow_until, legacy_video, video};

const KILLS: usize = 20;
const TASKS: usize = 200;
const DRAIN: Duration = Duration::from_secs(10);

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

/// A program with a broker of its own, and the platform that it works with.
struct Site {
    sim: Simulator,
    program: Program,
    data: tempfile::TempDir,
}

impl Site {
    async fn prepare() -> Self {
        let data = tempfile::tempdir().unwrap();
        let platform = |sim: &mut SimConfig| sim.slots.video = 20;
        let (sim, mut config) = world::stage(data.path(), Some(Box::new(platform))).await;
        world::hurry(&mut config);
        config.nats.server_binary = Some(broker::program().to_owned());
        config.nats.listen = ([127, 0, 0, 1], free_port()).into();
        config.api.listen = ([127, 0, 0, 1], free_port()).into();
        config.runner.drain_timeout = DRAIN;
        Self {
            sim,
            program: Program::prepare(config),
            data,
        }
    }

    async fn serves(&self) {
        self.program.serves(self.program.config.api.listen).await;
    }

    fn kill(&mut self, death: Death) {
        let server = ServerFile::read(self.data.path()).and_then(|file| file.pid);
        if let (Death::LeavesOrphan, Some(pid)) = (death, server) {
            keepers(pid).into_iter().for_each(kill);
        }
        self.program.kill(|| {
            if let (Death::WithBroker, Some(pid)) = (death, server) {
                kill(pid);
            }
        });
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
        let config = &self.program.config;
        let (nats, retention) = (&config.nats, &config.retention);
        let broker = Broker::connect(nats, &endpoint).await.unwrap();
        let log = Log::new(&broker, Clock::system(), "test", nats, retention);
        follow_until(&log, ids, DEADLINE, |task| task.is_finished()).await;
        let control = self.sim.control();
        until("the platform is idle", DEADLINE, async || control.is_idle()).await;
        drained(&log).await;
        let breaches = audit(&broker, &log, &control, ids, Expected::default()).await;
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        assert_eq!(self.sim.stats().creates.accepted, made as u64);
        let (code, took) = self.program.terminate().await;
        assert_eq!(code, Some(0));
        assert!(took < DRAIN, "an idle program takes {took:?} to stop");
        let shameful = self.program.shameful_lines();
        assert!(shameful.is_empty(), "{}", shameful.join("\n"));
        assert!(
            endpoint_of(self.data.path()).is_none(),
            "the broker is left behind"
        );
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.program.is_running() {
            self.kill(Death::Alone);
        }
        if let Some(pid) = ServerFile::read(self.data.path()).and_then(|file| file.pid)
            && endpoint_of(self.data.path()).is_some()
        {
            kill(pid);
        }
    }
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

/// Submits so many in rounds: the tasks of a round wait until it has come.
fn submit_each(
    config: &Config,
    rounds: &watch::Receiver<usize>,
    (tasks, rounds_max): (usize, usize),
    body: impl Fn(usize) -> Value,
) -> Vec<JoinHandle<TaskId>> {
    let caller = Caller::of([config.api.listen]);
    let submit = |n: usize| {
        let (caller, mut rounds) = (caller.clone(), rounds.clone());
        let body = [body(n)];
        tokio::spawn(async move {
            rounds
                .wait_for(|round| *round >= n * rounds_max / tasks)
                .await
                .unwrap();
            let key = format!("request-{n}");
            caller.submit("acme", &key, &body, 0).await.remove(0)
        })
    };
    (0..tasks).map(submit).collect()
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
    let submissions = submit(&site.program.config, &rounds);
    for n in 0..KILLS {
        site.program.start();
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
    site.program.start();
    let ids = all(submissions).await;
    site.conclude(&ids, ids.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_asked_to_stop_at_work_drains_and_loses_nothing() {
    let mut site = Site::prepare().await;
    site.program.start();
    site.serves().await;
    let (_round, rounds) = watch::channel(KILLS);
    let submissions = submit(&site.program.config, &rounds);
    let control = site.sim.control();
    let busy = async || control.stats().creates.accepted >= 20;
    until("it is at work", DEADLINE, busy).await;
    let (code, took) = site.program.terminate().await;
    assert_eq!(code, Some(0));
    // Listeners and stages drain one after the other, and then the broker stops.
    assert!(took < DRAIN * 2, "{took:?}");
    assert!(
        endpoint_of(site.data.path()).is_none(),
        "the broker is left behind"
    );
    site.program.start();
    let ids = all(submissions).await;
    site.conclude(&ids, ids.len()).await;
}
