//! Failed tasks tried again as new ones: which, how often, and with whose money.

use std::collections::BTreeMap;
use std::time::Duration;

use kling_relay::config::LimitSetting;
use kling_relay::decide::again::retry_id;
use kling_relay::model::ids::TaskId;
use kling_relay::model::task::{Status, Task};
use kling_relay::sim::faults::ScriptedFault;
use rust_decimal::Decimal;

use crate::broker::until;
use crate::world::{DEADLINE, Expected, Options, World, legacy_video, video};

fn policy(generation_max: u32) -> Options {
    Options::default().service(move |config| {
        config.retry.generation_max = generation_max;
        config.retry.backoff_base = Duration::from_millis(20);
    })
}

/// Waits for the retry of a task, and for its end.
async fn retry_of(world: &World, parent: &TaskId) -> Task {
    let id = retry_id(&world.task(parent).await);
    until("the failed task is tried again", DEADLINE, async || {
        let loaded = world.app.log().load(&id).await;
        loaded.is_ok_and(|loaded| loaded.is_some())
    })
    .await;
    world.note(&id.as_str().into());
    world
        .finished(std::slice::from_ref(&id))
        .await
        .remove(&id)
        .expect("it ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_generation_is_tried_again_with_its_own_hold() {
    let options = policy(2).sim(|sim| {
        for create in [1, 2] {
            let tags = "fail=input".to_owned();
            sim.faults.script.push(ScriptedFault { create, tags });
        }
    });
    let world = World::start(options).await;
    let first = world.submit(&video("")).await;
    let second = retry_of(&world, &first).await;
    assert_eq!((second.status, second.relay.retries), (Status::Failed, 1));
    let third = retry_of(&world, &second.task_id).await;
    assert_eq!((third.status, third.relay.retries), (Status::Succeeded, 2));
    assert_eq!(third.retry_of.as_ref(), Some(&second.task_id));
    assert_eq!(third.labels, second.labels);
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 0, "{:?}", stats.queries);
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_input_and_the_last_try_are_never_tried_again() {
    let world = World::start(policy(1)).await;
    let requests = [
        video("fail=moderation"),
        legacy_video("fail=size"),
        // Words that nobody knows: a policy may stand behind them.
        video("fail"),
        video("fail=input"),
    ];
    let ids = world.submit_all(&requests).await;
    world.finished(&ids).await;
    let last = retry_of(&world, &ids[3]).await;
    assert_eq!(last.status, Status::Failed);
    // Everything is drained when the world stops, and its laws count the creates.
    world.stop(Expected::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_money_there_is_no_retry() {
    // The first task's own bill leaves nothing.
    let options = policy(1).sim(|sim| {
        let tags = "fail=input,billing=amount:9".to_owned();
        sim.faults.script.push(ScriptedFault { create: 1, tags });
    });
    let options = options.service(|config| {
        config.retry.generation_max = 1;
        config.retry.backoff_base = Duration::from_millis(20);
        let limit = BTreeMap::from([("video-unit".to_owned(), Decimal::from(2))]);
        config.budget.daily_limit = Some(LimitSetting::ByUnit(limit));
    });
    let world = World::start(options).await;
    let id = world.submit(&video("")).await;
    let ended = world.finished(std::slice::from_ref(&id)).await;
    assert_eq!(ended[&id].status, Status::Failed);
    world.stop(Expected::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_off_by_default() {
    let world = World::start(Options::default()).await;
    let id = world.submit(&video("fail=input")).await;
    world.finished(std::slice::from_ref(&id)).await;
    world.stop(Expected::default()).await;
}
