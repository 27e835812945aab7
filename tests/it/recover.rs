//! What callbacks never said, and a log that is lost: found again at Kling, by the real program.

use std::collections::BTreeMap;

use kling_relay::model::amount::Unit;
use kling_relay::model::ids::{Day, TaskId};
use kling_relay::model::task::{Status, Task};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::broker::until;
use crate::cli::{Place, Said, WITHIN};
use crate::world::{DEADLINE, Expected, Options, World, legacy_video, video};

/// Runs `recover` beside this world.
async fn recover(world: &World, more: &[&str]) -> Said {
    let (place, config) = (Place::new(), &world.config);
    let mut command = place.command(&[&["recover", "--json"], more].concat());
    command
        .env("KLING_RELAY_NATS__URL", config.nats.url.as_ref().unwrap())
        .env(
            "KLING_RELAY_KLING__BASE_URL",
            config.kling.base_url.as_str(),
        )
        .env(
            "KLING_RELAY_KLING__CA_FILE",
            config.kling.ca_file.as_ref().unwrap(),
        )
        .env("KLING_RELAY_KLING__API_KEY", "api-key-kling-simulator")
        .env("KLING_RELAY_RECONCILER__QUERIES_PER_SECOND", "100");
    let mut command = tokio::process::Command::from(command);
    let output = tokio::time::timeout(WITHIN, command.output()).await;
    output.expect("it ends").unwrap().into()
}

const WHY: [&str; 4] = ["--who", "olga", "--reason", "an outage"];

/// Waits until Kling has ended a task, whoever was told.
async fn ended_at_kling(world: &World, ids: &[TaskId]) {
    let control = world.control();
    until("Kling has ended them", DEADLINE, async || {
        ids.iter().all(|id| {
            let task = control.task(id.as_str());
            task.is_some_and(|task| task.deducted.is_some())
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callbacks_never_said_is_found_and_takes_their_way() {
    let world = World::start(Options::default()).await;
    let told = world.submit_all(&[video(""), legacy_video("")]).await;
    let requests = [
        video("callback=drop"),
        legacy_video("callback=drop"),
        video("callback=drop,fail=moderation"),
    ];
    let silent = world.submit_all(&requests).await;
    world.finished(&told).await;
    ended_at_kling(&world, &silent).await;

    recover(&world, &[]).await.is(2, "--reason");
    let dry = recover(&world, &["--dry-run"]).await.json();
    let counts = json!({ "known": 2, "missed": 3 });
    assert_eq!(dry["counts"], counts, "{dry}");
    assert_eq!(dry["told"], 0);
    assert_eq!(
        world.task(&silent[0]).await.status.rank(),
        Status::Submitted.rank()
    );

    let done = recover(&world, &WHY).await.json();
    assert_eq!(
        (&done["counts"], &done["told"]),
        (&counts, &json!(3)),
        "{done}"
    );
    let ended = world.finished(&silent).await;
    assert_eq!(ended[&silent[2]].status, Status::Failed);
    let again = recover(&world, &WHY).await.json();
    assert_eq!(again["counts"], json!({ "known": 5 }));
    world.stop(Expected::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_others_are_counted_and_never_adopted() {
    let world = World::start(Options::default()).await;
    world.control().add_foreign(Some("their-own"), Decimal::ONE);
    let why = [&["--rebuild"], &WHY[..]].concat();
    let done = recover(&world, &why).await.json();
    assert_eq!(done["counts"], json!({ "foreign": 1 }), "{done}");
    assert_eq!((&done["told"], &done["rebuilt"]), (&json!(0), &json!(0)));
    assert_eq!(world.count("kling.v1.*.task.>").await, 0);
    world.app.stop().await;
    world.sim.stop().await;
}

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
    let rebuilt = recover(&world, &[&["--rebuild"], &WHY[..]].concat())
        .await
        .json();
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
    let again = recover(&world, &[&["--rebuild"], &WHY[..]].concat())
        .await
        .json();
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
