//! Stopping and starting under load: a bound on the drain, also while Kling does not answer, and
//! one program after the other restarted while the other works.

use std::time::{Duration, Instant};

use super::requests::faulty;
use super::stand::{Parts, Stand};
use super::{announce, seeds, tell};
use crate::broker::until;
use crate::world::{legacy_video, video};

const SOON: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(3);
/// Listeners and stages drain one after the other, and then the connections close.
const BOUND: Duration = Duration::from_secs(2 * 3 + 2);

#[tokio::test(flavor = "multi_thread")]
async fn a_kling_that_does_not_answer_does_not_hold_up_the_stop() {
    let parts = Parts {
        sim: Some(Box::new(|sim| sim.timing.silence = Duration::from_secs(60))),
        service: Some(Box::new(|config| {
            config.kling.request_timeout = Duration::from_secs(12);
            config.dispatcher.claim_lease = Duration::from_secs(15);
            config.runner.drain_timeout = DRAIN;
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
    let (code, took) = stand.programs[0].terminate().await;
    assert_eq!(code, Some(0));
    assert!(took < BOUND, "{took:?} to stop");
    stand.start().await;
    let stats = stand.conclude().await;
    assert_eq!(stats.creates.accepted, 4, "{:?}", stats.creates);
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
    let round = stand.submit(faulty(seed, 160), ROUNDS);
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
        let (code, took) = program.terminate().await;
        assert_eq!(code, Some(0));
        slowest = slowest.max(took);
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
