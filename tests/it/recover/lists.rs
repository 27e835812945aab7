//! Which of Kling's lists are read, and to their end.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{WHY, ended_at_kling, recover, recover_with};
use crate::scripted_kling::{ScriptedKling, Step, answer};
use crate::world::{Expected, Options, World, legacy_video, video};

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_on_a_later_page_is_found() {
    let world = World::start(Options::default()).await;
    let silent = world.submit_all(&[video("callback=drop")]).await;
    ended_at_kling(&world, &silent).await;
    let ids: Vec<String> = (0..120).map(|n| format!("theirs-{n}")).collect();
    for id in &ids {
        world.control().add_foreign(Some(id), Decimal::ONE);
    }
    let done = recover(&world, &WHY).await.json();
    let counts = json!({ "missed": 1, "foreign": 120 });
    assert_eq!(done["counts"], counts, "{done}");
    world.finished(&silent).await;
    world.app.stop().await;
    world.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_tasks_that_the_list_of_all_shows_without_their_id_are_found_once() {
    let world = World::start(Options::default().sim(|sim| sim.hide_legacy_ids = true)).await;
    let requests = [video("callback=drop"), legacy_video("callback=drop")];
    let silent = world.submit_all(&requests).await;
    ended_at_kling(&world, &silent).await;
    let done = recover(&world, &WHY).await.json();
    assert_eq!(done["counts"], json!({ "missed": 2 }), "{done}");
    world.finished(&silent).await;
    let again = recover(&world, &WHY).await.json();
    assert_eq!(again["counts"], json!({ "known": 2 }));
    world.stop(Expected::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn access_keys_alone_read_the_legacy_lists() {
    let world = World::start(Options::default()).await;
    let silent = world.submit_all(&[legacy_video("callback=drop")]).await;
    ended_at_kling(&world, &silent).await;
    let keys = [
        ("ACCESS_KEY", "simulator-access"),
        ("SECRET_KEY", "simulator-secret"),
    ];
    let done = recover_with(&world, &WHY, &keys).await.json();
    assert_eq!(done["counts"], json!({ "missed": 1 }), "{done}");
    world.finished(&silent).await;
    world.stop(Expected::default()).await;
}

fn page(data: Value) -> Step {
    answer(
        200,
        json!({ "code": 0, "message": "SUCCEED", "data": data }),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_circles_is_an_error() {
    let world = World::start(Options::default()).await;
    let circle = json!({ "count": 0, "next_cursor": "c", "has_more": true });
    let kling = ScriptedKling::start(vec![page(circle.clone()), page(circle)]).await;
    let url = kling.url().to_string();
    let settings = [("API_KEY", "api-key-kling-sample"), ("BASE_URL", &url)];
    let said = recover_with(&world, &WHY, &settings).await;
    said.is(1, "page 2 is not the last");
    assert_eq!(kling.calls().len(), 2);
    world.stop(Expected::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ending_that_contradicts_ours_is_reported() {
    let world = World::start(Options::default()).await;
    let id = world.submit(&video("fail=moderation")).await;
    let ended = world.finished(std::slice::from_ref(&id)).await;
    let seen = json!({ "id": ended[&id].kling_task_id, "external_id": id, "status": "succeeded",
        "outputs": [], "create_time": ended[&id].relay.requested_at.as_millisecond(),
        "billing": [{ "charge_type": "unit", "amount": "3", "package_type": "video" }] });
    let list = json!({ "result": [seen], "count": 1, "has_more": false });
    let kling = ScriptedKling::start(vec![page(list)]).await;
    let url = kling.url().to_string();
    let settings = [("API_KEY", "api-key-kling-sample"), ("BASE_URL", &url)];
    let said = recover_with(&world, &WHY, &settings).await.json();
    assert_eq!(said["counts"], json!({ "contradicts": 1 }), "{said}");
    assert_eq!(said["named"], json!({ "contradicts": [id] }));
    assert_eq!(said["told"], 0);
    world.stop(Expected::default()).await;
}
