//! Corrections of settled deductions.

use std::time::Duration;

use kling_relay::edge::nats::log::Log;
use kling_relay::edge::nats::money::{Adjustment, Money, MoneyRules};
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::answer::Adjusted;
use kling_relay::model::ids::TaskId;
use kling_relay::model::ledger::EntryKind;
use kling_relay::model::operator::AdjustChange;
use rust_decimal::Decimal;

use super::{DEADLINE, balance, decimals, figures, start, with_account};
use crate::broker::{Node, config, open};
use crate::kit::{
    account_key, audit, billed, count, day, end, everything, fresh_tasks, key, limits, tenant,
    video,
};

fn change(task_id: &TaskId, unit: Unit, from: i64, to: i64) -> AdjustChange {
    AdjustChange {
        task_id: task_id.clone(),
        unit,
        from: Decimal::from(from),
        to: Decimal::from(to),
    }
}

fn wish(changes: Vec<AdjustChange>) -> Adjustment {
    Adjustment {
        tenant: tenant(),
        day: day(),
        changes,
        who: "ada".to_owned(),
        reason: "Kling's records".to_owned(),
    }
}

async fn adjust(money: &Money, changes: Vec<AdjustChange>) -> Adjusted {
    money
        .adjust(wish(changes), DEADLINE)
        .await
        .expect("an answer")
}

/// Accepts and settles tasks of 5 units each.
async fn settled(log: &Log, money: &Money, count: usize) -> Vec<TaskId> {
    let tasks = fresh_tasks(count, video(5));
    let ids: Vec<_> = tasks.iter().map(|t| t.event.task.task_id.clone()).collect();
    money.accept(tasks, DEADLINE).await.expect("accepted");
    for id in &ids {
        let on = end(log, id).await;
        let closing = billed(&on.task, &[video(5)]);
        money.settle(&on, closing).await.expect("settled");
    }
    ids
}

#[tokio::test]
async fn correction_stands_in_both_ledgers_and_only_once() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, with_account(100, 100)).await;
    let ids = settled(&log, &money, 3).await;
    let open = fresh_tasks(1, video(5));
    let open_id = open[0].event.task.task_id.clone();
    money.accept(open, DEADLINE).await.expect("accepted");
    // One goes up, one turns into cash, one was something else already, one is not settled.
    let changes = vec![
        change(&ids[0], Unit::Video, 5, 7),
        change(&ids[1], Unit::Video, 5, 0),
        change(&ids[1], Unit::Usd, 0, 1),
        change(&ids[2], Unit::Video, 6, 7),
        change(&open_id, Unit::Video, 0, 5),
    ];
    let first = adjust(&money, changes.clone()).await;
    let mut moved_on = vec![ids[2].clone(), open_id];
    moved_on.sort();
    let expected = |posted, already| Adjusted {
        posted,
        already,
        moved_on: moved_on.clone(),
    };
    assert_eq!(first, expected(2, 0));
    // The same again, also from another process, is nothing.
    let other = start(&log, with_account(100, 100)).await;
    for money in [&money, &other] {
        assert_eq!(adjust(money, changes.clone()).await, expected(0, 2));
    }
    for key in [key(), account_key()] {
        assert_eq!(figures(&balance(&money, &key).await), decimals(5, 12));
        let balance = money.balance(&key).await.expect("a broker").expect("a day");
        assert_eq!(balance[&Unit::Usd].deducted, Decimal::ONE);
    }
    let messages = everything(&log).await;
    audit(&messages);
    let entries = messages
        .iter()
        .filter_map(|message| message.ledger_entry().ok());
    let entries: Vec<_> = entries
        .filter(|entry| entry.kind == EntryKind::Adjustment)
        .collect();
    assert_eq!(entries.len(), 6);
    for entry in entries {
        assert_eq!(entry.who.as_deref(), Some("ada"));
        assert_eq!(entry.reason.as_deref(), Some("Kling's records"));
        assert_eq!(entry.model.as_deref(), Some("kling-v2-6"));
        assert!(entry.held_change.is_zero() && entry.outcome.is_none());
    }
}

#[tokio::test]
async fn two_operators_at_once_correct_once() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let rules = || MoneyRules::new(limits(1_000));
    let writers = [start(&log, rules()).await, start(&log, rules()).await];
    let ids = settled(&log, &writers[0], 20).await;
    // Others go on with their money meanwhile.
    let busy = async {
        for _ in 0..20 {
            let accepted = writers[0].accept(fresh_tasks(1, video(5)), DEADLINE).await;
            accepted.expect("accepted");
        }
    };
    let wanted = ids.chunks(5).map(|ids| {
        let changes = ids.iter().map(|id| change(id, Unit::Video, 5, 6));
        changes.collect::<Vec<_>>()
    });
    let wanted: Vec<_> = wanted.collect();
    let both = writers.iter().flat_map(|money| {
        let wanted = wanted.clone().into_iter();
        wanted.map(move |changes| adjust(money, changes))
    });
    let (answers, ()) = tokio::join!(futures::future::join_all(both), busy);
    let sum = |of: fn(&Adjusted) -> u64| answers.iter().map(of).sum::<u64>();
    assert_eq!(
        (sum(|a| a.posted), sum(|a| a.already)),
        (20, 20),
        "{answers:?}"
    );
    assert!(answers.iter().all(|answer| answer.moved_on.is_empty()));
    let messages = everything(&log).await;
    audit(&messages);
    assert_eq!(count(&messages, &key(), EntryKind::Adjustment), 20);
    let figures = figures(&balance(&writers[0], &key()).await);
    assert_eq!(figures, decimals(100, 120));
}

/// Answers that come too late are lost; what was stored is found again, and not written twice.
#[tokio::test]
async fn correction_whose_answer_is_lost_is_made_once() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let hasty = kling_relay::config::Nats {
        commit_timeout: Duration::from_micros(300),
        ..config(1)
    };
    let (_hasty, lossy) = open(&node.endpoint(), &hasty).await;
    let calm = start(&log, MoneyRules::new(limits(100))).await;
    let ids = settled(&log, &calm, 1).await;
    let money = start(&lossy, MoneyRules::new(limits(100))).await;
    for n in 5..25 {
        let answer = adjust(&money, vec![change(&ids[0], Unit::Video, n, n + 1)]).await;
        assert_eq!(
            (answer.posted, answer.already),
            (1, 0),
            "at {n}: {answer:?}"
        );
    }
    let messages = everything(&log).await;
    audit(&messages);
    assert_eq!(count(&messages, &key(), EntryKind::Adjustment), 20);
    assert_eq!(figures(&balance(&money, &key()).await), decimals(0, 25));
}

/// What a person corrects may cross a threshold like anything else.
#[tokio::test]
async fn correction_alerts_once() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, MoneyRules::new(limits(10))).await;
    let ids = settled(&log, &money, 1).await;
    let video = |from, to| vec![change(&ids[0], Unit::Video, from, to)];
    for (from, to) in [(5, 9), (9, 0), (0, 30)] {
        assert_eq!(adjust(&money, video(from, to)).await.posted, 1);
    }
    let messages = everything(&log).await;
    audit(&messages);
    let alerts = messages.iter().filter(|m| m.subject.ends_with(".alert"));
    assert_eq!(alerts.count(), 1);
    let left = Amount::new(Decimal::from(30), Unit::Video);
    assert_eq!(balance(&money, &key()).await.deducted, left.amount);
}
