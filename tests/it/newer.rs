//! Two versions side by side: what a newer one writes neither stops nor misleads this one.

use std::time::Duration;

use kling_relay::edge::nats::log::Log;
use kling_relay::edge::nats::topology;
use kling_relay::model::ids::TaskId;
use kling_relay::model::task::Status;
use serde_json::{Value, json};

use crate::broker::{Node, api, config, open, until};
use crate::world::{Expected, Options, World, legacy_video, video};

/// Writes an event as a newer version would: on the state that is there, with a kind and fields
/// that we do not know.
async fn write_newer(world: &World, id: &TaskId) {
    let log: &Log = world.app.log();
    let prefix = topology::task_prefix(id);
    until(
        "a newer version has its turn",
        Duration::from_secs(10),
        async || {
            let on = log.load(id).await.unwrap().unwrap();
            let mut body = serde_json::to_value(&on.task).unwrap();
            body["verdict"] = json!({ "score": 0.9 });
            body["relay"]["reviewed_at"] = json!("2027-01-01T00:00:00Z");
            body["relay"]["requested_seq"] = json!(on.requested_seq());
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Nats-Expected-Last-Subject-Sequence", on.seq.to_string());
            headers.insert(
                "Nats-Expected-Last-Subject-Sequence-Subject",
                prefix.as_str(),
            );
            headers.insert("ce-id", format!("{id}.reviewed.1"));
            let subject = prefix.replace(".>", ".reviewed");
            let request = async_nats::client::Request::new()
                .headers(headers)
                .payload(body.to_string().into());
            let answer = world
                .app
                .broker()
                .client()
                .send_request(subject, request)
                .await;
            let answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
            answer.get("error").is_none()
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_newer_version_is_passed_over_and_its_fields_are_kept() {
    let world = World::start(Options::default()).await;
    let waiting = "slow=2s";
    let ids = world
        .submit_all(&[video(waiting), legacy_video(waiting)])
        .await;
    for id in &ids {
        world.reaches(id, Status::Processing).await;
        write_newer(&world, id).await;
    }
    // The list and the history show what they know.
    let task = world.task(&ids[0]).await;
    assert_eq!(task.status, Status::Processing);
    let ended = world.finished(&ids).await;
    assert!(ended.values().all(|task| task.status == Status::Succeeded));
    for id in &ids {
        let last = world.app.log().history(id).await.unwrap();
        let last: Value = serde_json::from_slice(&last.last().unwrap().payload).unwrap();
        assert_eq!(last["status"], "succeeded");
        assert_eq!(last["verdict"]["score"], 0.9, "{last:#}");
        assert_eq!(
            last["relay"]["reviewed_at"], "2027-01-01T00:00:00Z",
            "{last:#}"
        );
    }
    world.stop(Expected::default()).await;
}

#[tokio::test]
async fn subjects_of_a_newer_version_stay_in_the_stream() {
    let node = Node::start();
    let (broker, _log) = open(&node.endpoint(), &config(1)).await;
    let info = api(&broker, "STREAM.INFO.KLING").await.unwrap();
    let mut newer = info["config"].clone();
    newer["subjects"]
        .as_array_mut()
        .unwrap()
        .push(json!("kling.v1.*.verdict.>"));
    // It also lacks one of ours, so that this version has something to mend.
    newer["subjects"]
        .as_array_mut()
        .unwrap()
        .retain(|one| one != topology::BUDGET_ALERTS);
    let update = broker
        .client()
        .request("$JS.API.STREAM.UPDATE.KLING", newer.to_string().into());
    update.await.unwrap();
    let (broker, _log) = open(&node.endpoint(), &config(1)).await;
    let info = api(&broker, "STREAM.INFO.KLING").await.unwrap();
    let subjects = info["config"]["subjects"].as_array().unwrap();
    for subject in [
        "kling.v1.*.verdict.>",
        topology::BUDGET_ALERTS,
        topology::TASK_EVENTS,
    ] {
        assert!(
            subjects.iter().any(|one| one == subject),
            "{subject}: {subjects:?}"
        );
    }
}
