//! Streams at their bound, and a disk that takes no more.

use std::time::Duration;

use kling_relay::config::Config;
use kling_relay::edge::nats::topology;
use serde_json::Value;
use tokio::sync::watch;

use super::requests::faulty;
use super::stand::{Parts, Stand};
use super::{announce, seeds};
use crate::broker::{api, until};

const SOON: Duration = Duration::from_secs(60);
const MIB: i64 = 1 << 20;

/// Where the bound of a stream stands.
type Bound = fn(&mut Config) -> &mut i64;

/// How often somebody who came to the relay was told to come again.
type Refusals = fn(&Stand) -> usize;

const SUBMISSIONS: Refusals = |stand| stand.refused();
const CALLBACKS: Refusals = |stand| {
    let answers = stand.sim.stats().callbacks.answers;
    answers.get("503").map_or(0, |times| *times as usize)
};

/// Lets more work come until the fault has met it.
async fn bites(stand: &Stand, rounds: &watch::Sender<usize>, refusals: Refusals) {
    let before = refusals(stand);
    rounds.send_replace(2);
    until("somebody is refused", SOON, async || {
        refusals(stand) > before
    })
    .await;
}

async fn restart(stand: &mut Stand) {
    let (code, _) = stand.programs[0].terminate().await;
    assert_eq!(code, Some(0), "a full stream keeps nobody from stopping");
    stand.programs[0].configure();
    stand.programs[0].start();
    stand.serve().await;
}

/// Fills a stream to its last byte, over the subject of a probe.
async fn fill(stand: &Stand, subject: &str) {
    for size in [900_000, 30_000, 1_000, 10] {
        let message = bytes::Bytes::from(vec![b' '; size]);
        loop {
            let stored = stand
                .observer
                .client()
                .request(subject.to_owned(), message.clone());
            let answer = stored.await.expect("the broker answers");
            let answer: Value = serde_json::from_slice(&answer.payload).expect("an answer");
            if answer.get("error").is_some() {
                break;
            }
        }
    }
}

/// Fills a stream while work flows, and gives it room again as an operator would.
async fn filled(subject: &str, bound: Bound, refusals: Refusals) {
    let seed = seeds()[0];
    announce(subject, seed);
    let parts = Parts {
        service: Some(Box::new(move |config| *bound(config) = 16 * MIB)),
        ..Parts::default()
    };
    let mut stand = Stand::prepare(parts).await;
    stand.start().await;
    let rounds = stand.submit(faulty(seed, 80), 2);
    let last = async || stand.log.last_sequence().await.unwrap_or_default();
    until("work is under way", SOON, async || last().await > 100).await;
    fill(&stand, subject).await;
    bites(&stand, &rounds, refusals).await;
    *bound(&mut stand.programs[0].config) = 64 * MIB;
    restart(&mut stand).await;
    stand.conclude().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn a_full_log_waits_for_a_higher_bound() {
    let bound: Bound = |config| &mut config.nats.log_max_bytes;
    filled("kling.probe.v1.log.filler", bound, SUBMISSIONS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn full_callbacks_wait_for_a_higher_bound() {
    let bound: Bound = |config| &mut config.nats.callbacks_max_bytes;
    filled("kling.probe.v1.callbacks.filler", bound, CALLBACKS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn a_full_disk_waits_for_room_and_a_restart_of_the_broker() {
    let seed = seeds()[0];
    announce("full disk", seed);
    let parts = Parts {
        // What became of a write is not known here: the answer comes before the caller gives up.
        service: Some(Box::new(|config| {
            config.api.accept_timeout = Duration::from_secs(2);
        })),
        ..Parts::default()
    };
    let mut stand = Stand::prepare(parts).await;
    stand.start().await;
    let rounds = stand.submit(faulty(seed, 60), 2);
    let last = async || stand.log.last_sequence().await.unwrap_or_default();
    until("work is under way", SOON, async || last().await > 50).await;
    stand.nodes[0].limit_files(true);
    bites(&stand, &rounds, SUBMISSIONS).await;
    stand.nodes[0].limit_files(false);
    // Room alone does not help: the server says so itself, and starts anew.
    stand.nodes[0].kill();
    stand.nodes[0].restart();
    stand.nodes[0].wait_ready();
    until("the log takes writes", SOON, async || {
        stand.log.probe().await.is_ok()
    })
    .await;
    let info = api(&stand.observer, &format!("STREAM.INFO.{}", topology::LOG)).await;
    assert!(info.is_some(), "the log is there");
    stand.conclude().await;
}
