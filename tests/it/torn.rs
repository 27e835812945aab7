//! A power cut on a single node can leave half of a batch: made here by cutting the store's file
//! where the batch's last message begins.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use kling_relay::config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::Broker;
use kling_relay::edge::nats::log::Log;
use kling_relay::edge::nats::money::repair::{self, repair};
use kling_relay::edge::nats::money::{Money, MoneyRules};
use kling_relay::edge::nats::record::Recorded;
use kling_relay::edge::nats::topology;
use kling_relay::model::ledger::{EntryKind, LedgerKey};
use tokio_util::sync::CancellationToken;

use crate::broker::{Node, config, open, until};
use crate::kit::{
    account_key, audit, audit_torn, billed, count, end, everything, fresh_task_id, fresh_tasks,
    key, limits, new_task, orphans, video,
};

const DEADLINE: Duration = Duration::from_secs(20);

async fn writer(log: &Log) -> Money {
    let rules = MoneyRules {
        account_limits: Some(limits(100)),
        ..MoneyRules::new(limits(100))
    };
    let money = Money::start(log.clone(), rules, CancellationToken::new()).await;
    money.expect("a writer")
}

/// The files of a log, in order.
fn blocks(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("the log's folder");
    let number = |path: &PathBuf| {
        path.file_name()?
            .to_str()?
            .strip_suffix(".blk")?
            .parse()
            .ok()
    };
    let mut blocks: Vec<(u64, PathBuf)> = entries
        .map(|entry| entry.expect("the log's folder").path())
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    blocks.sort();
    blocks.into_iter().map(|(_, path)| path).collect()
}

/// Where a sequence begins in a block.
///
/// A record begins with its length (its highest bit is a mark) and its sequence, little-endian.
fn place_of(bytes: &[u8], seq: u64) -> Option<usize> {
    let number = |at: usize, length: usize| {
        let mut wide = [0_u8; 8];
        wide[..length].copy_from_slice(&bytes[at..at + length]);
        u64::from_le_bytes(wide)
    };
    let mut at = 0;
    while at + 12 <= bytes.len() {
        if number(at + 4, 8) == seq {
            return Some(at);
        }
        at += usize::try_from(number(at, 4) & 0x7fff_ffff).expect("a length");
    }
    None
}

/// Cuts the log where a sequence begins, and takes away the index that knows better.
fn cut(store: &Path, seq: u64) {
    let dir = store.join("jetstream/$G/streams/KLING/msgs");
    let mut blocks = blocks(&dir).into_iter();
    let found = blocks.find_map(|block| {
        let bytes = std::fs::read(&block).expect("a block");
        let at = place_of(&bytes, seq)?;
        std::fs::write(&block, &bytes[..at]).expect("a writable store");
        Some(())
    });
    assert!(found.is_some(), "sequence {seq} is in no block");
    // A server that recovers may begin another block.
    blocks.for_each(|later| std::fs::remove_file(later).expect("a writable store"));
    std::fs::remove_file(dir.join("index.db")).ok();
}

pub(crate) async fn power_cut(node: &mut Node, log: &Log, seq: u64) {
    node.kill();
    cut(&node.store(), seq);
    node.restart();
    node.wait_ready();
    until("it is back", DEADLINE, async || {
        log.last_sequence().await.is_ok()
    })
    .await;
    // A writer that is running may have written here by now, but never a batch.
    let found = log.get(seq).await.expect("a broker");
    let torn = found.is_none_or(|found| found.batch().is_none());
    assert!(torn, "the batch is torn");
}

/// Returns what the tenant's and the account's ledgers hold.
async fn held(money: &Money) -> (i64, i64) {
    let mut figures = Vec::new();
    for key in [key(), account_key()] {
        let balance = money
            .balance(&key)
            .await
            .expect("a broker")
            .expect("an open day");
        let held = balance
            .values()
            .map(|unit| unit.held)
            .sum::<rust_decimal::Decimal>();
        figures.push(i64::try_from(held).expect("a small number"));
    }
    (figures[0], figures[1])
}

#[tokio::test]
async fn hold_without_its_task_is_taken_back_at_start_once() {
    let mut node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let (kept, torn) = (fresh_task_id(), new_task(&fresh_task_id(), video(7)));
    let id = torn.event.task.task_id.clone();
    let money = writer(&log).await;
    money
        .accept(vec![new_task(&kept, video(5))], DEADLINE)
        .await
        .expect("accepted");
    let seq = money
        .accept(vec![torn.clone()], DEADLINE)
        .await
        .expect("accepted")[0];
    drop(money);
    power_cut(&mut node, &log, seq).await;
    assert!(log.load(&id).await.expect("a broker").is_none());
    let left = everything(&log).await;
    assert_eq!(orphans(&left).len(), 2);
    let end = left.last().expect("a log").seq;
    let long_ago = repair::orphans(&left, end, Timestamp::MAX);
    assert_eq!(long_ago.len(), 2, "however long the machine was off");
    let money = writer(&log).await;
    assert_eq!(held(&money).await, (5, 5));
    assert_eq!(repair(&log).await.expect("a broker"), 0, "once");
    // The caller, who never had an answer, tries the same commit again, and it is torn again.
    let seq = money
        .accept(vec![torn.clone()], DEADLINE)
        .await
        .expect("accepted")[0];
    power_cut(&mut node, &log, seq).await;
    // The writer that is running notices the restart by itself.
    money.accept(vec![torn], DEADLINE).await.expect("accepted");
    assert_eq!(held(&money).await, (12, 12));
    let messages = everything(&log).await;
    assert_eq!(audit_torn(&messages), 2);
    assert_eq!(count(&messages, &key(), EntryKind::Adjustment), 2);
}

/// The next wish may be hours away, and by then the torn batch out of the repair's sight.
#[tokio::test]
async fn idle_writer_repairs_as_soon_as_it_is_connected_again() {
    let mut node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = writer(&log).await;
    let mut seqs = Vec::new();
    for amount in [5, 7] {
        let tasks = vec![new_task(&fresh_task_id(), video(amount))];
        seqs.extend(money.accept(tasks, DEADLINE).await.expect("accepted"));
    }
    power_cut(&mut node, &log, seqs[1]).await;
    until("it is repaired", DEADLINE, async || {
        let entries = everything(&log).await;
        count(&entries, &account_key(), EntryKind::Adjustment) == 1
    })
    .await;
    assert_eq!(held(&money).await, (5, 5));
    assert_eq!(audit_torn(&everything(&log).await), 1);
}

/// Wherever a batch is torn, a threshold that is marked as alerted has its alert: the same one, if
/// the batch must be written again.
#[tokio::test]
async fn no_alert_is_lost_wherever_its_batch_is_torn() {
    let mut node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = writer(&log).await;
    let first = vec![new_task(&fresh_task_id(), video(5))];
    money.accept(first, DEADLINE).await.expect("accepted");
    let crossing = new_task(&fresh_task_id(), video(80));
    // Two alerts, two holds, and the task.
    for lost in [4, 3, 2, 1, 0] {
        let accepted = money.accept(vec![crossing.clone()], DEADLINE).await;
        let seq = accepted.expect("accepted")[0];
        if lost > 0 {
            power_cut(&mut node, &log, seq + 1 - lost).await;
        }
        until("it is repaired", DEADLINE, async || {
            orphans(&everything(&log).await).is_empty()
        })
        .await;
        let messages = everything(&log).await;
        for key in [key(), account_key()] {
            let (balance, _) = log.ledger(&key).await.expect("a broker").expect("an entry");
            let marked = balance.values().any(|unit| !unit.alerted.is_empty());
            let alerts = alerts(&messages, &key);
            assert!(!marked || alerts == 1, "{alerts} alerts, {lost} lost");
            assert!(marked || lost > 0, "the threshold is crossed");
        }
        let held = held(&money).await;
        assert_eq!(held, if lost > 0 { (5, 5) } else { (85, 85) });
    }
    audit_torn(&everything(&log).await);
}

/// Counts the different alerts of a day.
fn alerts(messages: &[Recorded], key: &LedgerKey) -> usize {
    let subject = topology::alert_subject(key);
    let alerts = messages.iter().filter(|message| message.subject == subject);
    let ids: HashSet<_> = alerts.filter_map(Recorded::ce_id).collect();
    ids.len()
}

#[tokio::test]
async fn settlement_without_its_event_is_taken_back_and_settled_again() {
    let mut node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = writer(&log).await;
    let id = fresh_task_id();
    money
        .accept(vec![new_task(&id, video(5))], DEADLINE)
        .await
        .expect("accepted");
    let on = end(&log, &id).await;
    let closing = billed(&on.task, &[video(6)]);
    money.settle(&on, closing.clone()).await.expect("settled");
    let seq = log.last_sequence().await.expect("a broker");
    power_cut(&mut node, &log, seq).await;
    let money = writer(&log).await;
    assert_eq!(held(&money).await, (5, 5));
    let on = log.load(&id).await.expect("a broker").expect("a task");
    assert!(on.task.relay.settled_at.is_none());
    money.settle(&on, closing).await.expect("settled");
    assert_eq!(held(&money).await, (0, 0));
    assert_eq!(audit_torn(&everything(&log).await), 1);
}

/// The greatest batch there is, torn before its first event. A full callback stream is no reason to
/// leave the books wrong.
#[tokio::test]
async fn all_of_a_large_batch_is_taken_back_at_one_start() {
    let mut node = Node::start();
    let nats = kling_relay::config::Nats {
        callbacks_max_bytes: 1 << 20,
        ..config(1)
    };
    let (broker, log) = open(&node.endpoint(), &nats).await;
    let roomy = MoneyRules {
        account_limits: Some(limits(10_000)),
        ..MoneyRules::new(limits(10_000))
    };
    let start = async || {
        let money = Money::start(log.clone(), roomy.clone(), CancellationToken::new()).await;
        money.expect("a writer")
    };
    let money = start().await;
    let kept = new_task(&fresh_task_id(), video(5));
    money.accept(vec![kept], DEADLINE).await.expect("accepted");
    let many = fresh_tasks(topology::ACCEPT_TASKS_MAX, video(3));
    let accepted = money.accept(many.clone(), DEADLINE).await;
    let first = accepted.expect("accepted")[0];
    assert_eq!(held(&money).await, (905, 905));
    drop(money);
    fill_callbacks(&broker).await;
    // Nobody's writer runs but the one that starts.
    power_cut(&mut node, &log, first).await;
    assert_eq!(orphans(&everything(&log).await).len(), 600);
    let money = start().await;
    assert_eq!(held(&money).await, (5, 5));
    let messages = everything(&log).await;
    assert_eq!(audit_torn(&messages), 1);
    for key in [key(), account_key()] {
        assert_eq!(count(&messages, &key, EntryKind::Adjustment), 300);
    }
    // The repair itself can be torn: what it took back stays so, and the rest follows.
    let last = messages.last().expect("messages").seq;
    drop(money);
    power_cut(&mut node, &log, last - 100).await;
    let money = start().await;
    assert_eq!(held(&money).await, (5, 5));
    assert_eq!(audit_torn(&everything(&log).await), 2);
    // The caller repeats what was never answered.
    money.accept(many, DEADLINE).await.expect("accepted");
    assert_eq!(held(&money).await, (905, 905));
}

/// Leaves no room among the callbacks, not even for a probe.
async fn fill_callbacks(broker: &Broker) {
    let subject = topology::callback_subject("acme", "any");
    for size in [100_000, 10_000, 1_000, 10] {
        until("the callback stream is full", DEADLINE, async || {
            let stored = broker
                .client()
                .request(subject.clone(), vec![0; size].into());
            let answer = stored.await.expect("an answer").payload;
            let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
            answer.get("error").is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn whole_batches_are_left_alone() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = writer(&log).await;
    for _ in 0..30 {
        let tasks = (0..12)
            .map(|_| new_task(&fresh_task_id(), video(0)))
            .collect();
        money.accept(tasks, DEADLINE).await.expect("accepted");
    }
    let messages = everything(&log).await;
    assert!(messages.len() > 1_000, "more than the window");
    assert_eq!(repair(&log).await.expect("a broker"), 0);
    let newest = &messages[messages.len() - 20..];
    assert!(
        orphans(newest).is_empty(),
        "a window that begins within a batch"
    );
    audit(&messages);
}

/// Task events live shorter than the money of the same batch, and the batch's last message is one.
#[tokio::test]
async fn money_whose_tasks_have_expired_is_left_alone() {
    let node = Node::start();
    let (broker, _) = open(&node.endpoint(), &config(1)).await;
    let retention = config::Retention {
        tasks: Duration::from_secs(3),
        ..config::Retention::default()
    };
    let log = Log::new(&broker, Clock::system(), "test", &config(1), &retention);
    let money = writer(&log).await;
    let task = new_task(&fresh_task_id(), video(5));
    let id = task.event.task.task_id.clone();
    money.accept(vec![task], DEADLINE).await.expect("accepted");
    drop(money);
    let batch = everything(&log).await;
    let without_event = &batch[..batch.len() - 1];
    assert_eq!(
        orphans(without_event).len(),
        2,
        "without its event it looks torn"
    );
    until("its event has expired", DEADLINE, async || {
        log.load(&id).await.expect("a broker").is_none()
    })
    .await;
    assert_eq!(repair(&log).await.expect("a broker"), 0);
    assert_eq!(held(&writer(&log).await).await, (5, 5));
}
