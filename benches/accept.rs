//! How many tasks the money writer accepts each second, one ledger, a real nats-server with
//! `sync_interval: always`: one node and a cluster of three, one process and three. Run it alone:
//! `make bench`.
#![expect(clippy::print_stdout, reason = "printing is what a measurement is for")]

#[path = "../tests/it/broker.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod broker;
#[path = "../tests/it/kit.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod kit;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kling_relay::edge::nats::money::{Money, MoneyRules};
use kling_relay::edge::nats::{Credentials, Endpoint};
use tokio_util::sync::CancellationToken;

use crate::broker::{Cluster, Node, config, open};
use crate::kit::{fresh_tasks, limits, video};

const LENGTH: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(30);
/// Processes beside one another, and submitters over all of them.
const PROCESSES: usize = 3;
const SUBMITTERS: usize = 64;
/// The argument with which the program is a process of a measurement.
const PART: &str = "--part";

/// One process's writer.
async fn writer(endpoint: &Endpoint, replicas: usize) -> Money {
    let (_broker, log) = open(endpoint, &config(replicas)).await;
    let rules = MoneyRules::new(limits(100_000_000));
    let money = Money::start(log, rules, CancellationToken::new()).await;
    money.expect("a writer")
}

/// Submitters that each wait for their answer, one task at a time, on one ledger; returns how long
/// each waited.
async fn submit(money: &Money, submitters: usize) -> Vec<Duration> {
    let started = Instant::now();
    let submitters = (0..submitters).map(|_| {
        let money = money.clone();
        tokio::spawn(async move {
            let mut waits = Vec::new();
            while started.elapsed() < LENGTH {
                let sent = Instant::now();
                let accepted = money.accept(fresh_tasks(1, video(1)), DEADLINE).await;
                accepted.expect("accepted");
                waits.push(sent.elapsed());
            }
            waits
        })
    });
    let mut waits = Vec::new();
    for own in futures::future::join_all(submitters).await {
        waits.extend(own.expect("no panic"));
    }
    waits
}

fn report(name: &str, mut waits: Vec<Duration>) {
    waits.sort();
    let rate = waits.len() as f64 / LENGTH.as_secs_f64();
    let (half, most) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
    let longest = waits[waits.len() - 1];
    println!("{name}: {rate:.0}/s, p50 {half:?}, p99 {most:?}, longest {longest:?}");
}

async fn measure(endpoint: &Endpoint, replicas: usize, submitters: usize) {
    let money = writer(endpoint, replicas).await;
    let waits = submit(&money, submitters).await;
    report(&format!("R{replicas}, {submitters} waiting"), waits);
}

/// Three processes, each with its own writer and connection, over one ledger.
async fn measure_processes(endpoint: &Endpoint, replicas: usize) {
    let program = std::env::current_exe().expect("this program");
    let start = |n: usize| {
        let own = SUBMITTERS / PROCESSES + usize::from(n < SUBMITTERS % PROCESSES);
        Command::new(&program)
            .args([PART, &endpoint.url, &replicas.to_string(), &own.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process")
    };
    let mut processes: Vec<Child> = (0..PROCESSES).map(start).collect();
    let mut answers: Vec<_> = processes
        .iter_mut()
        .map(|process| BufReader::new(process.stdout.take().expect("its words")).lines())
        .collect();
    let mut next = |place: usize| answers[place].next().expect("a line").expect("a line");
    // Each says when it is ready, and begins when it is told.
    (0..PROCESSES).for_each(|place| assert_eq!(next(place), "ready"));
    for process in &mut processes {
        let mut stdin = process.stdin.take().expect("its ear");
        stdin.write_all(b"go\n").expect("it listens");
    }
    let mut waits = Vec::new();
    for place in 0..PROCESSES {
        let line = next(place);
        let micros = line
            .split_whitespace()
            .map(|wait| wait.parse().expect("a number"));
        waits.extend(micros.map(Duration::from_micros));
    }
    for mut process in processes {
        process.wait().expect("it ends");
    }
    report(
        &format!("R{replicas}, {PROCESSES} processes, {SUBMITTERS} waiting"),
        waits,
    );
}

/// A process of [`measure_processes`].
async fn part(arguments: &[String]) {
    let [url, replicas, submitters] = arguments else {
        panic!("an address and two numbers")
    };
    let endpoint = Endpoint {
        url: url.clone(),
        credentials: Credentials::None,
    };
    let money = writer(&endpoint, replicas.parse().expect("a number")).await;
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a word");
    let waits = submit(&money, submitters.parse().expect("a number")).await;
    let micros: Vec<String> = waits
        .iter()
        .map(|wait| wait.as_micros().to_string())
        .collect();
    println!("{}", micros.join(" "));
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == PART) {
        return part(&arguments[1..]).await;
    }
    // `cargo test --benches` only wants to know that it runs.
    if arguments.iter().any(|argument| argument == "--test") {
        return;
    }
    let node = Node::start();
    for submitters in [1, 8, 64, 1_000] {
        measure(&node.endpoint(), 1, submitters).await;
    }
    measure_processes(&node.endpoint(), 1).await;
    drop(node);
    let cluster = Cluster::start();
    for submitters in [1, 64] {
        measure(&cluster.endpoint(), 3, submitters).await;
    }
    measure_processes(&cluster.endpoint(), 3).await;
}
