//! Many settlements in one commit, whose tasks have all moved on since.

use std::time::{Duration, Instant};

use kling_relay::edge::nats::log::Committed;
use kling_relay::edge::nats::money::MoneyRules;
use kling_relay::model::event::{EventKind, NewEvent};
use kling_relay::model::ids::TaskId;

use super::{DEADLINE, start};
use crate::broker::{Node, config, open};
use crate::kit::{audit, billed, end, everything, fresh_tasks, limits, video};

#[tokio::test]
async fn settlements_whose_tasks_have_all_moved_are_told_at_once() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, MoneyRules::new(limits(1_000))).await;
    let tasks = fresh_tasks(60, video(1));
    let ids: Vec<TaskId> = tasks
        .iter()
        .map(|task| task.event.task.task_id.clone())
        .collect();
    money.accept(tasks, DEADLINE).await.expect("accepted");
    let mut stale = Vec::new();
    for id in &ids {
        let on = end(&log, id).await;
        // As `stored` does, which comes at the same moment.
        let moved = NewEvent::plain(EventKind::Stored, 1, on.task.clone());
        log.commit(&on, moved).await.expect("stored");
        stale.push(on);
    }
    let started = Instant::now();
    let settle = stale
        .iter()
        .map(|on| money.settle(on, billed(&on.task, &[])));
    for answer in futures::future::join_all(settle).await {
        assert!(matches!(answer, Ok(Committed::MovedOn)), "{answer:?}");
    }
    let took = started.elapsed();
    assert!(
        took < Duration::from_secs(2),
        "one after the other: {took:?}"
    );
    audit(&everything(&log).await);
}
