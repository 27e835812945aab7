//! Good callbacks beside 5,000 slow connections, 100 MB bodies, 10,000 headers, deep JSON and HTTP/2
//! resets: how long they take with and without, and what memory the program has. Client, attackers,
//! program and nats-server share the machine. Run it alone: `cargo bench --bench hostile`.
#![expect(clippy::print_stdout, reason = "printing is what a measurement is for")]
#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot go on should panic"
)]

#[path = "../tests/it/hostile/attack.rs"]
mod attack;
#[path = "../tests/it/broker.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod broker;
#[path = "../tests/it/kit.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod kit;
#[path = "../tests/it/process.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use more of it")]
mod process;
#[path = "../tests/it/hostile/victim.rs"]
mod victim;
#[path = "../tests/it/world/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use more of it")]
mod world;

use std::time::Duration;

use crate::attack::Attack;
use crate::broker::until;
use crate::victim::{Victim, Waits};

/// Who is cut off comes again after the pause, so somewhat more than are wanted at once.
const CROWD: usize = 5_400;
const CROWD_OPEN: usize = 5_000;
const CROWD_PAUSE: Duration = Duration::from_millis(500);
const CALLBACKS: u32 = 2_000;
/// For as long as the crowd takes to come.
const CALLBACKS_OF_ARRIVAL: u32 = 500;
const CALLBACKS_A_SECOND: u32 = 50;
/// Attackers that shout, and how long each is silent in between: on two cores they must leave some
/// time to those whom they attack, or only the scheduler is measured.
const LOUD: usize = 2;
const LOUD_PAUSE: Duration = Duration::from_millis(250);
const DEADLINE: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() {
    // `cargo test --benches` only wants to know that it runs.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let victim = Victim::start(|_| {}).await;
    victim.good_callbacks("warm", 500, CALLBACKS_A_SECOND).await;
    let resident = victim.resident_bytes().0;
    let alone = victim
        .good_callbacks("alone", CALLBACKS, CALLBACKS_A_SECOND)
        .await;
    println!("resident before: {} MB", resident >> 20);
    let show = |what: &str, waits: &Waits| {
        let [half, most] = [50, 99].map(|of_hundred| waits.percentile(of_hundred));
        println!("{what}: p50 {half:?}, p99 {most:?}");
    };
    show("alone", &alone);
    let tls = |alpn: &[u8]| victim.tls(alpn);
    let (leaked, address) = (victim.path("leaked"), victim.config().receiver.listen);
    let mut attack = Attack::new(address, tls(b"http/1.1"), tls(b"h2"), leaked);
    attack.crowd(CROWD, CROWD_PAUSE);
    let arrival = victim
        .good_callbacks("arrival", CALLBACKS_OF_ARRIVAL, CALLBACKS_A_SECOND)
        .await;
    show("while the crowd arrives", &arrival);
    until("the crowd is there", DEADLINE, async || {
        attack.open() >= CROWD_OPEN
    })
    .await;
    let crowd = victim
        .good_callbacks("crowd", CALLBACKS, CALLBACKS_A_SECOND)
        .await;
    show("beside the crowd", &crowd);
    attack.loud(LOUD, LOUD_PAUSE);
    let beside = victim
        .good_callbacks("beside", CALLBACKS, CALLBACKS_A_SECOND)
        .await;
    show("beside the crowd and the loud ones", &beside);
    let (open, stood, rounds) = (attack.open(), attack.stood(), attack.rounds());
    println!("{open} slow connections at once; by manner {stood:?}, loud rounds {rounds:?}");
    let (now, most) = victim.resident_bytes();
    println!("resident: {} MB, at most {} MB", now >> 20, most >> 20);
    assert!(open >= CROWD_OPEN, "the crowd was not all there");
    assert!(attack.is_complete(), "a manner of attack never happened");
    assert!(most < 200 << 20, "more memory than promised");
    let alone = alone.percentile(99).as_secs_f64();
    for (what, waits) in [("arrival", arrival), ("crowd", crowd), ("loud", beside)] {
        let times = waits.percentile(99).as_secs_f64() / alone;
        println!("p99 {what}: {times:.1} times that of alone (under 3 wanted)");
        assert!(times < 3.0, "slower than promised");
    }
}
