//! A log that is lost, rebuilt from what Kling lists.

use std::collections::BTreeMap;

use kling_relay::model::amount::Unit;
use kling_relay::model::ids::Day;
use kling_relay::model::task::Task;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{REBUILD, WHY, recover};
use crate::world::{Expected, Options, World, legacy_video, video};

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
    assert_eq!(dry["counts"], json!({ "lost": ids.len() }), "{dry}");
    let plain = recover(&world, &WHY).await.json();
    assert_eq!(plain["told"], 0, "what is lost is reported, and left alone");
    let rebuilt = recover(&world, &REBUILD).await.json();
    assert_eq!(rebuilt["rebuilt"], json!(ids.len()), "{rebuilt}");

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
    world.stop(Expected::default()).await;
}
