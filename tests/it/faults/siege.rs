//! Two programs on one broker, and blows to all of them while the platform misbehaves as well.

use std::time::Duration;

use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::topology::Consumer;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use super::requests::faulty;
use super::stand::{Parts, Stand, users};
use super::{announce, seeds, tell};
use crate::broker::{api, until};
use crate::link::{Link, Weather};

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

/// Between whom the weather is bad.
#[derive(Clone, Copy)]
enum Way {
    /// The programs and the broker.
    Broker,
    /// The platform and the receivers.
    Front,
}

/// What the relay may not publish for a while.
const DENIALS: [&[&str]; 4] = [
    &["kling.v1.>"],
    &["kling.callback.v1.>"],
    &["$JS.ACK.>"],
    &["$JS.API.>"],
];

struct Siege {
    stand: Stand,
    dice: StdRng,
}

impl Siege {
    async fn wait(&mut self, ms: std::ops::Range<u64>) {
        let moment = Duration::from_millis(self.dice.random_range(ms));
        Clock::system().sleep(moment).await;
    }

    async fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::KillProgram => self.kill_program().await,
            Blow::KillBroker => {
                self.stand.nodes[0].kill();
                self.wait(0..800).await;
                self.raise_broker();
            }
            Blow::KillBoth => {
                self.stand.nodes[0].kill();
                self.kill_program().await;
                self.wait(0..500).await;
                self.raise_broker();
            }
            Blow::FreezeBroker => {
                self.stand.nodes[0].pause();
                self.wait(500..4_000).await;
                self.stand.nodes[0].resume();
            }
            Blow::Cut => self.weather(Way::Broker, Weather::Cut, 100..2_000).await,
            Blow::Silence => {
                self.weather(Way::Broker, Weather::Silent, 500..4_000).await;
            }
            Blow::Slowness => {
                let by = Duration::from_millis(self.dice.random_range(5..60));
                self.weather(Way::Broker, Weather::Slow(by), 500..2_000)
                    .await;
            }
            Blow::CallbacksCut => self.weather(Way::Front, Weather::Cut, 500..2_000).await,
            Blow::CallbacksSilent => {
                self.weather(Way::Front, Weather::Silent, 500..7_000).await;
            }
            Blow::Permissions => {
                let denied = DENIALS.choose(&mut self.dice).expect("there are some");
                self.rights("word", denied).await;
            }
            Blow::Password => self.rights("another", &[]).await,
            Blow::Consumers => self.delete_consumers().await,
        }
    }

    async fn kill_program(&mut self) {
        let victim = self.dice.random_range(0..self.stand.programs.len());
        self.stand.programs[victim].kill(|| {});
        self.wait(0..300).await;
        self.stand.programs[victim].start();
    }

    fn raise_broker(&mut self) {
        self.stand.nodes[0].restart();
        self.stand.nodes[0].wait_ready();
    }

    async fn weather(&mut self, way: Way, weather: Weather, ms: std::ops::Range<u64>) {
        self.way(way).set(weather);
        self.wait(ms).await;
        self.way(way).set(Weather::Clear);
    }

    fn way(&self, way: Way) -> &Link {
        match way {
            Way::Broker => &self.stand.links[0],
            Way::Front => &self.stand.front,
        }
    }

    async fn rights(&mut self, password: &str, denied: &[&str]) {
        self.stand.nodes[0].reload(&users(password, denied));
        self.wait(500..2_500).await;
        self.stand.nodes[0].reload(&users("word", &[]));
    }

    /// With their places in the stream, and those of whoever follows the log.
    async fn delete_consumers(&mut self) {
        let named = Consumer::ALL.map(|one| (one.stream(), one.name().to_owned()));
        let mut doomed: Vec<_> = named.to_vec();
        let followers = api(&self.stand.observer, "CONSUMER.NAMES.KLING").await;
        let followers = followers.map(|answer| answer["consumers"].clone());
        for name in followers
            .iter()
            .flat_map(|names| names.as_array())
            .flatten()
        {
            doomed.push(("KLING", name.as_str().expect("a name").to_owned()));
        }
        for (stream, name) in doomed {
            if self.dice.random_bool(0.7) {
                let call = format!("CONSUMER.DELETE.{stream}.{name}");
                api(&self.stand.observer, &call).await;
            }
        }
    }

    /// A program that dies of what happened while it started is started again, as a supervisor
    /// would.
    fn revive(&mut self) {
        for program in &mut self.stand.programs {
            if program.has_ended() {
                program.start();
            }
        }
    }
}

async fn siege(seed: u64, tasks: usize, rounds: usize) {
    let dice = StdRng::seed_from_u64(seed);
    let parts = Parts {
        programs: 2,
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
        siege.strike(blow).await;
        siege.revive();
        siege.wait(200..1_200).await;
        round.send_replace(n + 1);
    }
    siege.revive();
    let stats = siege.stand.conclude().await;
    tell(&format!(
        "{tasks} tasks, {} created, {} creates sent, {rounds} blows: {:.0} s",
        stats.creates.accepted,
        stats.creates.requests,
        started.elapsed().as_secs_f64()
    ));
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
