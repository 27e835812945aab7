//! What others write: another request with the same key, and a newer version of us.

use std::time::Duration;

use kling_relay::edge::nats::Broker;
use kling_relay::edge::nats::log::{Log, LogError};
use kling_relay::edge::nats::money::{AcceptError, MoneyRules};
use kling_relay::edge::nats::record::Recorded;
use kling_relay::edge::nats::topology;
use kling_relay::model::ids::{TaskId, Tenant};
use serde_json::{Value, json};

use super::{DEADLINE, balance, decimals, figures, start};
use crate::broker::{Node, config, open};
use crate::kit::{
    billed, end, everything, fresh_task_id, fresh_tasks, key, limits, new_task, video,
};

/// Two requests with one idempotency key at once: the second has not seen the first, whose task
/// has taken the last of the budget.
#[tokio::test]
async fn what_exists_already_is_not_over_budget() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, MoneyRules::new(limits(10))).await;
    let other = start(&log, MoneyRules::new(limits(10))).await;
    let id = fresh_task_id();
    let first = vec![new_task(&id, video(6))];
    money.accept(first, DEADLINE).await.expect("accepted");
    for writer in [&money, &other] {
        let mut second = vec![new_task(&id, video(6))];
        let exists = writer.accept(second.clone(), DEADLINE).await;
        assert_eq!(exists, Err(AcceptError::Exists(id.clone())));
        second.extend(fresh_tasks(1, video(6)));
        let exists = writer.accept(second, DEADLINE).await;
        assert_eq!(exists, Err(AcceptError::Exists(id.clone())));
    }
    let over = money.accept(fresh_tasks(1, video(6)), DEADLINE).await;
    assert!(
        matches!(over, Err(AcceptError::BudgetExceeded { .. })),
        "{over:?}"
    );
}

/// Writes another last entry of the ledger of `acme`, made of the one that is there.
async fn write(broker: &Broker, log: &Log, change: impl Fn(&mut Value)) {
    let messages = everything(log).await;
    let of_key = |message: &&Recorded| message.ledger_key() == Some(key());
    let last = messages.iter().rfind(of_key).expect("an entry");
    let mut entry: Value = serde_json::from_slice(&last.payload).expect("JSON");
    change(&mut entry);
    let subject = topology::ledger_subject(&key());
    let stored = broker.client().request(subject, entry.to_string().into());
    let answer = stored.await.expect("an answer").payload;
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert!(answer["seq"].is_u64(), "{answer}");
}

#[tokio::test]
async fn kinds_and_products_of_a_newer_version_leave_the_balance_readable() {
    let node = Node::start();
    let (broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, MoneyRules::new(limits(10))).await;
    let accept = async |amount| money.accept(fresh_tasks(1, video(amount)), DEADLINE).await;
    accept(2).await.expect("accepted");
    write(&broker, &log, |entry| {
        entry["kind"] = json!("bonus");
        entry["product"] = json!("text-to-hologram");
        entry["balance"]["video-unit"]["held"] = json!("4");
    })
    .await;
    accept(3).await.expect("accepted");
    assert_eq!(figures(&balance(&money, &key()).await), decimals(7, 0));
    assert!(accept(4).await.is_err(), "what it holds counts");
}

/// A balance in a unit that we do not know must not be written on: that money would vanish. It is
/// its own ledger's trouble, and nobody else's.
#[tokio::test]
async fn unreadable_ledger_holds_up_nobody_else() {
    let node = Node::start();
    let (broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, MoneyRules::new(limits(10))).await;
    let open_task = fresh_task_id();
    let first = vec![new_task(&open_task, video(2))];
    money.accept(first, DEADLINE).await.expect("accepted");
    write(&broker, &log, |entry| {
        let figures = entry["balance"]["video-unit"].clone();
        entry["balance"]["hologram-unit"] = figures;
    })
    .await;
    let tenant = Tenant::parse("other").expect("a tenant name");
    let theirs = |n: usize| TaskId::derived(&tenant, "test", &n.to_string());
    let on = end(&log, &open_task).await;
    // Those who remember the balance as it was, and those who do not.
    let fresh = start(&log, MoneyRules::new(limits(10))).await;
    for (n, money) in [&money, &fresh].into_iter().enumerate() {
        let theirs = vec![new_task(&theirs(n), video(1))];
        let soon = Duration::from_secs(5);
        let (ours, theirs, settled) = tokio::join!(
            money.accept(fresh_tasks(1, video(1)), soon),
            money.accept(theirs, soon),
            money.settle(&on, billed(&on.task, &[video(2)])),
        );
        assert_eq!(ours, Err(AcceptError::Unreadable(key())));
        theirs.expect("accepted");
        let refused = matches!(settled, Err(LogError::Misconfigured { .. }));
        assert!(refused, "{settled:?}");
    }
}
