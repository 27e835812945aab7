//! Callbacks as they really come: twice, late, early, odd, unsigned or not at all.

use std::time::Duration;

use kling_relay::model::task::Status;
use kling_relay::sim::{Forgery, ForgeryKind};
use kling_relay::telemetry;
use serde_json::Value;

use crate::process::counted;
use crate::world::{Expected, Options, World, legacy_video, video};

fn both(tags: &[&str]) -> Vec<Value> {
    let each = |tags: &&str| [video(tags), legacy_video(tags)];
    tags.iter().flat_map(each).collect()
}

/// A reconciler that looks after half a second of silence.
fn vigilant() -> Options {
    Options::default().service(|config| {
        config.reconciler.quiet_after = Duration::from_millis(500);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_callbacks_end_each_task_once_without_a_question() {
    let world = World::start(Options::default()).await;
    let ids = world
        .submit_all(&both(&[
            "callback=duplicate:3",
            "callback=duplicate-new-id:3",
            "callback=reorder",
            "callback=early",
            "callback=early-terminal",
            "callback=wrapped",
            "callback=nulls",
            "callback=submitted",
            "callback=early-terminal,callback=duplicate-new-id",
            "callback=early-terminal,callback=drop@processing",
        ]))
        .await;
    let ended = world.finished(&ids).await;
    assert!(ended.values().all(|task| task.status == Status::Succeeded));
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 0, "{:?}", stats.queries);
    assert_eq!(stats.creates.requests, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_that_are_lost_or_refused_are_made_good() {
    let world = World::start(vigilant()).await;
    let ids = world
        .submit_all(&both(&[
            "callback=drop",
            "callback=drop@terminal",
            "callback=truncate",
            "callback=stale",
            "callback=bad-signature",
        ]))
        .await;
    let ended = world.finished(&ids).await;
    assert!(ended.values().all(|task| task.status == Status::Succeeded));
    let stats = world.stop(Expected::default()).await;
    assert!(stats.queries.total() > 0);
    assert_eq!(stats.creates.requests, 10);
    let answers = &stats.callbacks.answers;
    let refused = answers.get("401").copied().unwrap_or(0);
    assert_eq!(refused, 8, "two of four tasks each: {answers:?}");
    let malformed = answers.get("400").copied().unwrap_or(0);
    assert_eq!(malformed, 4, "two of two tasks each: {answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_completion_is_confirmed_by_one_question() {
    let world = World::start(Options::default()).await;
    // An unsigned `processing` that is faster than the create's answer may ask as well.
    let tags = "callback=unsigned,callback=drop@processing";
    let ids = world.submit_all(&both(&[tags; 3])).await;
    let ended = world.finished(&ids).await;
    assert!(ended.values().all(|task| task.status == Status::Succeeded));
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 6, "one each: {:?}", stats.queries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_lags_behind_an_unsigned_end_is_asked_once_more() {
    let world = World::start(Options::default()).await;
    let id = world.submit(&video("stuck,callback=drop@terminal")).await;
    world.reaches(&id, Status::Processing).await;
    // The callback is ahead of what Kling shows, and nothing else will ever tell.
    let forgery = Forgery {
        kind: ForgeryKind::Unsigned,
        external_id: Some(id.to_string()),
        url: None,
        video_url: "https://localhost:1/nowhere.mp4".to_owned(),
    };
    let control = world.control();
    assert_eq!(control.forge(&forgery).await.unwrap(), "200");
    let asked = async || world.stats().queries.total() == 1;
    crate::broker::until("Kling is asked", Duration::from_secs(5), asked).await;
    assert!(control.finish(id.as_str()));
    let ended = world.finished(std::slice::from_ref(&id)).await;
    assert_eq!(ended[&id].status, Status::Succeeded);
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 2, "{:?}", stats.queries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_kling_drops_under_way_costs_a_question_a_task_and_raises_the_alarm() {
    let world = World::start(Options::default()).await;
    let ids = world.submit_all(&both(&["slow=3s"; 2])).await;
    for id in &ids {
        world.reaches(id, Status::Processing).await;
    }
    let admin = world.app.address("admin").unwrap();
    let alarms = async || counted(admin, telemetry::UNSIGNED_AFTER_SIGNED).await;
    let before = alarms().await;
    world.control().set_webhook_secrets(Vec::new()).unwrap();
    let ended = world.finished(&ids).await;
    assert!(ended.values().all(|task| task.status == Status::Succeeded));
    assert!(alarms().await >= before + 4.0, "no alarm");
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 4, "one each: {:?}", stats.queries);
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_held_back_and_released_out_of_order_settle_everything() {
    let world = World::start(Options::default().sim(|sim| sim.faults.hold_callbacks = true)).await;
    // No more than fit into the slots: nothing that is said frees one.
    let ids = world.submit_all(&both(&["", ""])).await;
    let held = async || world.stats().callbacks.held == 8;
    crate::broker::until("every callback is held", Duration::from_secs(20), held).await;
    world.control().release_callbacks(7);
    let ended = world.finished(&ids).await;
    assert!(ended.values().all(|task| task.status == Status::Succeeded));
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 0, "{:?}", stats.queries);
}
