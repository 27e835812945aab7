//! A log that is lost, rebuilt from what Kling lists.

use std::collections::BTreeMap;

use kling_relay::edge::nats::topology;
use kling_relay::model::amount::Unit;
use kling_relay::model::ids::{Day, TaskId};
use kling_relay::model::task::{Status, Task};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{REBUILD, WHY, recover};
use crate::world::{Expected, Options, TENANTS, World, legacy_video, video};

/// What each of these worlds has gone through.
const LOST: Expected = Expected {
    dead_letters: 0,
    lost: true,
};

type Deductions = BTreeMap<(String, Day, Unit), Decimal>;

/// Sums what tasks were charged, by tenant, day and unit, from the ledgers' own balances.
async fn deductions(world: &World, tasks: &[&Task]) -> Deductions {
    let mut sums = Deductions::new();
    for task in tasks {
        for (unit, of_unit) in world.balance(task).await {
            let key = (task.tenant.to_string(), task.relay.day, unit);
            if !of_unit.deducted.is_zero() {
                sums.insert(key, of_unit.deducted.normalize());
            }
        }
    }
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_loss_of_the_broker_what_kling_lists_is_rebuilt() {
    let world = World::start(Options::default()).await;
    let requests = [
        video(""),
        legacy_video("billing=over:2.5"),
        video("billing=split"),
        video("fail=moderation"),
        video("billing=none"),
        video("billing=mixed:0.5"),
        json!({ "product": "image-generation", "model": "kling-v3", "prompt": "A poster" }),
    ];
    let mut ids = world.submit_all(&requests).await;
    ids.extend(
        world
            .submit_batch("zeta", &[video(""), legacy_video("")])
            .await,
    );
    let before = world.finished(&ids).await;
    let all: Vec<&Task> = before.values().collect();
    let charged = deductions(&world, &all).await;
    assert!(charged.len() >= 4, "{charged:?}");
    let stats = world.stats();

    let world = Box::pin(world.lose_the_log()).await;
    let dry = recover(&world, &["--rebuild", "--dry-run"]).await.json();
    assert_eq!(dry["counts"], json!({ "not-in-log": ids.len() }), "{dry}");
    let plain = recover(&world, &WHY).await.json();
    assert_eq!(plain["told"], 0, "what is not in the log is left alone");
    assert_eq!(plain["counts"], dry["counts"]);
    let rebuilt = recover(&world, &REBUILD).await.json();
    assert_eq!(rebuilt["rebuilt"], json!(ids.len()), "{rebuilt}");
    assert_eq!(rebuilt["counts"], json!({ "rebuilt": ids.len() }));
    let lost = rebuilt["lost"].as_array().unwrap();
    assert!(lost.contains(&json!("voids")), "{rebuilt}");

    let after = world.finished(&ids).await;
    let all: Vec<&Task> = after.values().collect();
    assert_eq!(deductions(&world, &all).await, charged);
    for (id, task) in &after {
        let earlier = &before[id];
        assert_eq!(
            (task.status, &task.assets),
            (earlier.status, &earlier.assets)
        );
        assert_eq!(task.kling_task_id, earlier.kling_task_id);
    }
    let again = recover(&world, &REBUILD).await.json();
    assert_eq!(again["counts"], json!({ "known": ids.len() }));
    let now = world.stats();
    assert_eq!(
        now.creates.requests, stats.creates.requests,
        "nothing is created again"
    );
    assert_eq!(
        now.downloads.requests, stats.downloads.requests,
        "nothing twice"
    );
    let new = world.submit(&video("")).await;
    world.finished(std::slice::from_ref(&new)).await;
    let _: Value = recover(&world, &["--dry-run"]).await.json();
    world.stop(LOST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_tasks_are_rebuilt_although_the_list_of_all_hides_their_ids() {
    let world = World::start(Options::default().sim(|sim| sim.hide_legacy_ids = true)).await;
    let ids = world.submit_all(&[video(""), legacy_video("")]).await;
    let before = world.finished(&ids).await;
    let charged = deductions(&world, &before.values().collect::<Vec<_>>()).await;

    let world = Box::pin(world.lose_the_log()).await;
    let rebuilt = recover(&world, &REBUILD).await.json();
    assert_eq!(rebuilt["counts"], json!({ "rebuilt": 2 }), "{rebuilt}");
    let after = world.finished(&ids).await;
    let all: Vec<&Task> = after.values().collect();
    assert_eq!(deductions(&world, &all).await, charged);
    world.stop(LOST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_its_key_brings_a_rebuilt_task_and_buys_nothing() {
    let world = World::start(Options::default()).await;
    let one = video("");
    let later = world.clock.now() + jiff::SignedDuration::from_hours(48);
    let mut delayed = video("");
    delayed["not_before"] = json!(later);
    let batch = json!({ "tasks": [video(""), legacy_video("")] });
    let last_waits = json!({ "tasks": [video(""), delayed] });
    let first_waits = json!({ "tasks": [delayed, video("")] });
    let post = async |world: &World, path: &str, body: &Value, key: &str| {
        world.post(TENANTS[0], path, body, Some(key)).await
    };
    let (_, first) = post(&world, "/v1/tasks", &one, "one").await;
    let (_, both) = post(&world, "/v1/batches", &batch, "both").await;
    let (_, early) = post(&world, "/v1/batches", &last_waits, "early").await;
    let (_, late) = post(&world, "/v1/batches", &first_waits, "late").await;
    let id = |id: &Value| TaskId::parse(id.as_str().unwrap()).unwrap();
    let made = [
        id(&first["task_id"]),
        id(&both["task_ids"][0]),
        id(&both["task_ids"][1]),
        id(&early["task_ids"][0]),
        id(&late["task_ids"][1]),
    ];
    world.finished(&made).await;
    let creates = world.stats().creates.requests;

    let world = Box::pin(world.lose_the_log()).await;
    let rebuilt = recover(&world, &REBUILD).await.json();
    assert_eq!(rebuilt["rebuilt"], made.len(), "{rebuilt}");
    world.finished(&made).await;
    let (status, again) = post(&world, "/v1/tasks", &one, "one").await;
    assert_eq!(
        (status, &again["task_id"]),
        (202, &first["task_id"]),
        "{again}"
    );
    let (status, again) = post(&world, "/v1/batches", &batch, "both").await;
    assert_eq!(
        (status, &again["task_ids"]),
        (202, &both["task_ids"]),
        "{again}"
    );
    // What Kling never had is gone, and nothing is made twice to bring it back.
    for (body, key) in [(&last_waits, "early"), (&first_waits, "late")] {
        let (status, problem) = post(&world, "/v1/batches", body, key).await;
        assert_eq!(
            (status, &problem["code"]),
            (409, &json!("idempotency-conflict"))
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("the log was lost"), "{problem}");
    }
    assert_eq!(world.count("kling.v1.*.task.*.requested").await, made.len());
    assert_eq!(world.stats().creates.requests, creates);
    world.app.stop().await;
    world.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deduction_records_stand_in_for_a_bill_that_is_not_shown() {
    let world = World::start(Options::default()).await;
    let requests = [
        video("billing=never,billing=mixed:0.5"),
        video("billing=never,billing=amount:1,fail=moderation"),
        // A bill goes before the records.
        video("record=amount:9"),
    ];
    let ids = world.submit_all(&requests).await;
    world.finished(&ids).await;

    let world = Box::pin(world.lose_the_log()).await;
    recover(&world, &REBUILD).await.is(0, "rebuilt");
    let after = world.finished(&ids).await;
    for id in &ids {
        let at_kling = world.control().task(id.as_str()).unwrap();
        let taken = |unit: Unit| {
            let of_unit = after[id]
                .deduction
                .iter()
                .filter(|amount| amount.unit == unit);
            of_unit.map(|amount| amount.amount).sum::<Decimal>()
        };
        let figures = (taken(Unit::Video), taken(Unit::Usd));
        let expected = (at_kling.deducted.unwrap(), at_kling.paid_cash);
        assert_eq!(figures, expected, "{:?}", after[id]);
    }
    assert!(!after[&ids[0]].deduction[1].amount.is_zero());
    assert_eq!(after[&ids[1]].status, Status::Failed);
    world.app.stop().await;
    world.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_storage_lacks_is_downloaded_again() {
    let world = World::start(Options::default()).await;
    let request = json!({ "product": "image-generation", "model": "kling-v3",
        "prompt": "Four posters [sim:outputs=4]" });
    let ids = world.submit_all(&[request]).await;
    let before = world.finished(&ids).await;
    let assets = &before[&ids[0]].assets;
    assert_eq!(assets.len(), 4);
    let file = url::Url::parse(&assets[2].uri).unwrap().to_file_path();
    std::fs::remove_file(file.unwrap()).unwrap();
    let downloads = world.stats().downloads.requests;

    let world = Box::pin(world.lose_the_log()).await;
    recover(&world, &REBUILD).await.is(0, "rebuilt");
    let after = world.finished(&ids).await;
    assert_eq!(&after[&ids[0]].assets, assets);
    assert_eq!(world.stats().downloads.requests, downloads + 1);
    world.stop(LOST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_stopped_before_the_log_was_told_is_ended_by_the_next() {
    let world = World::start(Options::default()).await;
    let ids = world.submit_all(&[video("")]).await;
    let before = world.finished(&ids).await;

    let world = Box::pin(world.lose_the_log()).await;
    let task = &before[&ids[0]];
    let lost = json!({ "task_id": task.task_id, "kling_task_id": task.kling_task_id,
        "created_at": task.relay.submitted_at, "product": task.product, "path": "",
        "hold": task.estimate });
    let wish = json!({ "tasks": [lost], "who": "olga", "reason": "an outage" });
    let client = world.app.broker().client();
    let body = wish.to_string().into();
    let answer = client.request(topology::REBUILD, body).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["begun"], 1, "{answer}");

    let next = recover(&world, &REBUILD).await.json();
    assert_eq!(next["counts"], json!({ "missed": 1 }), "{next}");
    let after = world.finished(&ids).await;
    assert_eq!(after[&ids[0]].deduction, task.deduction);
    world.stop(LOST).await;
}
