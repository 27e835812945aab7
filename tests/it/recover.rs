//! What callbacks never said, and a log that is lost: found again at Kling, by the real program.

mod lists;
mod loss;
mod others;

use std::process::Stdio;

use kling_relay::edge::nats::log::ReadFrom;
use kling_relay::edge::nats::topology;
use kling_relay::model::audit::AuditState;
use kling_relay::model::ids::TaskId;
use kling_relay::model::task::Status;
use serde_json::json;

use crate::broker::{signal, until};
use crate::cli::{Place, Said, WITHIN};
use crate::world::{DEADLINE, Expected, Options, World, legacy_video, video};

/// Runs `recover` beside this world.
async fn recover(world: &World, more: &[&str]) -> Said {
    recover_with(world, more, &[("API_KEY", "api-key-kling-simulator")]).await
}

/// The same with these settings of Kling's.
async fn recover_with(world: &World, more: &[&str], kling: &[(&str, &str)]) -> Said {
    let place = Place::new();
    let mut command = command(world, &place, more);
    for (key, value) in kling {
        command.env(format!("KLING_RELAY_KLING__{key}"), value);
    }
    let output = tokio::time::timeout(WITHIN, command.output()).await;
    output.expect("it ends").unwrap().into()
}

fn command(world: &World, place: &Place, more: &[&str]) -> tokio::process::Command {
    let config = &world.config;
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
        .env("KLING_RELAY_STORAGE__ALLOW_PRIVATE", "true")
        .env("KLING_RELAY_RECONCILER__QUERIES_PER_SECOND", "100");
    command.into()
}

const WHY: [&str; 4] = ["--who", "olga", "--reason", "an outage"];
const REBUILD: [&str; 5] = ["--rebuild", "--who", "olga", "--reason", "an outage"];

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
async fn one_that_is_stopped_is_recorded_as_stopped() {
    let world = World::start(Options::default()).await;
    let place = Place::new();
    let mut command = command(&world, &place, &REBUILD);
    command
        .env("KLING_RELAY_KLING__API_KEY", "api-key-kling-simulator")
        // A second for each list: time to be stopped in.
        .env("KLING_RELAY_RECONCILER__QUERIES_PER_SECOND", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let audits = async || {
        let read = world
            .app
            .log()
            .read(topology::AUDITS, ReadFrom::Sequence(1), 10);
        let read = read.await.unwrap();
        let audits = read.iter().map(|message| message.audit().unwrap());
        audits.map(|audit| audit.state).collect::<Vec<_>>()
    };
    until("it has begun", DEADLINE, async || {
        !audits().await.is_empty()
    })
    .await;
    signal("-TERM", child.id().unwrap());
    let stopped: Said = child.wait_with_output().await.unwrap().into();
    stopped.is(1, "interrupted");
    assert_eq!(audits().await, [AuditState::Begun, AuditState::Interrupted]);
    world.stop(Expected::default()).await;
}
