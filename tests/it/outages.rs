//! What the log and the money writer say and do while the broker is away, silent or full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kling_relay::config;
use kling_relay::edge::nats::log::{Committed, Log, LogError};
use kling_relay::edge::nats::money::{AcceptError, Money, MoneyRules};
use kling_relay::edge::nats::{Credentials, Endpoint};
use kling_relay::model::event::EventKind;
use kling_relay::model::ledger::EntryKind;
use tokio_util::sync::CancellationToken;

use crate::broker::{Node, config, open, until};
use crate::kit::{
    audit, count, everything, failed, fresh_task_id, key, limits, new_task, next_claim, video,
};
use crate::log::rig;

const SOON: Duration = Duration::from_secs(20);

async fn writer(log: &Log) -> Money {
    let rules = MoneyRules::new(limits(1_000));
    let money = Money::start(log.clone(), rules, CancellationToken::new()).await;
    money.expect("a writer")
}

/// A way to the server that, once armed, swallows the next answer and breaks the connection: an
/// outcome that is unknown.
async fn lossy(to: u16) -> (u16, Arc<AtomicBool>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let armed = Arc::new(AtomicBool::new(false));
    let shared = armed.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(("127.0.0.1", to)).await;
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.expect("a server").into_split();
            tokio::spawn(async move {
                drop(tokio::io::copy(&mut from_client, &mut to_server).await);
            });
            let armed = shared.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0_u8; 65_536];
                while let Ok(read) = from_server.read(&mut buffer).await {
                    let stop = read == 0 || armed.swap(false, Ordering::SeqCst);
                    if stop || to_client.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (port, armed)
}

#[tokio::test]
async fn unknown_outcome_is_recognised_as_ones_own() {
    let rig = rig().await;
    let (port, armed) = lossy(rig.node.port).await;
    let endpoint = Endpoint {
        url: format!("nats://127.0.0.1:{port}"),
        credentials: Credentials::None,
    };
    let (_broker, log) = open(&endpoint, &config(1)).await;
    let on = log
        .load(&rig.task)
        .await
        .expect("a broker")
        .expect("a task");
    armed.store(true, Ordering::SeqCst);
    let commit = log.commit(&on, next_claim(on.task.clone()));
    let other = async {
        // Stored, but its writer does not hear of it, and another moves the task on.
        until("the event is stored", Duration::from_secs(5), async || {
            rig.load().await.seq > on.seq
        })
        .await;
        let stored = rig.load().await;
        rig.log
            .commit(&stored, failed(stored.task.clone()))
            .await
            .expect("stored");
        stored.seq
    };
    let (committed, seq) = tokio::join!(commit, other);
    assert_eq!(committed.expect("found out"), Committed::Stored { seq });
    assert!(!armed.load(Ordering::SeqCst), "an answer was swallowed");
}

#[tokio::test]
async fn money_commit_without_an_answer_is_found_again() {
    let rig = rig().await;
    let (port, armed) = lossy(rig.node.port).await;
    let endpoint = Endpoint {
        url: format!("nats://127.0.0.1:{port}"),
        credentials: Credentials::None,
    };
    let (_broker, log) = open(&endpoint, &config(1)).await;
    let money = writer(&log).await;
    let warm = vec![new_task(&fresh_task_id(), video(1))];
    money
        .accept(warm, Duration::from_secs(10))
        .await
        .expect("accepted");
    armed.store(true, Ordering::SeqCst);
    let task = fresh_task_id();
    let accepted = money
        .accept(vec![new_task(&task, video(1))], Duration::from_secs(10))
        .await;
    let stored = rig.log.last(&task, EventKind::Requested).await;
    assert_eq!(
        accepted,
        Ok(vec![stored.expect("a broker").expect("a message").seq])
    );
    assert!(!armed.load(Ordering::SeqCst), "an answer was swallowed");
    let messages = everything(&rig.log).await;
    assert_eq!(
        count(&messages, &key(), EntryKind::Hold),
        3,
        "held once each"
    );
    audit(&messages);
}

#[tokio::test]
async fn broker_away_is_unavailable_and_nothing_is_sent_later() {
    let mut rig = rig().await;
    let on = rig.load().await;
    rig.node.kill();
    until("the loss is noticed", Duration::from_secs(10), async || {
        !rig.broker.is_connected()
    })
    .await;
    let refused = rig.log.commit(&on, next_claim(on.task.clone())).await;
    assert!(
        matches!(refused, Err(LogError::Unavailable { .. })),
        "{refused:?}"
    );
    rig.node.restart();
    rig.node.wait_ready();
    until("it is back", Duration::from_secs(10), async || {
        rig.log.probe().await.is_ok()
    })
    .await;
    assert_eq!(rig.load().await.seq, on.seq);
    rig.log
        .commit(&on, next_claim(on.task.clone()))
        .await
        .expect("stored");
}

#[tokio::test]
async fn full_log_is_told_from_an_outage() {
    let node = Node::start();
    let nats = config::Nats {
        log_max_bytes: 64 << 10,
        ..config(1)
    };
    let (_broker, log) = open(&node.endpoint(), &nats).await;
    let money = Money::start(
        log.clone(),
        MoneyRules::new(limits(100_000)),
        CancellationToken::new(),
    );
    let money = money.await.expect("a writer");
    let mut refusal = None;
    for _ in 0..200 {
        let tasks = vec![new_task(&fresh_task_id(), video(1))];
        if let Err(error) = money.accept(tasks, Duration::from_secs(5)).await {
            refusal = Some(error);
            break;
        }
    }
    assert_eq!(refusal, Some(AcceptError::Full));
    let probe = log.probe().await;
    assert!(
        probe.is_ok() || matches!(probe, Err(LogError::Full { .. })),
        "{probe:?}"
    );
    audit(&everything(&log).await);
}

#[tokio::test]
async fn broker_away_is_unavailable_within_the_deadline_and_recovers() {
    let mut node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = writer(&log).await;
    node.kill();
    let started = std::time::Instant::now();
    let lost = new_task(&fresh_task_id(), video(1));
    let answer = money
        .accept(vec![lost.clone()], Duration::from_millis(700))
        .await;
    assert_eq!(answer, Err(AcceptError::Unavailable));
    assert!(started.elapsed() < Duration::from_secs(2));
    let waiting = {
        let money = money.clone();
        tokio::spawn(async move {
            money
                .accept(vec![new_task(&fresh_task_id(), video(1))], SOON)
                .await
        })
    };
    node.restart();
    waiting
        .await
        .expect("no panic")
        .expect("accepted once it is back");
    money
        .accept(vec![lost], SOON)
        .await
        .expect("the same commit again");
    let messages = everything(&log).await;
    assert_eq!(
        count(&messages, &key(), EntryKind::Hold),
        2,
        "held once each"
    );
    audit(&messages);
}
