//! One task from its create to its file, in both generations.

use serde_json::json;

use super::{World, accepted};

#[tokio::test]
async fn a_new_standard_task_runs_from_create_to_download() {
    let world = World::start().await;
    let created = world.create("new-1", "").await;
    let id = created["id"].as_str().unwrap();
    assert_eq!(id.len(), 18);
    assert_eq!(created["status"], "submitted");
    assert_eq!(created["message"], "");
    assert_eq!(created["external_id"], "new-1");
    assert_eq!(created["create_time"], created["update_time"]);

    world.ended("new-1").await;
    let callbacks = world.called_back("new-1", 2).await;
    assert_eq!(
        world.receiver.statuses("new-1"),
        ["processing", "succeeded"]
    );
    let started = callbacks[0].json();
    assert_eq!(started["outputs"], json!([]));
    assert!(started.get("billing").is_none());

    let told = callbacks[1].json();
    let keys: Vec<&String> = told.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "id",
            "status",
            "message",
            "create_time",
            "update_time",
            "external_id",
            "outputs",
            "billing"
        ]
    );
    assert_eq!(told["id"], id);
    assert_eq!(told["outputs"][0]["type"], "video");
    assert_eq!(told["outputs"][0]["duration"], "3.041");
    assert_eq!(
        told["billing"],
        json!([{ "charge_type": "unit", "amount": "2.4", "package_type": "video" }])
    );
    assert!(told["update_time"].as_i64() > started["update_time"].as_i64());
    assert_eq!(
        world.look_up("new-1").await,
        told,
        "look-up and callback agree"
    );

    let file = world
        .client
        .get(told["outputs"][0]["url"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(file.status(), 200);
    assert_eq!(file.headers()["content-type"], "video/mp4");
    let announced: usize = file.headers()["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let bytes = file.bytes().await.unwrap();
    assert_eq!(bytes.len(), announced);
    assert_eq!(boxes(&bytes), ["ftyp", "moov", "free", "mdat", "free"]);
}

/// The names of the top-level boxes of an MP4 file.
fn boxes(mut bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while bytes.len() >= 8 {
        let size = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        names.push(String::from_utf8(bytes[4..8].to_vec()).unwrap());
        bytes = &bytes[size..];
    }
    assert!(bytes.is_empty(), "bytes after the last box");
    names
}

#[tokio::test]
async fn a_legacy_task_runs_from_create_to_download() {
    let world = World::start().await;
    let created = world.legacy_create("old-1", "").await;
    let id = created["task_id"].as_str().unwrap().to_owned();
    assert_eq!(created["task_status"], "submitted");
    assert_eq!(created["task_info"], json!({ "external_task_id": "old-1" }));
    assert!(created["created_at"].is_i64());

    world.ended("old-1").await;
    let callbacks = world.called_back("old-1", 2).await;
    assert_eq!(world.receiver.statuses("old-1"), ["processing", "succeed"]);
    let told = callbacks[1].json();
    let keys: Vec<&String> = told.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "task_id",
            "task_status",
            "task_info",
            "task_result",
            "task_status_msg",
            "final_unit_deduction",
            "created_at",
            "updated_at"
        ]
    );
    assert_eq!(told["final_unit_deduction"], "1.5");
    assert_eq!(told["task_result"]["images"], json!([]));
    assert_eq!(told["task_result"]["audios"], json!([]));
    let video = &told["task_result"]["videos"][0];
    assert_eq!(video["duration"], "5.041");
    assert!(video.get("watermark_url").is_none());

    for key in [id.as_str(), "old-1"] {
        let path = format!("/v1/videos/text2video/{key}");
        let seen = accepted(world.get(&path).await);
        assert_eq!(seen["task_status"], "succeed");
        assert_eq!(seen["task_result"]["videos"][0]["url"], video["url"]);
        assert_eq!(seen["task_result"]["videos"][0]["watermark_url"], "");
    }
    let normalised = world.look_up("old-1").await;
    assert_eq!(normalised["id"], id);
    assert_eq!(normalised["status"], "succeeded");
    assert_eq!(normalised["billing"][0]["amount"], "1.5");
    assert!(normalised.get("task_info").is_none());

    let file = world
        .client
        .get(video["url"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(file.status(), 200);
}

#[tokio::test]
async fn without_an_external_id_task_info_is_empty() {
    let world = World::start().await;
    let body = json!({ "model_name": "kling-v2-6", "prompt": "p" });
    let created = accepted(world.post("/v1/videos/text2video", &body).await);
    assert_eq!(created["task_info"], json!({}));
    let body = json!({ "prompt": "p" });
    let created = accepted(world.post("/text-to-video/kling-2.6", &body).await);
    assert!(created.get("external_id").is_none());
}

#[tokio::test]
async fn a_top_level_callback_url_on_a_new_endpoint_never_calls_back() {
    let world = World::start().await;
    let mut body = world.wish("ignored", "");
    body["callback_url"] = body["options"]["callback_url"].take();
    body["sound"] = json!("on");
    accepted(world.post("/text-to-video/kling-3.0-turbo", &body).await);
    let task = world.ended("ignored").await;
    assert_eq!(task.callback_url, None);
    assert_eq!(world.control.stats().callbacks.due, 0);
    assert!(world.receiver.all().is_empty());
}

#[tokio::test]
async fn a_thousand_tasks_lose_no_callback() {
    let mut config = super::quick();
    config.slots.video = 10_000;
    let world = World::with(config).await;
    let names: Vec<String> = (0..1000).map(|n| format!("load-{n}")).collect();
    for some in names.chunks(50) {
        futures::future::join_all(some.iter().map(|name| world.create(name, ""))).await;
    }
    super::until("everything has ended", || {
        world.control.is_idle().then_some(())
    })
    .await;
    let stats = world.control.stats();
    assert_eq!(stats.creates.accepted, 1000);
    assert_eq!(stats.tasks["succeeded"], 1000);
    assert_eq!(stats.callbacks.delivered, 2000);
    assert_eq!(stats.deductions["video"].to_string(), "2400");
    assert_eq!(world.receiver.all().len(), 2000);
}
