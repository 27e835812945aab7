//! Stopping and starting under load: a bound on the drain, also while Kling or the broker does not
//! answer, and one program after the other restarted while the other works.

use std::time::{Duration, Instant};

use futures::StreamExt;
use kling_relay::config::Config;

use super::requests::faulty;
use super::stand::{Parts, Stand};
use super::{announce, seeds, tell};
use crate::broker::until;
use crate::link::{Stop, Weather};
use crate::process::Program;
use crate::world::{client, legacy_video, secret_of, video};

const SOON: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(3);
/// More than the client library keeps for a broker that is away.
const CALLS: usize = 2_500;

/// Asks a program to stop, and holds it to what is promised: listeners and stages drain one after
/// the other, and then the connections close.
async fn stop(program: &mut Program) -> Duration {
    let bound = program.config.runner.drain_timeout * 2 + Duration::from_secs(2);
    let (code, took) = program.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took < bound, "{took:?} to stop");
    took
}

fn drain(config: &mut Config) {
    config.runner.drain_timeout = DRAIN;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kling_that_does_not_answer_does_not_hold_up_the_stop() {
    let parts = Parts {
        sim: Some(Box::new(|sim| sim.timing.silence = Duration::from_secs(60))),
        service: Some(Box::new(|config| {
            config.kling.request_timeout = Duration::from_secs(12);
            config.dispatcher.claim_lease = Duration::from_secs(15);
            drain(config);
        })),
        ..Parts::default()
    };
    let mut stand = Stand::prepare(parts).await;
    stand.start().await;
    let silent = ["create=timeout", "create=timeout-before"];
    let requests: Vec<_> = silent
        .iter()
        .flat_map(|tags| [video(tags), legacy_video(tags)])
        .collect();
    drop(stand.submit(requests, 1));
    until("Kling keeps silent about four creates", SOON, async || {
        stand.sim.stats().creates.faulted.get("timeout") == Some(&4)
    })
    .await;
    stop(&mut stand.programs[0]).await;
    stand.start().await;
    let stats = stand.conclude().await;
    assert_eq!(stats.creates.accepted, 4, "{:?}", stats.creates);
}

/// A program whose settlement is on its way to a broker that goes away before it has it.
async fn with_a_settlement_in_hand(leave: impl FnOnce(&mut Stand)) -> Stand {
    let parts = Parts {
        service: Some(Box::new(drain)),
        ..Parts::default()
    };
    let mut stand = Stand::prepare(parts).await;
    stand.start().await;
    let reached = stand.links[0].silent_at(".settled _INBOX", Stop::Before);
    drop(stand.submit(vec![video(""); 6], 1));
    let told = tokio::time::timeout(SOON, reached).await;
    told.expect("a settlement is sent")
        .expect("the link stands");
    leave(&mut stand);
    stand.links[0].set(Weather::Clear);
    stand
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_frozen_does_not_hold_up_the_stop() {
    let mut stand = with_a_settlement_in_hand(|stand| stand.nodes[0].pause()).await;
    stop(&mut stand.programs[0]).await;
    stand.nodes[0].resume();
    stand.start().await;
    stand.conclude().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_does_not_hold_up_the_stop() {
    let mut stand = with_a_settlement_in_hand(|stand| stand.nodes[0].kill()).await;
    stop(&mut stand.programs[0]).await;
    stand.nodes[0].restart();
    stand.nodes[0].wait_ready();
    stand.start().await;
    stand.conclude().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_long_away_does_not_hold_up_the_stop() {
    let parts = Parts {
        service: Some(Box::new(|config| {
            drain(config);
            config.nats.read_timeout = Duration::from_millis(200);
        })),
        ..Parts::default()
    };
    let mut stand = Stand::prepare(parts).await;
    stand.start().await;
    stand.nodes[0].kill();
    // Each asks the broker for something, and is left to wait for it.
    let url = format!("http://{}/v1/budget", stand.programs[0].config.api.listen);
    let client = client();
    let ask = async || {
        let asked = client.get(&url).bearer_auth(secret_of("acme")).send().await;
        asked.expect("the program answers").status().as_u16()
    };
    let answers = futures::stream::iter(0..CALLS).map(|_| ask());
    let answers: Vec<u16> = answers.buffer_unordered(100).collect().await;
    assert!(answers.iter().all(|status| *status == 503), "{answers:?}");
    stop(&mut stand.programs[0]).await;
    stand.nodes[0].restart();
    stand.nodes[0].wait_ready();
    stand.start().await;
    drop(stand.submit(vec![video("")], 1));
    stand.conclude().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn restarted_in_turn_two_programs_lose_and_double_nothing() {
    const ROUNDS: usize = 8;
    let seed = seeds()[0];
    announce("rolling restart", seed);
    let parts = Parts {
        programs: 2,
        ..Parts::default()
    };
    let mut stand = Stand::prepare(parts).await;
    stand.start().await;
    // A part at once, and one for each round: the last one has work as well.
    let round = stand.submit(faulty(seed, 160), ROUNDS + 1);
    let mut slowest = Duration::ZERO;
    for n in 0..ROUNDS {
        let last = async || stand.log.last_event_sequence().await.unwrap_or_default();
        let before = last().await;
        round.send_replace(n + 1);
        until("work is under way", SOON, async || {
            last().await > before + 10
        })
        .await;
        let program = &mut stand.programs[n % 2];
        slowest = slowest.max(stop(program).await);
        program.start();
        stand.serve().await;
    }
    let started = Instant::now();
    let stats = stand.conclude().await;
    tell(&format!(
        "160 tasks, {} created over {ROUNDS} restarts, the slowest stop {:.1} s; done in {:.0} s",
        stats.creates.accepted,
        slowest.as_secs_f64(),
        started.elapsed().as_secs_f64()
    ));
}
