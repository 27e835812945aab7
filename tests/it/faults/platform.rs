//! A platform that does everything wrong that it can, for a service that nobody touches.

use std::time::Duration;

use futures::StreamExt;
use kling_relay::model::ids::TaskId;
use kling_relay::sim::{Control, Forgery, ForgeryKind};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::requests::faulty;
use super::{announce, seeds, tell};
use crate::world::{Expected, Options, World, hurry};

const FORGERIES: [ForgeryKind; 5] = [
    ForgeryKind::BadPath,
    ForgeryKind::SignedBadPath,
    ForgeryKind::BadSignature,
    ForgeryKind::Stale,
    ForgeryKind::Unsigned,
];

async fn forge(control: &Control, dice: &mut StdRng, ids: &[TaskId], count: usize) {
    let aims: Vec<Forgery> = (0..count)
        .map(|_| Forgery {
            kind: *FORGERIES.choose(dice).expect("there are some"),
            external_id: ids.choose(dice).map(ToString::to_string),
            url: None,
            video_url: "https://localhost:1/forged.mp4".to_owned(),
        })
        .collect();
    // A task that was refused has no address to aim at.
    futures::stream::iter(aims)
        .for_each_concurrent(10, async |aim| {
            let _ = control.forge(&aim).await;
        })
        .await;
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
        let options = Options::default().service(hurry).sim(|sim| {
            sim.slots.video = 20;
            sim.timing.silence = Duration::from_secs(4);
        });
        let world = World::start(options).await;
        let idle = dawdle(&world, &mut dice).await;
        let mut ids = Vec::new();
        for requests in faulty(seed, 160).chunks(20) {
            ids.extend(world.submit_all(requests).await);
            forge(&world.control(), &mut dice, &ids, 10).await;
        }
        world.finished(&ids).await;
        drop(idle);
        let stats = world.stop(Expected::default()).await;
        tell(&format!(
            "{} tasks, {} creates, {} callbacks, {} queries",
            ids.len(),
            stats.creates.requests,
            stats.callbacks.attempts,
            stats.queries.total()
        ));
    }
}
