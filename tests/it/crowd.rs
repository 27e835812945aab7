//! Five hundred submitters at four real programs, and a limit that fits thirty-seven.

use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kling_relay::edge::nats::record::Recorded;
use kling_relay::model::ledger::EntryKind;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::broker::{Node, config, free_port, open, until};
use crate::cli::Place;
use crate::kit::{audit, everything};

const PROCESSES: usize = 4;
const SUBMITTERS: usize = 125;
const FITS: usize = 37;
const KEY: &str = "key-of-acme-0123456789";
const WITHIN: Duration = Duration::from_secs(120);

/// A program that takes requests and does nothing else. Dropped, it is killed.
struct Intake {
    child: Child,
    url: String,
    _place: Place,
}

impl Intake {
    fn start(node: &Node, limit: &str) -> Self {
        let place = Place::new();
        let address = format!("127.0.0.1:{}", free_port());
        let child = place
            .command(&["serve", "--role", "intake"])
            .env("KLING_RELAY_NATS__URL", node.endpoint().url)
            .env("KLING_RELAY_API__LISTEN", &address)
            .env("KLING_RELAY_API__KEYS", format!("[\"acme:{KEY}\"]"))
            .env("KLING_RELAY_BUDGET__DAILY_LIMIT", limit)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            url: format!("http://{address}"),
            _place: place,
        }
    }

    async fn serves(&self) {
        let address = self.url.trim_start_matches("http://");
        let listens = async || TcpStream::connect(address).is_ok();
        until("the program listens", WITHIN, listens).await;
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed by then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Submits until there is a definite answer, under one key; returns whether it was accepted.
async fn submit(client: reqwest::Client, url: String, key: String) -> bool {
    let body = json!({"product": "text-to-video", "model": "kling-2.6", "prompt": "a fox"});
    loop {
        let request = client
            .post(format!("{url}/v1/tasks"))
            .bearer_auth(KEY)
            .header("idempotency-key", &key)
            .timeout(WITHIN)
            .json(&body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        match status {
            202 => return true,
            402 => return false,
            // Not known: the same key finds out.
            503 => {}
            _ => panic!("{status}: {body}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_fits_is_accepted_by_four_programs_and_one_alert_says_so() {
    // An error says that another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let node = Node::start();
    // The streams are the test's, small; the programs find them.
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    // A five-second video of this model costs 1.5.
    let limit = format!("{{ video-unit = \"{}.5\" }}", FITS * 3 / 2);
    let programs: Vec<Intake> = (0..PROCESSES)
        .map(|_| Intake::start(&node, &limit))
        .collect();
    for program in &programs {
        program.serves().await;
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let start = Arc::new(Barrier::new(PROCESSES * SUBMITTERS));
    let submitters = (0..PROCESSES * SUBMITTERS).map(|n| {
        let (client, start) = (client.clone(), Arc::clone(&start));
        let url = programs[n % PROCESSES].url.clone();
        tokio::spawn(async move {
            start.wait().await;
            submit(client, url, format!("request-{n}")).await
        })
    });
    let answers = futures::future::join_all(submitters).await;
    let accepted = answers
        .into_iter()
        .filter(|answer| *answer.as_ref().unwrap());
    assert_eq!(accepted.count(), FITS);
    let messages = everything(&log).await;
    audit(&messages);
    let is_hold = |message: &&Recorded| {
        let entry = message.ledger_entry();
        entry.is_ok_and(|entry| entry.kind == EntryKind::Hold)
    };
    assert_eq!(messages.iter().filter(is_hold).count(), FITS);
    let is_alert = |message: &&Recorded| message.subject.ends_with(".alert");
    assert_eq!(messages.iter().filter(is_alert).count(), 1);
}
