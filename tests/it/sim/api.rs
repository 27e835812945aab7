//! What the platform refuses, and how its listings page.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{KEY, World, accepted, quick, read, refused, slow, table, until};

#[tokio::test]
async fn a_used_external_id_is_refused_account_wide_and_costs_nothing() {
    let world = World::start().await;
    world.create("twice", "").await;
    world.ended("twice").await;
    let again = world
        .post("/text-to-video/kling-2.6", &world.wish("twice", ""))
        .await;
    refused(again, 400, 1201, "already exists");
    let legacy = world
        .post("/v1/videos/text2video", &world.legacy_wish("twice", ""))
        .await;
    refused(legacy, 400, 1201, "already exists");
    let stats = world.control.stats();
    assert_eq!(stats.creates.duplicate_external_ids, 2);
    assert_eq!(stats.creates.refused_by_code["1201"], 2);
    assert_eq!(stats.creates.accepted, 1);
    assert_eq!(stats.deductions["video"].to_string(), "2.4");
}

#[tokio::test]
async fn both_spellings_of_a_model_version_share_its_slots() {
    let mut config = slow();
    config.slots.video = 2;
    let world = World::with(config).await;
    let new = "/text-to-video/kling-2.6";
    accepted(world.post(new, &world.wish("one", "")).await);
    world.legacy_create("two", "").await;
    let (status, body) = world.post(new, &world.wish("three", "")).await;
    assert_eq!(status, 429);
    assert_eq!(body["code"], 1303);
    assert_eq!(body["message"], "parallel task over resource pack limit");
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "message", "request_id"]);
    accepted(
        world
            .post("/text-to-video/kling-3.0", &world.wish("other-model", ""))
            .await,
    );

    assert!(world.control.finish("one"));
    accepted(world.post(new, &world.wish("three", "")).await);
    assert_eq!(world.control.stats().max_slots["video:kling-2.6"], 2);
}

#[tokio::test]
async fn an_image_task_takes_a_slot_per_image() {
    let world = World::with(slow()).await;
    let wish = |n: u32| json!({ "model_name": "kling-v3", "prompt": "p", "n": n });
    let path = "/v1/images/generations";
    accepted(world.post(path, &wish(5)).await);
    refused(
        world.post(path, &wish(5)).await,
        429,
        1303,
        "over resource pack limit",
    );
    accepted(world.post(path, &wish(4)).await);
    assert_eq!(world.control.stats().max_slots["image:kling-3.0"], 9);
}

#[tokio::test]
async fn an_exhausted_pack_stops_its_own_products_only() {
    let mut config = slow();
    config.packs.video = "5".parse().unwrap();
    let world = World::with(config).await;
    world.create("first", "").await;
    world.create("second", "").await;
    let third = world
        .post("/text-to-video/kling-3.0-turbo", &world.wish("third", ""))
        .await;
    refused(third, 429, 1102, "Account balance not enough");
    let image = json!({ "model_name": "kling-v3", "prompt": "p" });
    accepted(world.post("/v1/images/generations", &image).await);
}

#[tokio::test]
async fn wrong_paths_and_methods_are_refused() {
    let world = World::start().await;
    let (status, page) = world.get("/v1/videos/omni").await;
    assert_eq!(status, 404);
    assert!(page.as_str().is_some_and(|page| page.contains("<html>")));
    let deleted = world.call_with(Method::DELETE, "/tasks", KEY, None).await;
    refused(read(deleted).await, 404, 1202, "method");
}

/// Path, body, status, code and a part of the message.
const MALFORMED: &str = r#"
/text-to-video/kling-3.0-turbo | [] | 400 | 1200 | JSON
/text-to-video/kling-3.0-turbo | {} | 400 | 1201 | prompt cannot be empty
/text-to-video/kling-3.0-turbo | {"prompt":"[sim:no-such-tag]"} | 400 | 1201 | tag
/text-to-video/kling-3.0-turbo | {"prompt":"p","settings":{"resolution":"720P"}} \
    | 400 | 1201 | settings.resolution value '720P' is invalid
/text-to-video/kling-3.0-turbo | {"prompt":"p","settings":{"duration":"long"}} \
    | 400 | 1201 | settings.duration
/text-to-video/kling-2.6 | {"prompt":"p","settings":{"audio":"native"}} \
    | 400 | 1201 | not supported by the current model
/text-to-video/kling-9 | {"prompt":"p"} | 404 | 1203 | model
/image-to-video/kling-2.6 | {} | 400 | 1201 | contents cannot be empty
/omni-video/kling-3.0 | {"contents":[{}]} | 404 | 1203 | model
/motion-control/kling-3.0 | {"contents":[{"type":"image","url":"u"}]} \
    | 400 | 1201 | character_orientation
/v1/videos/text2video | {"prompt":"p"} | 400 | 1201 | model 'kling-v1' has been discontinued
/v1/videos/text2video | {"prompt":"p","model_name":"kling-v2-master"} \
    | 400 | 1201 | has been discontinued and is no longer available
/v1/videos/text2video | {"prompt":"p","model_name":"kling-2.6"} | 404 | 1203 | model
/v1/videos/text2video | {"model_name":"kling-v3"} | 400 | 1201 | prompt
/v1/videos/text2video | {"model_name":"kling-v3","prompt":"p","mode":"standard"} \
    | 400 | 1201 | mode
/v1/videos/text2video | {"model_name":"kling-v3","prompt":"p","duration":5} \
    | 400 | 1201 | string
/v1/videos/multi-image2video | {} | 400 | 1201 | no longer available
/v1/images/generations | {"model_name":"kling-v3","prompt":"p","n":10} \
    | 400 | 1201 | n value '10'
"#;

#[tokio::test]
async fn malformed_creates_are_refused() {
    let world = World::start().await;
    let table = table(MALFORMED);
    for row in &table {
        let [path, body, http, code, text] = row[..] else {
            panic!("{row:?}")
        };
        let body: Value = serde_json::from_str(body).unwrap();
        let answer = world.post(path, &body).await;
        refused(answer, http.parse().unwrap(), code.parse().unwrap(), text);
    }
    let long = json!({ "prompt": "p".repeat(3073) });
    let answer = world.post("/text-to-video/kling-3.0-turbo", &long).await;
    refused(answer, 400, 1201, "prompt length");
    assert_eq!(world.control.stats().creates.accepted, 0);
    assert_eq!(table.len(), 18);
}

#[tokio::test]
async fn creates_are_as_lenient_as_the_platform() {
    let world = World::start().await;
    for settings in [
        json!({ "duration": 20 }),
        json!({ "duration": "0" }),
        json!({ "mode": "pro", "unknown": { "x": 1 } }),
    ] {
        let body = json!({ "prompt": "p", "settings": settings, "nonsense": true });
        accepted(world.post("/text-to-video/kling-3.0", &body).await);
    }
    let contents = json!({ "contents": [{ "type": "prompt", "text": "p" }] });
    accepted(world.post("/omni-video/kling-v3-omni", &contents).await);
    let mut small = world.wish("480p", "");
    small["settings"]["resolution"] = json!("480p");
    accepted(world.post("/text-to-video/kling-3.0-turbo", &small).await);
    assert_eq!(
        world.ended("480p").await.status,
        "failed",
        "listed, but not generated"
    );
}

#[tokio::test]
async fn looking_up_by_id_has_its_rules() {
    let world = World::start().await;
    world.create("seen", "").await;
    let id = world.control.task("seen").unwrap().id;
    let ids = |count: usize| vec![id.as_str(); count].join(",");
    let found = accepted(world.get(&format!("/tasks?task_ids={},123", ids(19))).await);
    assert_eq!(found.as_array().unwrap().len(), 19);
    assert_eq!(
        accepted(world.get("/tasks?task_ids=123,x").await),
        json!([])
    );
    let many = world.get(&format!("/tasks?task_ids={}", ids(21))).await;
    refused(many, 400, 1201, "cannot exceed 20 in total");
    let none = world.get("/tasks?ids=123").await;
    refused(none, 400, 1201, "task_ids or external_task_ids is required");
    let both = world.get("/tasks?task_ids=1&external_task_ids=seen").await;
    refused(both, 400, 1201, "together");
    let legacy = world.get("/v1/videos/text2video/seen").await;
    refused(legacy, 400, 1201, "Task not found by id/external id: seen");
    let stats = world.control.stats().queries;
    assert_eq!((stats.tasks_by_id, stats.ids, stats.max_ids), (5, 45, 21));
    assert_eq!((stats.legacy_single, stats.total()), (1, 6));
}

#[tokio::test]
async fn the_cursor_visits_every_task_once() {
    let mut config = quick();
    config.slots.video = 100;
    let world = World::with(config).await;
    let empty = accepted(world.post("/tasks", &json!({})).await);
    assert_eq!(empty, json!({ "count": 0, "has_more": false }));

    for n in 0..7 {
        world
            .create(&format!("t{n}"), if n == 3 { "[sim:fail]" } else { "" })
            .await;
    }
    until("all have ended", || world.control.is_idle().then_some(())).await;
    let mut seen = BTreeSet::new();
    let mut body = json!({ "limit": 3 });
    let mut pages = Vec::new();
    loop {
        let page = accepted(world.post("/tasks", &body).await);
        for task in page["result"].as_array().unwrap() {
            assert!(
                seen.insert(task["id"].as_str().unwrap().to_owned()),
                "a task twice"
            );
        }
        pages.push(page["count"].as_u64().unwrap());
        if page["has_more"] == false {
            assert!(page.get("next_cursor").is_none());
            break;
        }
        body = json!({ "limit": 3, "cursor": page["next_cursor"] });
    }
    assert_eq!(pages, [3, 3, 1]);
    assert_eq!(seen.len(), 7);

    let only = |status: &str| json!({ "filters": [{ "key": "status", "values": [status] }] });
    let failed = accepted(world.post("/tasks", &only("failed")).await);
    assert_eq!(failed["result"][0]["external_id"], "t3");
    assert_eq!(failed["count"], 1);
    let images = json!({ "filters": [{ "key": "product_type", "values": ["image"] }] });
    assert_eq!(accepted(world.post("/tasks", &images).await)["count"], 0);
    let created = world.control.task("t5").unwrap().created_ms;
    let one = json!({ "start_time": created.to_string(), "end_time": created });
    let found = accepted(world.post("/tasks", &one).await);
    let found: Vec<&Value> = found["result"].as_array().unwrap().iter().collect();
    assert!(found.iter().any(|task| task["external_id"] == "t5"));
    assert!(found.iter().all(|task| task["create_time"] == created));
    refused(
        world.post("/tasks", &json!({ "limit": 501 })).await,
        400,
        1201,
        "limit",
    );
    refused(
        world.post("/tasks", &json!({ "cursor": "?" })).await,
        400,
        1201,
        "cursor",
    );
}

#[tokio::test]
async fn a_legacy_list_pages_newest_first() {
    let world = World::start().await;
    for n in 0..3 {
        world.legacy_create(&format!("l{n}"), "").await;
    }
    world.create("new", "").await;
    let path = "/v1/videos/text2video?pageSize=2";
    let ids = |page: Value| -> Vec<String> {
        let tasks = page.as_array().unwrap().clone();
        let id = |t: &Value| {
            t["task_info"]["external_task_id"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        tasks.iter().map(id).collect()
    };
    assert_eq!(ids(accepted(world.get(path).await)), ["l2", "l1"]);
    assert_eq!(
        ids(accepted(world.get(&format!("{path}&pageNum=2")).await)),
        ["l0"]
    );
    assert_eq!(
        accepted(world.get("/v1/videos/image2video").await),
        json!([])
    );
    let wrong = world.get("/v1/videos/text2video?pageSize=501").await;
    refused(wrong, 400, 1201, "pageSize");
    assert_eq!(world.control.stats().queries.legacy_list, 4);
}
