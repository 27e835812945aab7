//! What others write: another request with the same key.

use kling_relay::edge::nats::money::{AcceptError, MoneyRules};

use super::{DEADLINE, start};
use crate::broker::{Node, config, open};
use crate::kit::{fresh_task_id, fresh_tasks, limits, new_task, video};

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
