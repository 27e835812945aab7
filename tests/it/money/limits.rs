//! Limits that a person changes.

use std::time::Duration;

use kling_relay::edge::nats::money::{AcceptError, LimitChange, MoneyRules};
use kling_relay::model::amount::Unit;
use kling_relay::model::ledger::{EntryKind, LedgerKey, LedgerOwner};
use rust_decimal::Decimal;

use super::{DEADLINE, balance, start};
use crate::broker::{Node, config, open};
use crate::kit::{audit, count, everything, fresh_tasks, key, limits, video};

fn limit(day: &str, limit: i64) -> LimitChange {
    let owner = LedgerOwner::Tenant(crate::kit::tenant());
    LimitChange {
        key: LedgerKey {
            owner,
            day: day.parse().expect("a date"),
        },
        unit: Unit::Video,
        limit: Decimal::from(limit),
        who: "ada".to_owned(),
        reason: "a launch".to_owned(),
    }
}

#[tokio::test]
async fn limit_changes_for_one_day_and_says_who_and_why() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, MoneyRules::new(limits(10))).await;
    let (today, tomorrow) = ("2026-11-21", "2026-11-22");
    let accept = async |amount| money.accept(fresh_tasks(1, video(amount)), DEADLINE).await;
    accept(8).await.expect("accepted, and alerted");
    // Below what is used: nothing more is accepted.
    money
        .set_limit(limit(today, 4), DEADLINE)
        .await
        .expect("set");
    let refused = accept(1).await;
    assert!(
        matches!(&refused, Err(AcceptError::BudgetExceeded { remaining, .. })
            if *remaining == [video(0)]),
        "{refused:?}"
    );
    money
        .set_limit(limit(today, 20), DEADLINE)
        .await
        .expect("set");
    accept(12).await.expect("it fits now");
    // A day that nobody has touched opens first.
    money
        .set_limit(limit(tomorrow, 30), DEADLINE)
        .await
        .expect("set");
    let other = start(&log, MoneyRules::new(limits(10))).await;
    let mut later = limit(tomorrow, 0).key;
    assert_eq!(balance(&other, &later).await.limit, Some(Decimal::from(30)));
    later.day = "2026-11-23".parse().expect("a date");
    assert_eq!(other.balance(&later).await.expect("a broker"), None);

    let messages = everything(&log).await;
    audit(&messages);
    let entries = messages
        .iter()
        .filter_map(|message| message.ledger_entry().ok());
    let changes: Vec<_> = entries
        .filter(|entry| entry.kind == EntryKind::Limit)
        .map(|entry| {
            let limit = entry.balance[&Unit::Video].limit.expect("a limit");
            (entry.day.to_string(), limit, entry.unit, entry.who)
        })
        .collect();
    let by_ada = |day: &str, limit: i64| {
        let ada = Some("ada".to_owned());
        (day.to_owned(), Decimal::from(limit), Some(Unit::Video), ada)
    };
    let opened = |day: &str| (day.to_owned(), Decimal::TEN, None, None);
    let expected = [
        opened(today),
        by_ada(today, 4),
        by_ada(today, 20),
        opened(tomorrow),
        by_ada(tomorrow, 30),
    ];
    assert_eq!(changes, expected);
    let alerts = messages
        .iter()
        .filter(|message| message.subject.ends_with(".alert"));
    assert_eq!(alerts.count(), 1, "the threshold was crossed once");
}

/// Answers that come too late are lost; what was stored is found again, and not written twice.
#[tokio::test]
async fn limit_whose_answer_is_lost_is_set_once() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let hasty = kling_relay::config::Nats {
        commit_timeout: Duration::from_micros(300),
        ..config(1)
    };
    let (_hasty, lossy) = open(&node.endpoint(), &hasty).await;
    let money = start(&lossy, MoneyRules::new(limits(10))).await;
    for n in 0..20 {
        let change = limit("2026-11-21", n);
        money.set_limit(change, DEADLINE).await.expect("set");
    }
    let messages = everything(&log).await;
    audit(&messages);
    assert_eq!(count(&messages, &key(), EntryKind::Limit), 21);
}
