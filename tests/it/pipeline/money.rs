//! What a task cost, whoever says so, and what is never spent.

use std::collections::BTreeMap;

use kling_relay::config::LimitSetting;
use kling_relay::edge::nats::topology;
use kling_relay::model::amount::Unit;
use kling_relay::model::task::Status;
use rust_decimal::Decimal;

use crate::world::{Expected, Options, World, legacy_video, video};

fn limited(video_units: Decimal) -> Options {
    Options::default().service(move |config| {
        let limit = BTreeMap::from([("video-unit".to_owned(), video_units)]);
        config.budget.daily_limit = Some(LimitSetting::ByUnit(limit));
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_moderation_ends_costs_nothing() {
    let world = World::start(Options::default()).await;
    let requests = [video("fail=moderation"), legacy_video("fail=moderation")];
    let ids = world.submit_all(&requests).await;
    for (_, task) in world.finished(&ids).await {
        assert_eq!(task.status, Status::Failed);
        let error = task.error.as_ref().unwrap();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("moderation", false)
        );
        assert!(
            task.deduction.iter().all(|amount| amount.amount.is_zero()),
            "{task:#?}"
        );
    }
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 0, "{:?}", stats.queries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_above_the_hold_is_paid_and_recorded() {
    let world = World::start(Options::default()).await;
    let ids = world
        .submit_all(&[video("billing=over:2.5"), legacy_video("billing=over:2.5")])
        .await;
    for (_, task) in world.finished(&ids).await {
        let over: Vec<Decimal> = task.overrun.iter().map(|amount| amount.amount).collect();
        assert_eq!(over, [Decimal::new(25, 1)], "{task:#?}");
        let taken = task.deduction[0].amount;
        assert_eq!(taken, task.estimate.amount + Decimal::new(25, 1));
    }
    world.stop(Expected::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bill_costs_one_question_and_is_assumed_if_there_is_none() {
    let world = World::start(Options::default()).await;
    let requests = ["billing=none", "billing=never"].map(|tags| [video(tags), legacy_video(tags)]);
    let ids = world.submit_all(&requests.concat()).await;
    let ended = world.finished(&ids).await;
    for (place, id) in ids.iter().enumerate() {
        let task = &ended[id];
        assert_eq!(task.status, Status::Succeeded);
        assert_eq!(task.billing.is_some(), place < 2, "{task:#?}");
        assert_eq!(task.deduction[0].amount, task.estimate.amount, "{task:#?}");
    }
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 4, "one each: {:?}", stats.queries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_refuses_exactly_above_and_warns_once() {
    // The price is asked first, so that the limit is a whole number of tasks.
    let world = World::start(Options::default()).await;
    let body = serde_json::json!({ "tasks": [video("")] });
    let (status, estimate) = world.post("acme", "/v1/estimates", &body, None).await;
    assert_eq!(status, 200, "{estimate}");
    let price = estimate["estimates"][0]["amount"].as_str().unwrap();
    let price: Decimal = price.parse().unwrap();
    world.stop(Expected::default()).await;

    let world = World::start(limited(price * Decimal::from(10))).await;
    let tries = futures::future::join_all(
        (0..30).map(|_| async { world.post("acme", "/v1/tasks", &video(""), None).await }),
    );
    let (taken, refused): (Vec<_>, Vec<_>) = tries
        .await
        .into_iter()
        .partition(|(status, _)| *status == 202);
    assert_eq!(taken.len(), 10, "{refused:?}");
    assert!(
        refused.iter().all(|(status, _)| *status == 402),
        "{refused:?}"
    );
    let (_, problem) = &refused[0];
    assert_eq!(problem["code"], "budget-exceeded", "{problem}");
    let ids: Vec<_> = taken
        .iter()
        .map(|(_, body)| world.note(&body["task_id"]))
        .collect();
    let ended = world.finished(&ids).await;
    let balance = world.balance(&ended[&ids[0]]).await;
    let video_units = &balance[&Unit::Video];
    assert_eq!(video_units.deducted, price * Decimal::from(10));
    assert_eq!(video_units.alerted, [Decimal::new(8, 1)]);
    assert_eq!(world.count(topology::BUDGET_ALERTS).await, 1, "one alert");
    world.stop(Expected::default()).await;
}
