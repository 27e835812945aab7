//! The money writer: holds, settlements, refusals and alerts.

mod adjust;
mod closings;
mod crowds;
mod deaths;
mod limits;
mod others;

use std::time::Duration;

use kling_relay::edge::nats::log::{Committed, Log};
use kling_relay::edge::nats::money::{AcceptError, Money, MoneyRules, NewTask};
use kling_relay::edge::nats::record::Recorded;
use kling_relay::edge::nats::topology;
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::event::EventKind;
use kling_relay::model::ledger::{EntryKind, LedgerKey, LedgerOwner, UnitBalance};
use rust_decimal::Decimal;
use tokio_util::sync::CancellationToken;

use crate::broker::{Node, config, open};
use crate::kit::{
    account_key, audit, billed, count, end, everything, fresh_task_id, fresh_tasks, key, limits,
    new_task, video,
};

const DEADLINE: Duration = Duration::from_secs(20);

async fn start(log: &Log, rules: MoneyRules) -> Money {
    let money = Money::start(log.clone(), rules, CancellationToken::new()).await;
    money.expect("a writer")
}

fn with_account(tenant: i64, account: i64) -> MoneyRules {
    MoneyRules {
        account_limits: Some(limits(account)),
        ..MoneyRules::new(limits(tenant))
    }
}

async fn balance(money: &Money, key: &LedgerKey) -> UnitBalance {
    let balance = money
        .balance(key)
        .await
        .expect("a broker")
        .expect("an open day");
    balance[&Unit::Video].clone()
}

fn figures(balance: &UnitBalance) -> (Decimal, Decimal) {
    (balance.held, balance.deducted)
}

fn decimals(held: i64, deducted: i64) -> (Decimal, Decimal) {
    (Decimal::from(held), Decimal::from(deducted))
}

#[tokio::test]
async fn day_opens_with_its_limits_and_the_hold_stands_beside_the_task() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, with_account(100, 1_000)).await;
    let task = fresh_task_id();
    let seqs = money
        .accept(vec![new_task(&task, video(7))], DEADLINE)
        .await;
    let messages = everything(&log).await;
    let kinds: Vec<_> = messages
        .iter()
        .filter_map(|message| message.ledger_entry().ok())
        .map(|entry| (entry.tenant, entry.kind))
        .collect();
    let expected = [
        ("acme".to_owned(), EntryKind::Limit),
        ("acme".to_owned(), EntryKind::Hold),
        ("_account".to_owned(), EntryKind::Limit),
        ("_account".to_owned(), EntryKind::Hold),
    ];
    assert_eq!(kinds, expected);
    let last = messages.last().expect("five messages");
    assert_eq!(
        last.task_subject(),
        Some((task.clone(), EventKind::Requested))
    );
    assert_eq!(seqs, Ok(vec![last.seq]));
    let loaded = log.load(&task).await.expect("a broker").expect("a task");
    assert!(loaded.task.relay.account_held);
    let ids: std::collections::HashSet<_> = messages.iter().filter_map(Recorded::ce_id).collect();
    assert_eq!(
        ids.len(),
        messages.len(),
        "each message has an id of its own"
    );
    assert_eq!(
        figures(&balance(&money, &account_key()).await),
        decimals(7, 0)
    );
    audit(&messages);
}

#[tokio::test]
async fn settlement_takes_what_kling_took_and_closes_once() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, with_account(100, 1_000)).await;
    let tasks = fresh_tasks(3, video(5));
    let ids: Vec<_> = tasks.iter().map(|t| t.event.task.task_id.clone()).collect();
    money.accept(tasks, DEADLINE).await.expect("accepted");
    // A void, an overrun, and a bill in another unit as well.
    let other = Amount::new(Decimal::ONE, Unit::Image);
    let bills = [vec![], vec![video(6)], vec![video(4), other]];
    for (id, bill) in ids.iter().zip(&bills) {
        let on = end(&log, id).await;
        let closing = billed(&on.task, bill);
        let (first, second) = tokio::join!(
            money.settle(&on, closing.clone()),
            money.settle(&on, closing.clone())
        );
        let outcomes = [first.expect("an answer"), second.expect("an answer")];
        let stored = |outcome: &&Committed| matches!(outcome, Committed::Stored { .. });
        assert_eq!(outcomes.iter().filter(stored).count(), 1, "{outcomes:?}");
        let after = log.load(id).await.expect("a broker").expect("a task");
        assert_eq!(after.kind, Some(EventKind::Settled));
        assert!(after.task.relay.settled_at.is_some());
        assert_eq!(
            (after.task.held, &after.task.deduction),
            (Some(video(5)), &closing.deduction)
        );
        assert_eq!(after.task.overrun, closing.overrun);
        assert_eq!(
            money.settle(&after, closing).await.expect("an answer"),
            Committed::MovedOn
        );
    }
    for key in [key(), account_key()] {
        assert_eq!(figures(&balance(&money, &key).await), decimals(0, 10));
    }
    let messages = everything(&log).await;
    assert_eq!(count(&messages, &key(), EntryKind::Void), 1);
    assert_eq!(count(&messages, &key(), EntryKind::Settlement), 3);
    audit(&messages);
}

#[tokio::test]
async fn hold_from_before_the_account_ledger_never_touches_it() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let before = start(&log, MoneyRules::new(limits(100))).await;
    let old = fresh_task_id();
    before
        .accept(vec![new_task(&old, video(5))], DEADLINE)
        .await
        .expect("accepted");
    let money = start(&log, with_account(100, 100)).await;
    let new = fresh_task_id();
    money
        .accept(vec![new_task(&new, video(3))], DEADLINE)
        .await
        .expect("accepted");
    let on = end(&log, &old).await;
    money
        .settle(&on, billed(&on.task, &[video(5)]))
        .await
        .expect("settled");
    assert_eq!(
        figures(&balance(&money, &account_key()).await),
        decimals(3, 0)
    );
    assert_eq!(figures(&balance(&money, &key()).await), decimals(3, 5));
    audit(&everything(&log).await);
}

#[tokio::test]
async fn refusals_name_the_figures_and_write_nothing() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, with_account(10, 12)).await;
    let refused = money.accept(fresh_tasks(4, video(3)), DEADLINE).await;
    let expected = AcceptError::BudgetExceeded {
        owner: LedgerOwner::Tenant(crate::kit::tenant()),
        needed: vec![video(12)],
        remaining: vec![video(10)],
        fits: 3,
    };
    assert_eq!(refused, Err(expected));
    assert!(
        money.balance(&key()).await.expect("a broker").is_none(),
        "nothing was written"
    );
    money
        .accept(fresh_tasks(3, video(3)), DEADLINE)
        .await
        .expect("fits");
    let credits = Amount::new(Decimal::ONE, Unit::Credit);
    let refused = money
        .accept(vec![new_task(&fresh_task_id(), credits)], DEADLINE)
        .await;
    assert_eq!(refused, Err(AcceptError::NoLimit(Unit::Credit)));
    let task = fresh_task_id();
    money
        .accept(vec![new_task(&task, video(1))], DEADLINE)
        .await
        .expect("the last unit");
    let twice = money
        .accept(vec![new_task(&task, video(0))], DEADLINE)
        .await;
    assert_eq!(twice, Err(AcceptError::Exists(task)));
    let same: Vec<NewTask> = vec![new_task(&fresh_task_id(), video(0)); 2];
    let id = same[0].event.task.task_id.clone();
    assert_eq!(
        money.accept(same, DEADLINE).await,
        Err(AcceptError::Exists(id))
    );
    let many = fresh_tasks(topology::ACCEPT_TASKS_MAX + 1, video(0));
    assert!(matches!(
        money.accept(many, DEADLINE).await,
        Err(AcceptError::TooLarge(_))
    ));
    audit(&everything(&log).await);
}

#[tokio::test]
async fn account_limit_refuses_what_the_tenant_could_pay() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, with_account(100, 5)).await;
    let refused = money.accept(fresh_tasks(2, video(3)), DEADLINE).await;
    let Err(AcceptError::BudgetExceeded { owner, fits, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((owner, fits), (LedgerOwner::Account, 1));
}

#[tokio::test]
async fn same_commit_again_finds_its_own_success() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, MoneyRules::new(limits(10))).await;
    let task = new_task(&fresh_task_id(), video(6));
    let first = money
        .accept(vec![task.clone()], DEADLINE)
        .await
        .expect("accepted");
    // A retry after an answer that was lost, in this process and in another.
    let again = money.accept(vec![task.clone()], DEADLINE).await;
    let other = start(&log, MoneyRules::new(limits(10))).await;
    let elsewhere = other.accept(vec![task], DEADLINE).await;
    assert_eq!((again, elsewhere), (Ok(first.clone()), Ok(first)));
    assert_eq!(figures(&balance(&money, &key()).await), decimals(6, 0));
}

#[tokio::test]
async fn batch_of_three_hundred_with_both_ledgers_is_one_commit() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, with_account(1_000, 1_000)).await;
    let tasks = fresh_tasks(topology::ACCEPT_TASKS_MAX, video(3));
    let seqs = money.accept(tasks, DEADLINE).await.expect("accepted");
    assert_eq!(seqs.len(), topology::ACCEPT_TASKS_MAX);
    let messages = everything(&log).await;
    let batches: std::collections::HashSet<_> = messages
        .iter()
        .filter_map(Recorded::batch)
        .map(|(batch, _, _)| batch)
        .collect();
    assert_eq!(
        (batches.len(), messages.len()),
        (1, 904),
        "two openings, two alerts"
    );
    audit(&messages);
}

#[tokio::test]
async fn each_threshold_is_alerted_once_a_day() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let rules = MoneyRules {
        thresholds: vec![Decimal::new(5, 1), Decimal::new(8, 1)],
        ..MoneyRules::new(limits(10))
    };
    let money = start(&log, rules.clone()).await;
    let mut ids = Vec::new();
    for task in fresh_tasks(9, video(1)) {
        ids.push(task.event.task.task_id.clone());
        money.accept(vec![task], DEADLINE).await.expect("accepted");
    }
    // Below and above again, in another process.
    for id in &ids {
        let on = end(&log, id).await;
        money
            .settle(&on, billed(&on.task, &[]))
            .await
            .expect("settled");
    }
    let other = start(&log, rules).await;
    other
        .accept(fresh_tasks(10, video(1)), DEADLINE)
        .await
        .expect("accepted");
    let messages = everything(&log).await;
    let subject = topology::alert_subject(&key());
    let alerts: Vec<_> = messages
        .iter()
        .filter(|message| message.subject == subject)
        .map(|message| message.budget_alert().expect("an alert"))
        .map(|alert| (alert.threshold, alert.used))
        .collect();
    let expected = [(5, 5), (8, 8)];
    let expected = expected.map(|(share, used)| (Decimal::new(share, 1), Decimal::from(used)));
    assert_eq!(alerts, expected);
    audit(&messages);
}

/// Several writers stand for several processes: each has its own connection and memory.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_fits_is_accepted_by_all_writers_together() {
    const FITS: usize = 120;
    let node = Node::start();
    let nats = config(1);
    let mut writers = Vec::new();
    for _ in 0..3 {
        let (_broker, log) = open(&node.endpoint(), &nats).await;
        writers.push((start(&log, MoneyRules::new(limits(FITS as i64))).await, log));
    }
    let submitters = (0..240).map(|index| {
        let money = writers[index % writers.len()].0.clone();
        tokio::spawn(async move { money.accept(fresh_tasks(1, video(1)), DEADLINE).await })
    });
    let (mut accepted, mut refused) = (0, 0);
    for answer in futures::future::join_all(submitters).await {
        match answer.expect("no panic") {
            Ok(_) => accepted += 1,
            Err(AcceptError::BudgetExceeded { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((accepted, refused), (FITS, 240 - FITS));
    let messages = everything(&writers[0].1).await;
    assert_eq!(count(&messages, &key(), EntryKind::Hold), FITS);
    audit(&messages);
}

#[tokio::test]
async fn money_given_back_elsewhere_is_seen_before_refusing() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let (one, two) = (
        start(&log, MoneyRules::new(limits(1))).await,
        start(&log, MoneyRules::new(limits(1))).await,
    );
    let task = fresh_task_id();
    one.accept(vec![new_task(&task, video(1))], DEADLINE)
        .await
        .expect("accepted");
    let on = end(&log, &task).await;
    two.settle(&on, billed(&on.task, &[]))
        .await
        .expect("voided");
    one.accept(fresh_tasks(1, video(1)), DEADLINE)
        .await
        .expect("there is room again");
}

#[tokio::test]
async fn writer_stops_after_answering_what_waits() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let cancel = CancellationToken::new();
    let rules = MoneyRules::new(limits(100));
    let mut money = Money::start(log, rules, cancel.clone())
        .await
        .expect("a writer");
    let answers = (0..20).map(|_| money.accept(fresh_tasks(1, video(1)), DEADLINE));
    let answers = futures::future::join_all(answers);
    let (answers, ()) = tokio::join!(answers, async { cancel.cancel() });
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Ok(_) | Err(AcceptError::Unavailable)))
    );
    tokio::time::timeout(DEADLINE, money.stopped())
        .await
        .expect("stopped");
    let late = money.accept(fresh_tasks(1, video(1)), DEADLINE).await;
    assert_eq!(late, Err(AcceptError::Unavailable));
}
