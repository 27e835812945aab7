//! A program killed at each step that it takes: before the broker has what it says, and after the
//! broker has it and before the program hears of it; and in the middle of a create.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::requests::faulty;
use super::stand::{Parts, Stand};
use super::{announce, seeds, tell};
use crate::broker::until;
use crate::link::{Stop, Weather};
use crate::world::{legacy_video, video};

const SOON: Duration = Duration::from_secs(30);

/// What the program says to the broker at each step; the answer's address tells the subject of a
/// commit from its other mentions.
const WORDS: [(&str, &str); 14] = [
    ("the hold", "HPUB kling.v1.acme.ledger."),
    ("the request", ".requested _INBOX"),
    ("the claim", ".dispatching _INBOX"),
    ("the creation", ".submitted _INBOX"),
    ("the callback", "HPUB kling.callback.v1.acme."),
    ("the progress", ".processing _INBOX"),
    ("the completion", ".succeeded _INBOX"),
    ("the files", ".stored _INBOX"),
    ("the settlement", ".settled _INBOX"),
    ("a load", "$JS.API.STREAM.MSG.GET.KLING"),
    (
        "the completer's acknowledgement",
        "$JS.ACK.KLING_CALLBACKS.completer",
    ),
    (
        "the downloader's acknowledgement",
        "$JS.ACK.KLING.downloader",
    ),
    (
        "the accountant's acknowledgement",
        "$JS.ACK.KLING.accountant",
    ),
    ("a pull", "$JS.API.CONSUMER.MSG.NEXT"),
];

/// A create that never comes back, with and without a task at the platform.
const SILENCES: [&str; 2] = ["create=timeout", "create=timeout-before"];

#[derive(Clone, Copy)]
enum Step {
    Word(&'static str, &'static str, Stop),
    Create(&'static str),
}

impl Step {
    fn name(self) -> String {
        match self {
            Step::Word(name, _, stop) => format!("{stop:?} {name}"),
            Step::Create(tags) => tags.to_owned(),
        }
    }
}

fn steps(dice: &mut StdRng) -> Vec<Step> {
    let words = WORDS.iter().flat_map(|(name, word)| {
        [Stop::Before, Stop::After].map(|stop| Step::Word(name, word, stop))
    });
    let mut steps: Vec<Step> = words.chain(SILENCES.map(Step::Create)).collect();
    steps.shuffle(dice);
    steps
}

/// Kills the program there, lets what was under way arrive late or never, and starts it again.
async fn kill_at(stand: &mut Stand, step: Step, dice: &mut StdRng) {
    let creates = stand.sim.stats().creates.faulted.get("timeout").copied();
    let reached = match step {
        Step::Word(_, word, stop) => Some(stand.links[0].silent_at(word, stop)),
        Step::Create(_) => None,
    };
    let tags = match step {
        Step::Create(tags) => tags,
        Step::Word(..) => "",
    };
    let generation = if dice.random_bool(0.5) {
        video
    } else {
        legacy_video
    };
    let requests = vec![generation(tags), generation("")];
    drop(stand.submit(requests, 1));
    match reached {
        Some(reached) => {
            let told = tokio::time::timeout(SOON, reached).await;
            told.unwrap_or_else(|_| panic!("not reached: {}", step.name()))
                .expect("the link stands");
        }
        None => {
            until("a create is silent", SOON, async || {
                stand.sim.stats().creates.faulted.get("timeout").copied() > creates
            })
            .await;
        }
    }
    stand.programs[0].kill(|| {});
    if dice.random_bool(0.5) {
        stand.links[0].set(Weather::Cut);
    }
    stand.links[0].set(Weather::Clear);
    stand.programs[0].start();
    stand.serve().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn killed_at_each_step_it_does_each_thing_once() {
    for seed in seeds() {
        announce("steps", seed);
        let mut dice = StdRng::seed_from_u64(seed);
        let mut stand = Stand::prepare(Parts::default()).await;
        stand.start().await;
        // The faults of a few more keep the dispatcher looking things up.
        drop(stand.submit(faulty(seed, 10), 1));
        let steps = steps(&mut dice);
        let started = std::time::Instant::now();
        for step in &steps {
            kill_at(&mut stand, *step, &mut dice).await;
        }
        let stats = stand.conclude().await;
        tell(&format!(
            "{} steps, {} tasks, {} creates sent: {:.0} s",
            steps.len(),
            stats.creates.accepted,
            stats.creates.requests,
            started.elapsed().as_secs_f64()
        ));
    }
}
