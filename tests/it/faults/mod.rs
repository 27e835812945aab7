//! What can go wrong, on purpose: `make faults`.
//!
//! Real programs and real servers are killed, frozen, cut off, filled up and locked out while work
//! flows; at the end the laws of [`crate::world`] and [`crate::kit`] hold. Every scenario prints
//! its seed, and `FAULTS_SEED` brings it back: one number, several with commas, or `random`. A seed
//! fixes what is done; when it meets the work in hand is up to the machine.

use std::time::Duration;

use kling_relay::sim::SimConfig;
use kling_relay::sim::config::Pause;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

mod stand;
mod requests;
mod siege;
mod platform;
mod steps;
mod full;
mod time;
mod cluster;
mod open_tasks;
mod storm;
mod sweep;
mod shutdown;
mod lost_answer;

/// What `make faults` runs when nobody names a seed.
const SEEDS: [u64; 3] = [20_260_922, 1_303, 7];

/// The seeds of this run, each printed as its turn comes.
fn seeds() -> Vec<u64> {
    let asked = std::env::var("FAULTS_SEED").unwrap_or_default();
    match asked.as_str() {
        "" => SEEDS.to_vec(),
        "random" => vec![rand::random()],
        numbers => {
            let read = |text: &str| text.trim().parse().expect("FAULTS_SEED takes numbers");
            numbers.split(',').map(read).collect()
        }
    }
}

/// With an odd seed the platform repeats what was not received, as it may or may not do; with an
/// even one only the reconciler brings it back.
fn repeat(seed: u64, sim: &mut SimConfig) {
    if repeats(seed) {
        let pauses = [300, 1_000, 3_000].map(Duration::from_millis);
        sim.callbacks.redeliver = pauses.map(Pause).to_vec();
        sim.callbacks.redeliver_new_id = StdRng::seed_from_u64(seed).random();
    }
}

fn repeats(seed: u64) -> bool {
    seed % 2 == 1
}

/// Says what begins, and how to bring it back.
#[expect(
    clippy::print_stderr,
    reason = "a failed scenario is repeated by its seed"
)]
fn announce(scenario: &str, seed: u64) {
    eprintln!("{scenario}: FAULTS_SEED={seed}");
}

/// Says what was measured.
#[expect(clippy::print_stderr, reason = "a figure belongs to the result")]
fn tell(what: &str) {
    eprintln!("  {what}");
}
