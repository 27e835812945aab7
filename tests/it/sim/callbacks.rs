//! How callbacks are signed, sent, lost and forged.

use axum::http::{HeaderMap, StatusCode};
use kling_relay::sim::FaultPlan;
use kling_relay::sim::config::Pause;
use serde_json::json;
use standardwebhooks::Webhook;
use std::time::Duration;

use super::{Received, SECRET, World, quick, until};

const OTHER: &str = "whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlIGFjY291bnQ=";

/// What the vendor's recommended library thinks of a callback.
pub(super) fn verifies(secret: &str, callback: &Received) -> bool {
    let headers: HeaderMap = callback.headers.clone();
    Webhook::new(secret)
        .unwrap()
        .verify(&callback.body, &headers)
        .is_ok()
}

#[tokio::test]
async fn the_vendors_library_accepts_every_signature() {
    let world = World::start().await;
    world.create("new", "").await;
    world.legacy_create("old", "").await;
    for name in ["new", "old"] {
        for callback in world.called_back(name, 2).await {
            assert!(verifies(SECRET, &callback));
            assert!(!verifies(OTHER, &callback));
            let id = callback.header("webhook-id").unwrap();
            assert!(id.bytes().all(|byte| byte.is_ascii_digit()));
        }
    }
}

#[tokio::test]
async fn a_rotation_signs_with_both_secrets_and_none_with_none() {
    let world = World::start().await;
    world
        .control
        .rotate_webhook_secret(OTHER.to_owned())
        .unwrap();
    world.create("both", "").await;
    let callback = &world.called_back("both", 1).await[0];
    assert_eq!(
        callback
            .header("webhook-signature")
            .unwrap()
            .split(' ')
            .count(),
        2
    );
    assert!(verifies(SECRET, callback) && verifies(OTHER, callback));

    world.control.set_webhook_secrets(Vec::new()).unwrap();
    world.create("none", "").await;
    let callback = &world.called_back("none", 1).await[0];
    assert!(callback.header("webhook-signature").is_none());
    assert!(callback.header("webhook-id").is_none());
    assert!(
        world
            .control
            .set_webhook_secrets(vec!["plain".to_owned()])
            .is_err()
    );
}

#[tokio::test]
async fn headers_are_those_that_were_seen() {
    let world = World::start().await;
    world.create("headers", "").await;
    let callback = &world.called_back("headers", 1).await[0];
    for (name, value) in [
        ("content-type", "application/json; charset=utf-8"),
        (
            "user-agent",
            "Apache-HttpClient/4.5.13 (Java/11.0.14-internal)",
        ),
        ("accept-encoding", "gzip,deflate"),
        ("connection", "Keep-Alive"),
    ] {
        assert_eq!(callback.header(name), Some(value));
    }
    assert_eq!(
        callback.header("content-length"),
        Some(callback.body.len().to_string().as_str())
    );
}

#[tokio::test]
async fn the_test_button_sends_an_unknown_submitted_task() {
    let world = World::start().await;
    let answer = world
        .control
        .test_callback(&format!("{}/test", world.receiver_url))
        .await;
    assert_eq!(answer, "200");
    let callback = &world.receiver.of("test")[0];
    assert!(verifies(SECRET, callback));
    let body = callback.json();
    assert_eq!(
        (body["status"].as_str(), &body["outputs"]),
        (Some("submitted"), &json!([]))
    );
    assert!(body.get("billing").is_none());
    let target = json!({ "url": format!("{}/test", world.receiver_url) });
    assert_eq!(
        world.post("/_sim/test-callback", &target).await.1["answer"],
        "200"
    );
    assert_eq!(world.control.stats().callbacks.tests["200"], 2);
}

#[tokio::test]
async fn an_https_receiver_needs_a_trusted_root() {
    // Another simulator stands in for the receiver: it answers 404, over TLS.
    let receiver = World::start().await;
    let url = format!("{}/callbacks", receiver.sim.base_url());
    let stranger = World::start().await;
    assert_eq!(stranger.control.test_callback(&url).await, "error");
    let mut config = quick();
    config.callback_ca_pem = Some(receiver.sim.ca_pem().to_owned());
    let friend = World::with(config).await;
    assert_eq!(friend.control.test_callback(&url).await, "404");
}

#[tokio::test]
async fn callback_tags_do_what_they_say() {
    let world = World::start().await;
    for (tags, statuses) in [
        ("callback=drop", &[][..]),
        ("callback=drop@terminal", &["processing"]),
        ("callback=drop@processing", &["succeeded"]),
        (
            "callback=submitted",
            &["submitted", "processing", "succeeded"],
        ),
        ("callback=reorder", &["succeeded", "processing"]),
        ("callback=reorder,callback=drop@terminal", &["processing"]),
        (
            "callback=duplicate:3@terminal",
            &["processing", "succeeded", "succeeded", "succeeded"],
        ),
    ] {
        let name = tags.replace(['=', ',', '@', ':'], "-");
        world.create(&name, &format!("[sim:{tags}]")).await;
        world.ended(&name).await;
        assert_eq!(world.receiver.statuses(&name), statuses, "{tags}");
    }
    let stats = world.control.stats().callbacks;
    assert_eq!(
        (stats.dropped, stats.duplicated, stats.reordered),
        (5, 2, 2)
    );
}

#[tokio::test]
async fn duplicates_keep_their_id_or_get_fresh_ones() {
    let world = World::start().await;
    for (tag, ids) in [("duplicate", 1), ("duplicate-new-id", 2)] {
        world
            .create(tag, &format!("[sim:callback={tag}@terminal]"))
            .await;
        world.ended(tag).await;
        let received = world.called_back(tag, 3).await;
        assert_eq!(received[1].body, received[2].body);
        let mut seen: Vec<_> = received[1..]
            .iter()
            .map(|one| one.header("webhook-id"))
            .collect();
        seen.dedup();
        assert_eq!(seen.len(), ids, "{tag}");
        assert!(received.iter().all(|one| verifies(SECRET, one)));
    }
}

#[tokio::test]
async fn signatures_can_be_wrong_old_or_missing() {
    let world = World::start().await;
    for (tag, signed) in [
        ("bad-signature", true),
        ("stale", true),
        ("unsigned", false),
    ] {
        world
            .create(tag, &format!("[sim:callback={tag}@terminal]"))
            .await;
        let received = world.called_back(tag, 2).await;
        assert!(
            verifies(SECRET, &received[0]),
            "only the terminal one is hit"
        );
        assert!(!verifies(SECRET, &received[1]), "{tag}");
        assert_eq!(received[1].header("webhook-signature").is_some(), signed);
    }
    let stale = &world.receiver.of("stale")[1];
    let sent: i64 = stale.header("webhook-timestamp").unwrap().parse().unwrap();
    let again = kling_relay::sim::sign(
        SECRET,
        stale.header("webhook-id").unwrap(),
        sent,
        &stale.body,
    );
    assert_eq!(
        again.as_deref(),
        stale.header("webhook-signature"),
        "old, but genuine"
    );
}

#[tokio::test]
async fn bodies_can_be_cut_wrapped_and_loosened() {
    let world = World::start().await;
    world
        .create("truncate", "[sim:callback=truncate@terminal]")
        .await;
    let cut = &world.called_back("truncate", 2).await[1];
    assert!(serde_json::from_slice::<serde_json::Value>(&cut.body).is_err());
    assert!(verifies(SECRET, cut), "what is sent is signed");

    world.create("wrapped", "[sim:callback=wrapped]").await;
    let wrapped = world.called_back("wrapped", 2).await[1].json();
    assert_eq!(
        (&wrapped["code"], &wrapped["data"]["status"]),
        (&json!(0), &json!("succeeded"))
    );

    world.legacy_create("nulls", "[sim:callback=nulls]").await;
    let nulls = world.called_back("nulls", 2).await[1].json();
    assert_eq!(nulls["task_result"]["images"], json!(null));
    assert_eq!(nulls["final_unit_deduction"], json!(1.5));
}

#[tokio::test]
async fn an_early_callback_beats_the_creates_own_answer() {
    let world = World::start().await;
    world.create("early", "[sim:callback=early,stuck]").await;
    assert_eq!(world.receiver.statuses("early"), ["processing"]);
    world.create("whole", "[sim:callback=early-terminal]").await;
    assert_eq!(
        world.receiver.statuses("whole"),
        ["processing", "succeeded"]
    );
    assert_eq!(world.control.stats().deductions["video"].to_string(), "2.4");
}

#[tokio::test]
async fn a_delayed_callback_comes_later_than_the_truth() {
    let world = World::start().await;
    world
        .create("never", "[sim:callback=delay:1h@terminal]")
        .await;
    until("the task has ended", || {
        let task = world.control.task("never");
        task.filter(|task| task.status == "succeeded")
    })
    .await;
    world.called_back("never", 1).await;
    assert_eq!(world.receiver.statuses("never"), ["processing"]);
    assert_eq!(world.control.stats().callbacks.in_flight, 1);

    world
        .create("overtaken", "[sim:callback=delay:200ms@processing]")
        .await;
    world.called_back("overtaken", 2).await;
    assert_eq!(
        world.receiver.statuses("overtaken"),
        ["succeeded", "processing"]
    );
}

#[tokio::test]
async fn a_slow_receiver_still_hears_things_in_their_order() {
    let world = World::start().await;
    let (hold, held) = tokio::sync::oneshot::channel();
    *world.receiver.held.lock().unwrap() = Some(held);
    world.create("order", "").await;
    until("the task has ended", || {
        let task = world.control.task("order");
        task.filter(|task| task.status == "succeeded")
    })
    .await;
    world.called_back("order", 1).await;
    assert_eq!(
        world.receiver.statuses("order"),
        ["processing"],
        "the next one waits"
    );
    hold.send(()).unwrap();
    world.called_back("order", 2).await;
    assert_eq!(
        world.receiver.statuses("order"),
        ["processing", "succeeded"]
    );
}

#[tokio::test]
async fn redelivery_follows_its_schedule() {
    for (new_id, ids) in [(false, 1), (true, 2)] {
        let mut config = quick();
        config.callbacks.redeliver = vec![Pause(Duration::from_millis(10)); 3];
        config.callbacks.redeliver_new_id = new_id;
        let world = World::with(config).await;
        world
            .receiver
            .answers
            .lock()
            .unwrap()
            .push(StatusCode::SERVICE_UNAVAILABLE);
        world
            .create("again", "[sim:callback=drop@processing]")
            .await;
        world.ended("again").await;
        let received = world.receiver.of("again");
        assert_eq!(received.len(), 2, "one refused, one accepted");
        let mut seen: Vec<_> = received
            .iter()
            .map(|one| one.header("webhook-id"))
            .collect();
        seen.dedup();
        assert_eq!(seen.len(), ids);
        let stats = world.control.stats().callbacks;
        assert_eq!(
            (stats.attempts, stats.redelivered, stats.delivered),
            (2, 1, 1)
        );
        assert_eq!((stats.answers["503"], stats.answers["200"]), (1, 1));
    }
}

#[tokio::test]
async fn no_redelivery_unless_asked_for() {
    let world = World::start().await;
    *world.receiver.answers.lock().unwrap() = vec![StatusCode::SERVICE_UNAVAILABLE; 2];
    world.create("once", "").await;
    world.ended("once").await;
    assert_eq!(world.receiver.of("once").len(), 2);
    assert_eq!(world.control.stats().callbacks.answers["503"], 2);
}

#[tokio::test]
async fn held_callbacks_are_released_shuffled() {
    let world = World::start().await;
    let plan = FaultPlan {
        hold_callbacks: true,
        ..FaultPlan::default()
    };
    world.control.set_faults(plan).unwrap();
    world.create("held", "").await;
    world.legacy_create("held-too", "").await;
    until("both have ended", || {
        let stats = world.control.stats();
        (stats.tasks.get("succeeded") == Some(&2)).then_some(())
    })
    .await;
    assert_eq!(world.control.stats().callbacks.held, 4);
    assert!(world.receiver.all().is_empty());
    assert_eq!(world.control.release_callbacks(1), 4);
    until("they have arrived", || {
        (world.receiver.all().len() == 4).then_some(())
    })
    .await;
    world.create("after", "").await;
    world.called_back("after", 2).await;
}

#[tokio::test]
async fn all_callbacks_can_be_dropped() {
    let world = World::start().await;
    let (status, _) = world
        .post("/_sim/faults", &json!({ "drop_callbacks": true }))
        .await;
    assert_eq!(status, 200);
    world.create("dropped", "").await;
    world.ended("dropped").await;
    assert!(world.receiver.all().is_empty());
    assert_eq!(world.control.stats().callbacks.dropped, 2);
}
