//! How many tasks the money writer accepts each second, one ledger, a real nats-server with
//! `sync_interval: always`: one node and a cluster of three. Run it alone: `make bench`.
#![expect(clippy::print_stdout, reason = "printing is what a measurement is for")]

#[path = "../tests/it/broker.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod broker;
#[path = "../tests/it/kit.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod kit;

use std::time::{Duration, Instant};

use kling_relay::edge::nats::Endpoint;
use kling_relay::edge::nats::money::{Money, MoneyRules};
use tokio_util::sync::CancellationToken;

use crate::broker::{Cluster, Node, config, open};
use crate::kit::{fresh_tasks, limits, video};

const LENGTH: Duration = Duration::from_secs(5);

/// Submitters that each wait for their answer, one task at a time, on one ledger.
async fn measure(endpoint: &Endpoint, replicas: usize, submitters: usize) {
    let (_broker, log) = open(endpoint, &config(replicas)).await;
    let rules = MoneyRules::new(limits(100_000_000));
    let money = Money::start(log, rules, CancellationToken::new()).await;
    let money = money.expect("a writer");
    let started = Instant::now();
    let submitters_run = (0..submitters).map(|_| {
        let money = money.clone();
        tokio::spawn(async move {
            let mut waits = Vec::new();
            while started.elapsed() < LENGTH {
                let sent = Instant::now();
                let accepted = money.accept(fresh_tasks(1, video(1)), LENGTH).await;
                accepted.expect("accepted");
                waits.push(sent.elapsed());
            }
            waits
        })
    });
    let mut waits = Vec::new();
    for own in futures::future::join_all(submitters_run).await {
        waits.extend(own.expect("no panic"));
    }
    waits.sort();
    let rate = waits.len() as f64 / started.elapsed().as_secs_f64();
    let (half, most) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
    println!("R{replicas}, {submitters} waiting: {rate:.0}/s, p50 {half:?}, p99 {most:?}");
}

#[tokio::main]
async fn main() {
    // `cargo test --benches` only wants to know that it runs.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let node = Node::start();
    for submitters in [1, 8, 64, 1_000] {
        measure(&node.endpoint(), 1, submitters).await;
    }
    drop(node);
    let cluster = Cluster::start();
    for submitters in [1, 64] {
        measure(&cluster.endpoint(), 3, submitters).await;
    }
}
