//! Three servers: the leader killed, cut off from the others with its clients still on it, and
//! frozen, under traffic, and the leader of the callbacks killed alone. What was acknowledged is
//! there, nothing else was said to be, and failing over is measured and has a bound.

use std::time::{Duration, Instant};

use kling_relay::edge::nats::log::Log;
use kling_relay::edge::nats::{Broker, topology};
use tokio::sync::watch;

use super::requests::faulty;
use super::stand::{Parts, Stand};
use super::{announce, seeds, tell};
use crate::broker::{Cluster, Node, api, config, free_port, open, step_down, until};
use crate::link::{Link, Weather};
use crate::no_false_success::{Site, check};

const SOON: Duration = Duration::from_secs(60);
/// Longest time without a leader: an election takes up to eleven seconds; the rest is for a machine
/// at its limit.
const FAIL_OVER: Duration = Duration::from_secs(15);
const TASKS: usize = 300;
const ROUNDS: usize = 10;
/// Of a round, which has thirty tasks of five events and more.
const EVENTS_DURING: u64 = 50;

/// The ways between the servers: from whom, to whom.
struct Ways(Vec<Vec<Option<Link>>>);

impl Ways {
    async fn to(ports: &[u16]) -> Self {
        let mut ways = Vec::new();
        for from in 0..ports.len() {
            let mut row = Vec::new();
            for (to, port) in ports.iter().enumerate() {
                row.push(if from == to {
                    None
                } else {
                    Some(Link::to(&[*port]).await)
                });
            }
            ways.push(row);
        }
        Self(ways)
    }

    fn port(&self, from: usize, to: usize) -> u16 {
        self.0[from][to].as_ref().expect("another server").port
    }

    /// Changes every way from and to one server.
    fn set(&self, node: usize, weather: Weather) {
        for (from, row) in self.0.iter().enumerate() {
            for (to, way) in row.iter().enumerate() {
                if let Some(way) = way.as_ref().filter(|_| from == node || to == node) {
                    way.set(weather);
                }
            }
        }
    }
}

async fn leader(broker: &Broker, stream: &str) -> usize {
    let mut leader = None;
    until("there is a leader", SOON, async || {
        let info = api(broker, &format!("STREAM.INFO.{stream}")).await;
        let name = info.and_then(|info| Some(info["cluster"]["leader"].as_str()?.to_owned()));
        leader = name.and_then(|name| name.strip_prefix("node-")?.parse().ok());
        leader.is_some()
    })
    .await;
    leader.expect("the wait has ended")
}

/// Has both streams led by one server, or by two.
async fn arrange_leaders(broker: &Broker, together: bool) {
    until("the leaders stand as wanted", SOON, async || {
        let log = leader(broker, topology::LOG).await;
        let callbacks = leader(broker, topology::CALLBACKS).await;
        if (log == callbacks) != together {
            step_down(broker, topology::CALLBACKS).await;
        }
        (log == callbacks) == together
    })
    .await;
}

/// Waits until all three servers have everything.
async fn whole(stand: &Stand) {
    until("every server has caught up", SOON, async || {
        let mut whole = true;
        for stream in [topology::LOG, topology::CALLBACKS] {
            let info = api(&stand.observer, &format!("STREAM.INFO.{stream}")).await;
            let replicas = info.map(|info| info["cluster"]["replicas"].clone());
            let replicas = replicas.and_then(|replicas| replicas.as_array().cloned());
            whole &= replicas.is_some_and(|replicas| {
                replicas.len() == 2 && replicas.iter().all(|one| one["current"] == true)
            });
        }
        whole
    })
    .await;
}

/// Chooses a stream's leader, and connects to the others before it falls. Whom both sides call the
/// leader is it.
async fn victim(stand: &Stand, stream: &str) -> (usize, Log) {
    loop {
        let victim = leader(&stand.observer, stream).await;
        let others: Vec<&Node> = (0..stand.nodes.len())
            .filter(|node| *node != victim)
            .map(|node| &stand.nodes[node])
            .collect();
        let (broker, log) = stand.look_from(&others).await;
        if leader(&broker, stream).await == victim {
            return (victim, log);
        }
    }
}

async fn go_on(log: &Log, before: u64) {
    until("the programs go on", SOON, async || {
        log.last_event_sequence()
            .await
            .is_ok_and(|last| last > before)
    })
    .await;
}

/// Waits until much of a round's work was done while the blow lasts.
async fn work_goes_on(log: &Log) {
    let last = log.last_event_sequence().await.expect("the log answers");
    go_on(log, last + EVENTS_DURING).await;
}

/// Leaves the programs no other server than this one until they work there.
async fn gather(stand: &Stand, log: &Log, node: usize, round: impl FnOnce()) {
    let others = || (0..stand.links.len()).filter(|other| *other != node);
    let before = log.last_event_sequence().await.expect("the log answers");
    others().for_each(|other| stand.links[other].set(Weather::Cut));
    round();
    go_on(log, before).await;
    others().for_each(|other| stand.links[other].set(Weather::Clear));
}

/// Waits for the first write that the other servers take, and the first event of the programs.
async fn measured(log: &Log, what: &str) {
    let started = Instant::now();
    let mut before = None;
    until("the log takes writes", SOON, async || {
        before = match log.probe().await {
            Ok(()) => log.last_event_sequence().await.ok(),
            Err(_) => None,
        };
        before.is_some()
    })
    .await;
    let writes = started.elapsed();
    go_on(log, before.expect("the wait has ended")).await;
    tell(&format!(
        "leader {what}: writes again after {:.1} s, the programs' events after {:.1} s",
        writes.as_secs_f64(),
        started.elapsed().as_secs_f64()
    ));
    assert!(writes < FAIL_OVER, "{writes:?} without a leader");
}

/// Kills a stream's leader between two rounds, and starts it again once work was done without it.
async fn kill_leader(stand: &mut Stand, stream: &str, rounds: &watch::Sender<usize>) {
    let (node, log) = victim(stand, stream).await;
    stand.nodes[node].kill();
    rounds.send_modify(|round| *round += 1);
    measured(&log, &format!("of {stream} killed")).await;
    work_goes_on(&log).await;
    stand.nodes[node].restart();
    stand.nodes[node].wait_ready();
    whole(stand).await;
}

async fn losing_leaders(seed: u64) {
    let routes = [free_port(), free_port(), free_port()];
    let ways = Ways::to(&routes).await;
    let cluster = Cluster::start_over(&routes, |from, to| ways.port(from, to));
    let parts = Parts {
        nodes: cluster.nodes,
        programs: 2,
        ..Parts::default()
    };
    let mut stand = Stand::prepare(parts).await;
    stand.start().await;
    let round = stand.submit(faulty(seed, TASKS), ROUNDS);
    whole(&stand).await;

    // There is work before each blow, and new work comes after it.
    round.send_replace(1);
    kill_leader(&mut stand, topology::LOG, &round).await;

    round.send_replace(3);
    arrange_leaders(&stand.observer, false).await;
    kill_leader(&mut stand, topology::CALLBACKS, &round).await;

    round.send_replace(5);
    let (node, log) = victim(&stand, topology::LOG).await;
    gather(&stand, &log, node, || {
        round.send_replace(6);
    })
    .await;
    ways.set(node, Weather::Cut);
    round.send_replace(7);
    measured(&log, "cut off from the other servers").await;
    work_goes_on(&log).await;
    ways.set(node, Weather::Clear);
    whole(&stand).await;

    round.send_replace(8);
    let (node, log) = victim(&stand, topology::LOG).await;
    stand.nodes[node].pause();
    round.send_replace(9);
    measured(&log, "frozen").await;
    work_goes_on(&log).await;
    stand.nodes[node].resume();
    whole(&stand).await;

    round.send_replace(ROUNDS);
    let started = Instant::now();
    let stats = stand.conclude().await;
    tell(&format!(
        "{TASKS} tasks, {} created; concluded in {:.0} s",
        stats.creates.accepted,
        started.elapsed().as_secs_f64()
    ));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn three_servers_lose_their_leader_in_every_way() {
    for seed in seeds() {
        announce("cluster", seed);
        losing_leaders(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn a_leader_that_is_killed_makes_no_false_success() {
    let cluster = Cluster::start();
    let (broker, _log) = open(&cluster.endpoint(), &config(3)).await;
    let mut site = Site::start_on(cluster.nodes, |_| {}).await;
    // Nobody cures it: the others elect another.
    site.ready_within = FAIL_OVER;
    arrange_leaders(&broker, true).await;
    let kill = async |site: &mut Site| {
        let leader = leader(site.app.broker(), topology::LOG).await;
        site.nodes[leader].kill();
    };
    check(site, kill, async |_| {}).await;
}
