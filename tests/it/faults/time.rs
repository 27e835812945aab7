//! A clock that jumps: forward by hours, back by hours, over midnight, while work flows.

use std::time::Duration;

use kling_relay::edge::clock::Clock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::requests::{faulty, not_as_asked};
use super::{announce, seeds};
use crate::world::{Expected, Options, World, hurry};

const HOUR_MS: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn a_jumping_clock_delays_and_loses_nothing() {
    for seed in seeds() {
        announce("clock", seed);
        let mut dice = StdRng::seed_from_u64(seed);
        let options = Options::default().service(hurry).sim(|sim| {
            sim.slots.video = 20;
            sim.timing.silence = Duration::from_secs(4);
        });
        let world = World::start(options).await;
        let requests = faulty(seed, 80);
        let mut ids = Vec::new();
        for requests in requests.chunks(5) {
            let step = match dice.random_range(0..4) {
                0 => dice.random_range(-2_000..2_000),
                1 => dice.random_range(-15 * 60_000..15 * 60_000),
                _ => dice.random_range(-30 * HOUR_MS..30 * HOUR_MS),
            };
            world.clock.set_offset_ms(step);
            ids.extend(world.submit_all(requests).await);
            let moment = Duration::from_millis(dice.random_range(0..400));
            Clock::system().sleep(moment).await;
        }
        // What was put off by a clock that was ahead is due when the time has really come.
        world.clock.set_offset_ms(31 * HOUR_MS);
        let ended = world.finished(&ids).await;
        let stats = world.stop(Expected::default()).await;
        let asked: Vec<_> = ids.into_iter().zip(requests).collect();
        let breaches = not_as_asked(&asked, &ended, &stats);
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    }
}
