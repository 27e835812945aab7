//! Random histories of two days: holds, closings above and below, voids, repetitions, limits, lost
//! answers, torn batches and crashes between any two steps. After every step the ledgers are what a
//! model says; at the end the laws hold over all that is stored.
//!
//! `HISTORY_SEED` chooses the steps; it is printed. `HISTORIES` says how many histories.

mod laws;
mod model;
mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use kling_relay::config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::log::{Log, LogError};
use kling_relay::edge::nats::money::{Money, MoneyRules};
use kling_relay::edge::nats::{Broker, Endpoint};
use kling_relay::model::ids::Day;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rust_decimal::Decimal;
use tokio_util::sync::CancellationToken;

use self::model::{ACCOUNT_LIMIT, Model, TENANT_LIMIT, ledgers};
use crate::broker::{Node, config, open, until};
use crate::kit::{everything, limits};

const HISTORIES: u64 = 3;
const STEPS: usize = 60;
const DEADLINE: Duration = Duration::from_secs(20);

/// A server, three processes' writers, and what must be true.
struct History {
    node: Node,
    log: Log,
    /// Two that wait for their answers, and one that loses most of them.
    writers: Vec<Money>,
    model: Model,
    dice: StdRng,
    torn: usize,
    /// How often each outcome was met.
    met: BTreeMap<&'static str, usize>,
}

/// The place of the writer that loses answers.
const LOSSY: usize = 2;

fn days() -> [Day; 2] {
    ["2026-11-21", "2026-11-22"].map(|day| day.parse().unwrap())
}

/// Starts a writer as a process of its own would.
async fn writer(endpoint: &Endpoint, lossy: bool) -> Money {
    let mut nats = config(1);
    let mut rules = MoneyRules {
        account_limits: Some(limits(ACCOUNT_LIMIT)),
        thresholds: [5, 8, 10].map(|tenth| Decimal::new(tenth, 1)).to_vec(),
        ..MoneyRules::new(limits(TENANT_LIMIT))
    };
    if lossy {
        nats.commit_timeout = Duration::from_micros(700);
        rules.bounds = config::MoneyWriter {
            closing_timeout: Duration::from_millis(20),
            ..rules.bounds
        };
    }
    // The streams are there; only the connection is new.
    let broker = Broker::connect(&nats, endpoint).await.unwrap();
    let retention = config::Retention::default();
    let log = Log::new(&broker, Clock::system(), "test", &nats, &retention);
    let money = Money::start(log, rules, CancellationToken::new()).await;
    money.unwrap()
}

/// Reads once more while the server that was killed is not quite back.
async fn answered<T, F: AsyncFnMut() -> Result<T, LogError>>(mut read: F) -> T {
    let mut found = None;
    until("the log answers", DEADLINE, async || {
        found = read().await.ok();
        found.is_some()
    })
    .await;
    found.unwrap()
}

impl History {
    async fn start(seed: u64) -> Self {
        let node = Node::start();
        let (_broker, log) = open(&node.endpoint(), &config(1)).await;
        let mut writers = Vec::new();
        for place in 0..=LOSSY {
            writers.push(writer(&node.endpoint(), place == LOSSY).await);
        }
        Self {
            node,
            log,
            writers,
            model: Model::default(),
            dice: StdRng::seed_from_u64(seed),
            torn: 0,
            met: BTreeMap::new(),
        }
    }

    /// Takes one step; returns what it was.
    async fn step(&mut self) -> &'static str {
        let place = self.dice.random_range(0..=LOSSY);
        match self.dice.random_range(0..100) {
            0..35 => self.accept(place).await,
            35..65 => self.settle(place).await,
            65..72 => self.accept_again(place).await,
            72..78 => self.settle_again(place).await,
            78..85 => self.set_limit(place).await,
            85..91 => self.crash().await,
            91..96 => self.tear().await,
            96..98 => self.kill_server().await,
            _ => {
                self.writers[place] = writer(&self.node.endpoint(), place == LOSSY).await;
                "a restart of a writer"
            }
        }
    }

    /// Compares every ledger with the model.
    async fn check(&self, after: &str) {
        for key in days().into_iter().flat_map(ledgers) {
            let balance = answered(async || self.log.balance(&key).await).await;
            self.model.check(&key, balance, after);
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_history_adds_up_whatever_is_lost() {
    let read = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = read("HISTORY_SEED").unwrap_or_else(rand::random::<u64>);
    let histories = read("HISTORIES").unwrap_or(HISTORIES);
    let mut met: BTreeMap<&'static str, usize> = BTreeMap::new();
    for n in 0..histories {
        let seed = seed.wrapping_add(n);
        eprintln!("HISTORY_SEED={seed}");
        let mut history = History::start(seed).await;
        for step in 0..STEPS {
            let what = history.step().await;
            history.count(what);
            history.check(&format!("step {step}, {what}")).await;
        }
        laws::check(&everything(&history.log).await, history.torn);
        for (what, count) in history.met {
            *met.entry(what).or_default() += count;
        }
    }
    eprintln!("{met:?}");
}
