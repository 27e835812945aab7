//! Two programs on one broker, and blows to all of them while the platform misbehaves as well.

use std::ops::Range;
use std::time::Duration;

use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::topology::Consumer;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use super::requests::faulty;
use super::stand::{Parts, Stand, revoked, users};
use super::{announce, repeat, repeats, seeds, tell};
use crate::broker::{api, until};
use crate::link::{Link, Weather};
use crate::process::Program;

const SOON: Duration = Duration::from_secs(40);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    KillProgram,
    KillBroker,
    KillBoth,
    FreezeBroker,
    Cut,
    Silence,
    Slowness,
    Permissions,
    Password,
    Consumers,
    CallbacksCut,
    CallbacksSilent,
}

const BLOWS: [Blow; 12] = [
    Blow::KillProgram,
    Blow::KillBroker,
    Blow::KillBoth,
    Blow::FreezeBroker,
    Blow::Cut,
    Blow::Silence,
    Blow::Slowness,
    Blow::Permissions,
    Blow::Password,
    Blow::Consumers,
    Blow::CallbacksCut,
    Blow::CallbacksSilent,
];

/// What the relay may not publish for a while.
const DENIALS: [&str; 4] = [
    "kling.v1.>",
    "kling.callback.v1.>",
    "$JS.ACK.>",
    "$JS.API.>",
];

struct Siege {
    stand: Stand,
    dice: StdRng,
}

async fn wait(dice: &mut StdRng, ms: Range<u64>) {
    let moment = Duration::from_millis(dice.random_range(ms));
    Clock::system().sleep(moment).await;
}

impl Siege {
    /// Each blow has dice of its own: how often it needs them depends on what it meets, and may not
    /// change the blows that follow.
    async fn strike(&mut self, blow: Blow) {
        let dice = &mut StdRng::seed_from_u64(self.dice.random());
        wait(dice, 0..1_200).await;
        match blow {
            Blow::KillProgram => self.kill_program(dice).await,
            Blow::KillBroker => {
                self.stand.nodes[0].kill();
                wait(dice, 0..800).await;
                self.raise_broker();
            }
            Blow::KillBoth => {
                self.stand.nodes[0].kill();
                self.kill_program(dice).await;
                wait(dice, 0..500).await;
                self.raise_broker();
            }
            Blow::FreezeBroker => {
                self.stand.nodes[0].pause();
                wait(dice, 500..4_000).await;
                self.stand.nodes[0].resume();
            }
            Blow::Cut => weather(&self.stand.links[0], Weather::Cut, dice, 100..2_000).await,
            Blow::Silence => {
                weather(&self.stand.links[0], Weather::Silent, dice, 500..4_000).await;
            }
            Blow::Slowness => {
                let slow = Weather::Slow(Duration::from_millis(dice.random_range(5..60)));
                weather(&self.stand.links[0], slow, dice, 500..2_000).await;
            }
            Blow::CallbacksCut => weather(&self.stand.front, Weather::Cut, dice, 500..2_000).await,
            Blow::CallbacksSilent => {
                weather(&self.stand.front, Weather::Silent, dice, 500..7_000).await;
            }
            Blow::Permissions => {
                let denied = DENIALS.choose(dice).expect("there are some");
                self.revoke("word", Some(denied), dice).await;
            }
            Blow::Password => self.revoke("another", None, dice).await,
            Blow::Consumers => self.delete_consumers(dice).await,
        }
    }

    async fn kill_program(&mut self, dice: &mut StdRng) {
        let victim = dice.random_range(0..self.stand.programs.len());
        self.stand.programs[victim].kill(|| {});
        wait(dice, 0..300).await;
        self.stand.programs[victim].start();
    }

    fn raise_broker(&mut self) {
        self.stand.nodes[0].restart();
        self.stand.nodes[0].wait_ready();
    }

    /// Takes the relay's right to publish there away, or its password; gives it back later.
    async fn revoke(&mut self, password: &str, denied: Option<&str>, dice: &mut StdRng) {
        let node = &self.stand.nodes[0];
        node.reload(&users(password, denied.as_slice()));
        revoked(node, denied).await;
        wait(dice, 500..2_500).await;
        node.reload(&users("word", &[]));
    }

    /// With their places in the stream, and those of whoever follows the log.
    async fn delete_consumers(&mut self, dice: &mut StdRng) {
        let observer = &self.stand.observer;
        let mut followers = None;
        until("the broker names the consumers", SOON, async || {
            followers = api(observer, "CONSUMER.NAMES.KLING").await;
            followers.is_some()
        })
        .await;
        let named = Consumer::ALL.map(|one| (one.stream(), one.name().to_owned()));
        let mut doomed: Vec<_> = named.to_vec();
        let followers = followers.map(|answer| answer["consumers"].clone());
        for name in followers
            .iter()
            .flat_map(|names| names.as_array())
            .flatten()
        {
            doomed.push(("KLING", name.as_str().expect("a name").to_owned()));
        }
        let mut deleted = 0;
        for (stream, name) in doomed {
            if dice.random_bool(0.7) {
                let call = format!("CONSUMER.DELETE.{stream}.{name}");
                deleted += usize::from(api(observer, &call).await.is_some());
            }
        }
        assert!(deleted > 0, "no consumer was there to be deleted");
    }

    /// A program that dies while it starts, of what is away just then, is started again, as a
    /// supervisor would. One that has listened has no reason to die.
    fn revive(&mut self) {
        for program in &mut self.stand.programs {
            if program.has_ended() {
                assert!(!program.has_listened(), "a program ended by itself");
                program.start();
            }
        }
    }
}

async fn weather(way: &Link, weather: Weather, dice: &mut StdRng, ms: Range<u64>) {
    way.set(weather);
    wait(dice, ms).await;
    way.set(Weather::Clear);
}

async fn siege(seed: u64, tasks: usize, rounds: usize) {
    let dice = StdRng::seed_from_u64(seed);
    let parts = Parts {
        programs: 2,
        sim: Some(Box::new(move |sim| repeat(seed, sim))),
        ..Parts::default()
    };
    let stand = Stand::prepare(parts).await;
    let mut siege = Siege { stand, dice };
    siege.stand.start().await;
    let started = std::time::Instant::now();
    let round = siege.stand.submit(faulty(seed, tasks), rounds);
    let mut blows: Vec<Blow> = Vec::new();
    for n in 0..rounds {
        // Each kind once before any comes again.
        if blows.is_empty() {
            blows = BLOWS.to_vec();
            blows.shuffle(&mut siege.dice);
        }
        let blow = blows.pop().expect("there are some");
        tell(&format!(
            "{:>6.1} s  {blow:?}",
            started.elapsed().as_secs_f64()
        ));
        // The blow meets this round's work somewhere on its way.
        round.send_replace(n);
        siege.strike(blow).await;
        siege.revive();
    }
    until("both programs serve", SOON, async || {
        siege.revive();
        siege.stand.programs.iter().all(Program::has_listened)
    })
    .await;
    let stats = siege.stand.conclude().await;
    tell(&format!(
        "{tasks} tasks, {} creates sent, {} callbacks repeated, {rounds} blows: {:.0} s",
        stats.creates.requests,
        stats.callbacks.redelivered,
        started.elapsed().as_secs_f64()
    ));
    assert_eq!(stats.callbacks.redelivered > 0, repeats(seed));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn everything_that_can_break_breaks_and_nothing_is_lost() {
    for seed in seeds() {
        announce("siege", seed);
        siege(seed, 360, 30).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn a_line_that_dies_without_a_word_is_noticed() {
    let seed = seeds()[0];
    announce("dead line", seed);
    let mut stand = Stand::prepare(Parts::default()).await;
    stand.start().await;
    let round = stand.submit(faulty(seed, 20), 2);
    let accepted = async || stand.sim.stats().creates.accepted;
    until("work is under way", SOON, async || accepted().await > 2).await;
    stand.links[0].forget();
    // What had passed before is stored by then.
    Clock::system().sleep(Duration::from_secs(1)).await;
    let last = async || stand.log.last_event_sequence().await.unwrap_or_default();
    let (before, started) = (last().await, std::time::Instant::now());
    round.send_replace(2);
    until("it works again", SOON, async || last().await > before).await;
    let took = started.elapsed().as_secs_f64();
    tell(&format!("works again after {took:.1} s"));
    stand.conclude().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_siege() {
    let seed = seeds()[0];
    announce("a small siege", seed);
    siege(seed, 40, BLOWS.len()).await;
}
