//! A day's events again, to one consumer, while work goes on: the others see nothing of it, and no
//! money moves.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use jiff::SignedDuration;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::topology::{Consumer, LEDGER_ENTRIES};
use kling_relay::model::task::Status;
use serde_json::Value;

use crate::broker::api;
use crate::cli::recovery::received;
use crate::process::Program;
use crate::world::{Expected, Options, World, all_events, legacy_video, video};

/// So that a replay lasts while tasks come and end.
const PER_SECOND: &str = "80";

async fn replay(program: &Program, consumer: &str, from: &str) -> Value {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_kling-relay"));
    command.arg("--config").arg(&program.file).args([
        "replay",
        "--consumer",
        consumer,
        "--from",
        from,
        "--rate",
        PER_SECOND,
        "--reason",
        "an outage",
        "--who",
        "olga",
        "--json",
    ]);
    let said = command.output().await.expect("the program runs");
    assert!(said.status.success(), "{said:?}");
    serde_json::from_slice(&said.stdout).expect("it says JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_replayed_twice_while_work_goes_on() {
    let world = World::start(Options::default()).await;
    let from = (Clock::system().now() - SignedDuration::from_hours(24)).to_string();
    let requests: Vec<Value> = (0..10)
        .flat_map(|_| [video(""), legacy_video("")])
        .collect();
    let ids = world.submit_all(&requests).await;
    world.finished(&ids).await;

    let program = Program::prepare(world.config.clone());
    let over = AtomicBool::new(false);
    let replays = async {
        let both = [
            replay(&program, "billing", &from).await,
            replay(&program, "billing", &from).await,
        ];
        over.store(true, Ordering::Relaxed);
        both
    };
    let work = async {
        let mut ended = 0;
        while !over.load(Ordering::Relaxed) {
            let id = world.submit(&video("")).await;
            world.reaches(&id, Status::Succeeded).await;
            ended += 1;
        }
        ended
    };
    let (both, ended) = tokio::join!(replays, work);
    assert!(ended > 5, "{ended} tasks ended meanwhile");
    let delivered = both.map(|said| said["delivered"].as_u64().expect("a number"));
    assert!(delivered[0] > 20 * 5 && delivered[1] > delivered[0]);

    let count = usize::try_from(delivered[0] + delivered[1]).expect("a small number");
    let found = received(world.app.broker(), "billing", count).await;
    let replays: HashSet<&str> = found.iter().map(|(_, _, replay)| replay.as_str()).collect();
    let twice: HashSet<(&str, &str)> = found
        .iter()
        .map(|(_, id, replay)| (id.as_str(), replay.as_str()))
        .collect();
    assert_eq!(
        (replays.len(), twice.len()),
        (2, count),
        "each once in each"
    );
    for consumer in Consumer::ALL {
        if consumer.replays() != consumer {
            continue;
        }
        let info = format!("CONSUMER.INFO.{}.{}", consumer.stream(), consumer.name());
        let info = api(world.app.broker(), &info).await.expect("a consumer");
        let delivered = &info["delivered"]["consumer_seq"];
        assert_eq!(delivered, 0, "{}", consumer.name());
    }
    // Nothing that was replayed stands in the log, and the money is what the platform took.
    let log = world.app.log();
    let last = log.last_event_sequence().await.expect("the log answers");
    let mut events = all_events(log).await;
    let (mut ids, mut seq) = (HashSet::new(), 0);
    while seq < last {
        let event = events.next().await.expect("it never ends");
        let event = event.expect("readable");
        let id = event.ce_id().map(str::to_owned);
        assert!(ids.insert(id.clone()), "{id:?} twice");
        seq = event.seq;
    }
    world.stop(Expected::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stage_has_done_stays_done_when_it_is_told_again() {
    let world = World::start(Options::default()).await;
    let from = (Clock::system().now() - SignedDuration::from_hours(24)).to_string();
    let requests = [video(""), legacy_video(""), video("fail=moderation")];
    let ids = world.submit_all(&requests).await;
    let before = world.finished(&ids).await;
    world.drained().await;
    let log = world.app.log();
    let last = log.last_event_sequence().await.expect("the log answers");
    let (balance, entries) = (
        world.balance(&before[&ids[0]]).await,
        world.count(LEDGER_ENTRIES).await,
    );

    let program = Program::prepare(world.config.clone());
    // Two successes to store, three ends to settle, and whatever Kling called for.
    for (stage, at_least) in [("completer", 3), ("downloader", 2), ("accountant", 3)] {
        let said = replay(&program, stage, &from).await;
        let delivered = said["delivered"].as_u64().expect("a number");
        assert!(delivered >= at_least, "{said}");
    }
    world.drained().await;
    let now = log.last_event_sequence().await.expect("the log answers");
    assert_eq!(now, last, "no event");
    assert_eq!(world.balance(&before[&ids[0]]).await, balance);
    assert_eq!(world.count(LEDGER_ENTRIES).await, entries, "no entry");
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 0, "{:?}", stats.queries);
    assert_eq!(stats.creates.requests, 3, "{:?}", stats.creates);
}
