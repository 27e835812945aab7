//! Many tasks that stand at the platform, made without asking it for each callback.

use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kling_relay::decide::dispatch;
use kling_relay::edge::nats::log::{Committed, Log};
use kling_relay::edge::nats::money::{Money, MoneyRules};
use kling_relay::model::ids::{KlingTaskId, TaskId};
use tokio_util::sync::CancellationToken;

use crate::kit::{fresh_task_id, limits, new_task, video};

/// Tasks of one commit.
const BATCH: usize = 200;

/// Accepts tasks that hold 3 video units each, through the money writer.
pub(super) async fn accept(log: &Log, count: usize, now: Timestamp) -> Vec<TaskId> {
    let rules = MoneyRules::new(limits(10_000_000));
    let money = Money::start(log.clone(), rules, CancellationToken::new()).await;
    let money = money.expect("a writer");
    let mut ids = Vec::with_capacity(count);
    while ids.len() < count {
        let tasks = (0..BATCH.min(count - ids.len())).map(|_| {
            let mut task = new_task(&fresh_task_id(), video(3));
            let relay = &mut task.event.task.relay;
            (relay.requested_at, relay.changed_at) = (now, now);
            relay.expires_at = now + SignedDuration::from_hours(24);
            task.event.task.occurred_at = now;
            task
        });
        let tasks: Vec<_> = tasks.collect();
        ids.extend(tasks.iter().map(|task| task.event.task.task_id.clone()));
        let accepted = money.accept(tasks, Duration::from_secs(30)).await;
        accepted.expect("accepted");
    }
    ids
}

/// Commits `submitted` for each, as a dispatcher does that has just heard from Kling.
pub(super) async fn submit(log: &Log, tasks: Vec<(TaskId, KlingTaskId)>, now: Timestamp) {
    futures::stream::iter(tasks)
        .for_each_concurrent(32, async |(id, kling_id)| {
            let on = log.load(&id).await.expect("a broker").expect("a task");
            let event = dispatch::submitted(&on.task, kling_id, now);
            let committed = log.commit(&on, event).await.expect("a broker");
            assert!(matches!(committed, Committed::Stored { .. }));
        })
        .await;
}
