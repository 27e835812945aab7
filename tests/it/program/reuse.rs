//! A result is shared across deaths of the program: made once, whoever comes back.

use std::time::Duration;

use kling_relay::edge::clock::Clock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::watch;

use super::{Site, all, random_death, submit_each};
use crate::world::{legacy_video, video};

const KILLS: usize = 6;
const TASKS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_are_made_once_whenever_the_program_is_killed() {
    let seed = std::env::var("KILL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    eprintln!("KILL_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut site = Site::prepare().await;
    let (round, rounds) = watch::channel(0);
    // Four wishes, each asked for in every round; some take longer than a life of the program.
    let wishes = ["", "slow=1s"];
    let body = |n: usize| {
        let tags = wishes[n % 2];
        let mut body = match n % 4 {
            0 | 1 => video(tags),
            _ => legacy_video(tags),
        };
        body["reuse"] = json!(true);
        body
    };
    let submissions = submit_each(&site.program.config, &rounds, (TASKS, KILLS), body);
    for n in 0..KILLS {
        site.program.start();
        site.serves().await;
        let moment = Duration::from_millis(dice.random_range(0..900));
        Clock::system().sleep(moment).await;
        let death = random_death(&mut dice);
        eprintln!("{n}: {death:?} after {moment:?}");
        site.kill(death);
        round.send_replace(n + 1);
    }
    site.program.start();
    let ids = all(submissions).await;
    site.conclude(&ids, 2 * wishes.len()).await;
}
