//! What can go wrong, on purpose: `make faults`.
//!
//! Real programs and real servers are killed, frozen, cut off, filled up and locked out while work
//! flows; at the end the laws of [`crate::world`] and [`crate::kit`] hold. Every scenario prints
//! its seed, and `FAULTS_SEED` brings it back: one number, several with commas, or `random`. A seed
//! fixes what is done; when it meets the work in hand is up to the machine.

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
