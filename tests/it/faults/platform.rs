//! A platform that does everything wrong that it can, for a service that nobody touches.

use std::time::Duration;

use futures::StreamExt;
use kling_relay::model::ids::TaskId;
use kling_relay::sim::{Control, Forgery, ForgeryKind, SimStats};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::requests::{faulty, kinds, not_as_asked};
use super::{announce, repeat, repeats, seeds, tell};
use crate::world::{Expected, Options, World, hurry};

const FORGERIES: [ForgeryKind; 5] = [
    ForgeryKind::BadPath,
    ForgeryKind::SignedBadPath,
    ForgeryKind::BadSignature,
    ForgeryKind::Stale,
    ForgeryKind::Unsigned,
];

/// Attacks tasks that have an address.
async fn forge(control: &Control, dice: &mut StdRng, count: usize) {
    let mut targets = control.tasks();
    targets.retain(|task| task.callback_url.is_some());
    let aims: Vec<Forgery> = (0..count)
        .filter_map(|n| {
            let target = targets.choose(dice)?;
            Some(Forgery {
                kind: FORGERIES[n % FORGERIES.len()],
                external_id: target.external_id.clone(),
                url: None,
                video_url: "https://localhost:1/forged.mp4".to_owned(),
            })
        })
        .collect();
    futures::stream::iter(aims)
        .for_each_concurrent(10, async |aim| {
            control.forge(&aim).await.expect("an address");
        })
        .await;
}

/// Each kind of fault has struck, by the platform's own account.
fn everything_struck(seed: u64, asked: &[(TaskId, Value)], stats: &SimStats) {
    let creates = &stats.creates;
    for kind in [
        "500",
        "502",
        "503",
        "504",
        "garbage",
        "badgateway",
        "reset",
        "timeout",
    ] {
        assert!(creates.faulted.contains_key(kind), "{kind}: {creates:?}");
    }
    for code in ["5000", "1302", "1303", "1304", "1101", "1102"] {
        assert!(
            creates.refused_by_code.contains_key(code),
            "{code}: {creates:?}"
        );
    }
    let callbacks = &stats.callbacks;
    for answer in ["200", "400", "401"] {
        assert!(
            callbacks.answers.contains_key(answer),
            "{answer}: {callbacks:?}"
        );
    }
    for (what, count) in [
        ("dropped", callbacks.dropped),
        ("duplicated", callbacks.duplicated),
        ("reordered", callbacks.reordered),
        ("downloads", stats.downloads.faulted),
    ] {
        assert!(count > 0, "nothing of: {what}");
    }
    assert_eq!(callbacks.redelivered > 0, repeats(seed), "{callbacks:?}");
    assert!(
        !stats.deductions["cash"].is_zero(),
        "nothing was paid in cash"
    );
    // What the platform does not count it was asked for, and made.
    for kind in kinds() {
        let asked_for = |(_, request): &(_, Value)| request["prompt"].to_string().contains(kind);
        assert!(asked.iter().any(asked_for), "nobody asked for {kind}");
    }
    for kind in FORGERIES {
        let name = serde_json::to_value(kind).expect("a name");
        let answers = &callbacks.forged[name.as_str().expect("a name")];
        let (proven, refused) = (answers.contains_key("200"), answers.contains_key("401"));
        let leaked = kind == ForgeryKind::Unsigned;
        assert_eq!(
            (proven, refused),
            (leaked, !leaked),
            "{kind:?}: {answers:?}"
        );
    }
}

/// Clients that begin a request and never end it.
async fn dawdle(world: &World, dice: &mut StdRng) -> Vec<TcpStream> {
    let mut idle = Vec::new();
    for name in ["api", "receiver", "admin"] {
        let address = world.app.address(name).expect("it listens");
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).await.expect("it accepts");
            let beginning =
                b"POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900\r\n\r\n{";
            let sent = dice.random_range(0..beginning.len());
            stream
                .write_all(&beginning[..sent])
                .await
                .expect("it reads");
            idle.push(stream);
        }
    }
    idle
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn every_fault_of_the_platform_at_random() {
    for seed in seeds() {
        announce("platform", seed);
        let mut dice = StdRng::seed_from_u64(seed);
        let options = Options::default().service(hurry).sim(move |sim| {
            sim.slots.video = 20;
            sim.timing.silence = Duration::from_secs(4);
            repeat(seed, sim);
        });
        let world = World::start(options).await;
        let idle = dawdle(&world, &mut dice).await;
        let requests = faulty(seed, 160);
        let mut ids = Vec::new();
        for requests in requests.chunks(20) {
            ids.extend(world.submit_all(requests).await);
            forge(&world.control(), &mut dice, 10).await;
        }
        let ended = world.finished(&ids).await;
        drop(idle);
        let stats = world.stop(Expected::default()).await;
        let asked: Vec<_> = ids.into_iter().zip(requests).collect();
        let breaches = not_as_asked(&asked, &ended, &stats);
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
        everything_struck(seed, &asked, &stats);
        tell(&format!(
            "{} tasks, {} creates, {} callbacks, {} queries",
            asked.len(),
            stats.creates.requests,
            stats.callbacks.attempts,
            stats.queries.total()
        ));
    }
}
