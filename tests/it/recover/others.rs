//! Tasks of the account that are not asked for, or not ours: counted, named, and left alone.

use kling_relay::edge::nats::topology;
use kling_relay::model::event::EventKind;
use kling_relay::model::ids::{TaskId, Tenant};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{REBUILD, WHY, recover};
use crate::world::{Expected, Options, World, video};

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_others_are_counted_and_never_adopted() {
    let world = World::start(Options::default()).await;
    let kling_id = world.control().add_foreign(Some("their-own"), Decimal::ONE);
    let done = recover(&world, &REBUILD).await.json();
    assert_eq!(done["counts"], json!({ "foreign": 1 }), "{done}");
    assert_eq!(done["named"], json!({ "foreign": [kling_id] }));
    assert_eq!((&done["told"], &done["rebuilt"]), (&json!(0), &json!(0)));
    assert_eq!(world.count("kling.v1.*.task.>").await, 0);
    world.app.stop().await;
    world.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_deployments_tasks_are_rebuilt_only_where_their_tenant_is_named() {
    let world = World::start(Options::default()).await;
    let beta = Tenant::parse("beta").unwrap();
    let id = TaskId::from_bits(&beta, 7);
    world.control().add_foreign(Some(id.as_str()), Decimal::ONE);
    for more in [&["--rebuild", "--dry-run"][..], &REBUILD] {
        let said = recover(&world, more).await.json();
        assert_eq!(said["counts"], json!({ "other-tenant": 1 }), "{said}");
        assert_eq!(said["other_tenants"], json!({ "beta": 1 }));
        assert_eq!(world.count("kling.v1.*.task.>").await, 0);
    }
    let named = [&REBUILD[..], &["--tenant", "beta"]].concat();
    let said = recover(&world, &named).await.json();
    assert_eq!(said["counts"], json!({ "rebuilt": 1 }), "{said}");
    world.finished(std::slice::from_ref(&id)).await;
    world.app.stop().await;
    world.sim.stop().await;
}

/// As a newer version may have written it: what comes after it in the list is still found.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_cannot_be_read_holds_up_no_other() {
    let world = World::start(Options::default()).await;
    let acme = Tenant::parse("acme").unwrap();
    let ids = [7, 8, 9].map(|bits| TaskId::from_bits(&acme, bits));
    for id in &ids {
        world.control().add_foreign(Some(id.as_str()), Decimal::ONE);
    }
    let subject = topology::task_subject(&ids[1], EventKind::Requested);
    let client = world.app.broker().client();
    client.request(subject, "{}".into()).await.unwrap();
    let said = recover(&world, &["--dry-run"]).await.json();
    let counts = json!({ "not-in-log": 2, "unreadable": 1 });
    assert_eq!(said["counts"], counts, "{said}");
    world.app.stop().await;
    world.sim.stop().await;
}

/// The money writer adds these figures up.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_task_can_have_cost_is_not_rebuilt() {
    let world = World::start(Options::default()).await;
    let client = world.app.broker().client().clone();
    for figures in [&["-1"][..], &["1000000001"], &["600000000", "600000000"]] {
        let amount = |figure: &&str| json!({ "amount": figure, "unit": "video-unit" });
        let recorded: Vec<_> = figures.iter().map(amount).collect();
        let task = json!({
            "task_id": TaskId::from_bits(&Tenant::parse("acme").unwrap(), 7),
            "kling_task_id": "1", "created_at": "2026-11-21T08:00:00Z",
            "product": "text-to-video", "path": "", "recorded": recorded,
            "hold": { "amount": "1", "unit": "video-unit" },
        });
        let wish = json!({ "tasks": [task], "who": "olga", "reason": "an outage" });
        let body = wish.to_string().into();
        let answer = client.request(topology::REBUILD, body).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(answer["code"], "invalid-request", "{answer}");
    }
    assert_eq!(world.count("kling.v1.*.task.>").await, 0);
    world.stop(Expected::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_tasks_are_not_foreign() {
    let world = World::start(Options::default()).await;
    let id = world.submit(&video("")).await;
    world.finished(std::slice::from_ref(&id)).await;
    let zeta = [
        &WHY[..],
        &["--tenant", "zeta", "--from", "2020-01-01T00:00:00Z"],
    ]
    .concat();
    let said = recover(&world, &zeta).await.json();
    assert_eq!(said["counts"], json!({ "other-tenant": 1 }), "{said}");
    assert_eq!(said["other_tenants"], json!({ "acme": 1 }));
    // Kling's list does not reach back so far, and the report does not claim that it did.
    assert_eq!(said["asked_from"], "2020-01-01T00:00:00Z");
    assert!(said["from"].as_str().unwrap() > "2026", "{said}");
    world.stop(Expected::default()).await;
}
