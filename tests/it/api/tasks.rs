//! Tasks as they are shown, listed and cancelled.

use jiff::SignedDuration;
use kling_relay::model::event::{EventKind, NewEvent};
use kling_relay::model::ids::TaskId;
use kling_relay::model::task::Status;
use reqwest::Method;
use serde_json::{Value, json};

use super::{WITHIN, World, video};
use crate::broker::until;

fn ids(page: &Value) -> Vec<String> {
    let tasks = page["tasks"].as_array().unwrap().iter();
    tasks
        .map(|task| task["task_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn lists_are_newest_first_filtered_and_paged() {
    let world = World::start().await;
    let mut all = Vec::new();
    for n in 0..7 {
        let colour = if n % 2 == 0 { "red" } else { "blue" };
        let body = video(&json!({"labels": {"colour": colour}}));
        all.push(world.accepted(&body).await);
    }
    world.listed(7).await;
    all.reverse();
    assert_eq!(ids(&world.get("/v1/tasks").await.body), all);

    let mut paged = Vec::new();
    let mut path = "/v1/tasks?limit=3".to_owned();
    loop {
        let page = world.get(&path).await.body;
        paged.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/tasks?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(paged, all);
    let red = ids(&world.get("/v1/tasks?label=colour:red").await.body);
    let expected: Vec<String> = all.iter().step_by(2).cloned().collect();
    assert_eq!(red, expected);
    assert_eq!(
        ids(&world.get("/v1/tasks?label=colour:green").await.body),
        [""; 0]
    );
    assert_eq!(
        ids(&world.get("/v1/tasks?status=succeeded").await.body),
        [""; 0]
    );
    assert_eq!(
        ids(&world.get("/v1/tasks?status=requested&limit=1").await.body),
        all[..1]
    );

    let cancelled = format!("/v1/tasks/{}", all[0]);
    let answer = world.call(Method::DELETE, &cancelled, &Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    until("the list follows", WITHIN, async || {
        ids(&world.get("/v1/tasks?status=failed").await.body) == all[..1]
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_task_gives_its_hold_back() {
    let world = World::start().await;
    let now = world.clock.now() + SignedDuration::from_secs(30);
    let delayed = video(&json!({"not_before": now.to_string(), "prompt": "a canary"}));
    let task = world.accepted(&delayed).await;
    assert_ne!(world.balance().await[0], "0");
    let path = format!("/v1/tasks/{task}");
    let cancelled = world.call(Method::DELETE, &path, &Value::Null).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    assert_eq!(cancelled.body["status"], "failed");
    assert_eq!(cancelled.body["error"]["code"], "cancelled");
    assert!(!cancelled.body.to_string().contains("canary"));
    until("the hold is void", WITHIN, async || {
        world.balance().await[..2] == ["0", "0"]
    })
    .await;
    let again = world.call(Method::DELETE, &path, &Value::Null).await;
    assert_eq!(again.status, 200, "to cancel twice is no fault");
    let history = world.get(&format!("{path}/events")).await.body;
    let events = history["events"].as_array().unwrap();
    let kinds: Vec<&str> = events
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["requested", "failed", "settled"]);
    assert_eq!(events[0]["id"], format!("{task}.requested.1"));
    let prompt = &events[0]["data"]["call"]["body"]["prompt"];
    let prompt = prompt.as_str().unwrap();
    assert!(prompt.starts_with("a canary\nAvoid: "), "{prompt}");
    assert_eq!(events[2]["data"]["deduction"][0]["amount"], "0");
}

#[tokio::test]
async fn what_kling_may_have_is_not_cancelled() {
    let world = World::start().await;
    let task = world.accepted(&video(&json!({}))).await;
    let id = TaskId::parse(&task).unwrap();
    let loaded = world.app.log().load(&id).await.unwrap().unwrap();
    let mut after = loaded.task.clone();
    after.status = Status::Dispatching;
    after.relay.may_exist = true;
    let event = NewEvent::plain(EventKind::Dispatching, 1, after);
    world.app.log().commit(&loaded, event).await.unwrap();
    let path = format!("/v1/tasks/{task}");
    let answer = world.call(Method::DELETE, &path, &Value::Null).await;
    answer.is_refusal("not-cancellable", 409, "", "Kling has no cancel");
    assert_eq!(world.get(&path).await.body["status"], "dispatching");
    assert_ne!(world.balance().await[0], "0", "its money stays held");
}
