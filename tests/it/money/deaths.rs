//! A writer that dies is followed by another.

use kling_relay::edge::nats::money::{AcceptError, LimitChange, MoneyRules};
use kling_relay::model::amount::{Amount, Unit};
use rust_decimal::Decimal;

use super::{DEADLINE, balance, decimals, figures, start, with_account};
use crate::broker::{Node, config, open, until};
use crate::kit::{account_key, audit, everything, fresh_tasks, key, limits, video};

#[tokio::test]
async fn another_writer_takes_what_comes_after_the_death_of_one() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, with_account(100, 100)).await;
    money
        .accept(fresh_tasks(1, video(2)), DEADLINE)
        .await
        .expect("accepted");
    // More than a decimal holds; no door lets such figures in.
    let most = Amount::new(Decimal::MAX, Unit::Video);
    let mut tasks = fresh_tasks(2, most);
    for task in &mut tasks {
        task.event.task.relay.rebuilt = true;
    }
    let died = money.accept(tasks, DEADLINE).await;
    assert_eq!(died, Err(AcceptError::Unavailable));
    until("it is down", DEADLINE, async || !money.is_running()).await;
    money
        .accept(fresh_tasks(1, video(3)), DEADLINE)
        .await
        .expect("accepted");
    assert!(money.is_running());
    for key in [key(), account_key()] {
        assert_eq!(figures(&balance(&money, &key).await), decimals(5, 0));
    }
    audit(&everything(&log).await);
}

/// A limit of which what is used is a larger share than a decimal holds may stand in the ledger of
/// an earlier version.
#[tokio::test]
async fn tiny_limit_kills_nobody() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, MoneyRules::new(limits(10))).await;
    money
        .accept(fresh_tasks(1, video(8)), DEADLINE)
        .await
        .expect("accepted");
    let change = LimitChange {
        key: key(),
        unit: Unit::Video,
        limit: Decimal::new(1, 28),
        who: "ada".to_owned(),
        reason: "a slip".to_owned(),
    };
    money.set_limit(change, DEADLINE).await.expect("set");
    let refused = money.accept(fresh_tasks(1, video(1)), DEADLINE).await;
    assert!(
        matches!(refused, Err(AcceptError::BudgetExceeded { .. })),
        "{refused:?}"
    );
    assert!(money.is_running());
}
