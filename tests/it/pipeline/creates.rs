//! Creates whose outcome nobody knows, and creates that Kling refuses.

use std::time::{Duration, Instant};

use kling_relay::model::task::Status;
use rust_decimal::Decimal;
use serde_json::json;

use crate::broker::until;
use crate::world::{Expected, Options, World, legacy_video, video};

#[tokio::test(flavor = "multi_thread")]
async fn a_create_with_an_unknown_outcome_makes_one_task() {
    let options = Options::default().service(|config| {
        config.kling.connect_timeout = Duration::from_millis(1_500);
        config.kling.request_timeout = Duration::from_millis(1_500);
    });
    let world = World::start(options).await;
    let faults = [
        "create=504-after",
        "create=504-before",
        "create=500",
        "create=503-before",
        "create=reset",
        "create=reset-before",
        "create=garbage",
        "create=garbage-before",
        "create=badgateway",
        "create=timeout",
        "create=timeout-before",
        "create=504-after,lookup=lag:150ms",
        "create=5000x1",
        "create=504-beforex3",
        "create=504-after,callback=early-terminal",
        "create=504-after,lookup=5000x1",
    ];
    let requests: Vec<_> = faults
        .iter()
        .flat_map(|tags| [video(tags), legacy_video(tags)])
        .collect();
    let ids = world.submit_all(&requests).await;
    let ended = world.finished(&ids).await;
    for task in ended.values() {
        assert_eq!(task.status, Status::Succeeded, "{task:#?}");
    }
    let stats = world.stop(Expected::default()).await;
    assert_eq!(
        stats.creates.accepted,
        ids.len() as u64,
        "{:?}",
        stats.creates
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_kling_shows_late_is_not_made_twice() {
    let options = Options::default().service(|config| {
        config.kling.connect_timeout = Duration::from_millis(1_500);
        config.kling.request_timeout = Duration::from_millis(1_500);
    });
    let world = World::start(options).await;
    // Invisible for longer than the look-ups wait, and silent: the second create meets the first.
    let tags = "create=reset,lookup=lag:1500ms,slow=4s,callback=drop@processing";
    let ids = world.submit_all(&[video(tags), legacy_video(tags)]).await;
    let ended = world.finished(&ids).await;
    assert!(
        ended.values().all(|task| task.status == Status::Succeeded),
        "{ended:#?}"
    );
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.accepted, 2);
    assert!(
        stats.creates.duplicate_external_ids >= 2,
        "{:?}",
        stats.creates
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_that_must_wait_are_tried_until_kling_takes_them() {
    let world = World::start(Options::default()).await;
    let faults = [
        "create=1303x3",
        "create=1302x2",
        "create=1303x1,create=504-after",
    ];
    let requests: Vec<_> = faults
        .iter()
        .flat_map(|tags| [video(tags), legacy_video(tags)])
        .collect();
    let ids = world.submit_all(&requests).await;
    let ended = world.finished(&ids).await;
    assert!(
        ended.values().all(|task| task.status == Status::Succeeded),
        "{ended:#?}"
    );
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.accepted, 6);
    assert_eq!(
        stats.creates.refused_by_code["1303"], 8,
        "{:?}",
        stats.creates
    );
    assert_eq!(stats.creates.refused_by_code["1302"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_ever_fails_the_task_and_frees_its_money() {
    let world = World::start(Options::default()).await;
    let ids = world
        .submit_all(&[
            video("create=1300"),
            legacy_video("create=1301"),
            video("create=1201"),
        ])
        .await;
    let ended = world.finished(&ids).await;
    for task in ended.values() {
        assert_eq!(task.status, Status::Failed, "{task:#?}");
        let nothing = task
            .deduction
            .iter()
            .all(|amount| amount.amount == Decimal::ZERO);
        assert!(nothing && task.kling_task_id.is_none(), "{task:#?}");
    }
    let error = ended[&ids[0]].error.as_ref().unwrap();
    assert_eq!(error.code, "kling-1300");
    let balance = world.balance(&ended[&ids[0]]).await;
    assert!(
        balance
            .values()
            .all(|unit| unit.held.is_zero() && unit.deducted.is_zero())
    );
    let stats = world.stop(Expected::default()).await;
    assert_eq!((stats.creates.requests, stats.creates.accepted), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_pack_stops_its_own_creates_and_no_others() {
    let world = World::start(Options::default()).await;
    let control = world.control();
    control.set_units("video", Decimal::ZERO);
    let videos: Vec<_> = (0..20).map(|_| video("")).collect();
    let waiting = world.submit_all(&videos).await;
    let refused = async || world.stats().creates.refused_by_code.contains_key("1102");
    until("the pack is found empty", Duration::from_secs(20), refused).await;
    let image = json!({ "product": "image-generation", "model": "kling-v3", "prompt": "A chair" });
    let images = world.submit_all(&[image.clone(), image]).await;
    let ended = world.finished(&images).await;
    assert!(ended.values().all(|task| task.status == Status::Succeeded));
    // Once what was under way at the first refusal is over, one is tried in each half second.
    let refusals = async || world.stats().creates.refused_by_code["1102"];
    let (first, started) = (refusals().await.max(5), Instant::now());
    let more = async || refusals().await >= first + 4;
    until("it is tried again and again", Duration::from_secs(30), more).await;
    let took = started.elapsed();
    assert!(
        took >= Duration::from_millis(1_500),
        "four tries in {took:?}"
    );
    control.set_units("video", Decimal::from(1_000));
    let ended = world.finished(&waiting).await;
    assert!(
        ended.values().all(|task| task.status == Status::Succeeded),
        "{ended:#?}"
    );
    world.stop(Expected::default()).await;
}
