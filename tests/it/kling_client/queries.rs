//! Queries: batches, matching, and what may be concluded from an answer.

use kling_relay::edge::kling::client::{Answer, LookUp, QueryReason};
use kling_relay::edge::kling::wire::{Terms, parse_callback};
use kling_relay::model::ids::{KlingTaskId, TaskId};
use kling_relay::model::reply::{CallFailure, Reply};
use serde_json::{Value, json};

use super::{LEGACY, api_key, client, pair, success, task_id};
use crate::scripted_kling::{ScriptedKling, Step, answer};

pub(super) fn look_up(n: u128, kling_id: Option<&str>) -> LookUp {
    LookUp {
        kling_id: kling_id.map(|id| KlingTaskId::parse(id).unwrap()),
        external_id: task_id(n),
        path: LEGACY.to_owned(),
        terms: Terms::default(),
    }
}

fn shown(kling_id: &str, external_id: Option<TaskId>) -> Value {
    let external_id = external_id.map(String::from);
    json!({ "id": kling_id, "status": "processing", "external_id": external_id })
}

/// The Kling ids of the answers, or what they say instead.
fn words(answers: &[Answer]) -> Vec<String> {
    let word = |answer: &Answer| match answer {
        Answer::Seen(sight) => sight.observation.kling_task_id.to_string(),
        Answer::NotThere => "not there".to_owned(),
        Answer::Unreadable(_) => "unreadable".to_owned(),
    };
    answers.iter().map(word).collect()
}

#[tokio::test]
async fn queries_go_out_in_batches_and_answers_stand_in_order() {
    let first: Vec<_> = (0..20)
        .rev()
        .map(|n| shown(&format!("k{n}"), None))
        .collect();
    let unreadable = json!({ "id": "k20", "status": "exploded" });
    let server = ScriptedKling::start(vec![
        success(Value::from(first)),
        success(json!([unreadable])),
        success(json!([shown("x", Some(task_id(22)))])),
    ])
    .await;
    let mut look_ups: Vec<_> = (0..21)
        .map(|n| look_up(n, Some(&format!("k{n}"))))
        .collect();
    look_ups.insert(0, look_up(21, None));
    look_ups.push(look_up(22, None));
    let kling = api_key(&server);
    let answers = client(&kling)
        .query(&look_ups, QueryReason::Quiet)
        .await
        .unwrap();
    let mut expected = vec!["not there".to_owned()];
    expected.extend((0..20).map(|n| format!("k{n}")));
    expected.extend(["unreadable".to_owned(), "x".to_owned()]);
    assert_eq!(words(&answers), expected);
    let lines: Vec<_> = server.calls().into_iter().map(|call| call.line).collect();
    let ids = |ids: Vec<String>| ids.join(",");
    let twenty = ids((0..20).map(|n| format!("k{n}")).collect());
    assert_eq!(lines[0], format!("GET /tasks?task_ids={twenty}"));
    assert_eq!(lines[1], "GET /tasks?task_ids=k20");
    let ours = ids(vec![task_id(21).to_string(), task_id(22).to_string()]);
    assert_eq!(lines[2], format!("GET /tasks?external_task_ids={ours}"));
}

#[tokio::test]
async fn a_sight_can_take_a_callbacks_path() {
    let data = json!([{ "id": "k1", "status": "succeeded", "outputs": [], "create_time": 1 }]);
    let server = ScriptedKling::start(vec![success(data)]).await;
    let kling = api_key(&server);
    let look_ups = [look_up(1, Some("k1"))];
    let answers = client(&kling)
        .query(&look_ups, QueryReason::Quiet)
        .await
        .unwrap();
    let Answer::Seen(sight) = &answers[0] else {
        panic!("{answers:?}")
    };
    assert_eq!(
        sight.observation.external_id.as_deref(),
        Some(task_id(1).as_str())
    );
    assert_eq!(
        parse_callback(&sight.body, Terms::default()),
        Ok(sight.observation.clone())
    );
}

#[tokio::test]
async fn tasks_that_do_not_repeat_our_id_are_asked_about_alone() {
    let server = ScriptedKling::start(vec![
        success(json!([shown("a", None), shown("b", Some(task_id(2)))])),
        success(json!([])),
        success(json!([shown("a", None)])),
    ])
    .await;
    let kling = api_key(&server);
    let look_ups = [look_up(1, None), look_up(2, None), look_up(3, None)];
    let answers = client(&kling)
        .query(&look_ups, QueryReason::LookUp)
        .await
        .unwrap();
    assert_eq!(words(&answers), ["not there", "b", "a"]);
    let lines: Vec<_> = server.calls().into_iter().map(|call| call.line).collect();
    assert_eq!(
        lines[1],
        format!("GET /tasks?external_task_ids={}", task_id(1))
    );
    assert_eq!(
        lines[2],
        format!("GET /tasks?external_task_ids={}", task_id(3))
    );
}

#[tokio::test]
async fn somebody_elses_task_answers_nothing() {
    let server = ScriptedKling::start(vec![
        success(json!([shown("other", None)])),
        success(json!([shown("other", Some(task_id(9)))])),
    ])
    .await;
    let client = client(&api_key(&server));
    for look_up in [look_up(1, Some("k1")), look_up(1, None)] {
        let answers = client
            .query(&[look_up], QueryReason::Confirm)
            .await
            .unwrap();
        assert_eq!(words(&answers), ["not there"]);
    }
    server.calls();
}

#[tokio::test]
async fn without_an_api_key_tasks_are_read_one_by_one_where_they_were_made() {
    let found = json!({ "task_id": "k1", "task_status": "succeed", "task_info": {},
        "final_unit_deduction": "2" });
    let words_not_found = "Task not found by id/external id: x";
    let server = ScriptedKling::start(vec![
        success(found),
        answer(400, json!({ "code": 1201, "message": words_not_found })),
    ])
    .await;
    let client = client(&pair(&server));
    assert_eq!(client.look_ups_per_call(), 1);
    let look_ups = [look_up(1, Some("k1")), look_up(2, None)];
    let answers = client.query(&look_ups, QueryReason::Quiet).await.unwrap();
    assert_eq!(words(&answers), ["k1", "not there"]);
    let lines: Vec<_> = server.calls().into_iter().map(|call| call.line).collect();
    assert_eq!(lines[0], "GET /v1/videos/text2video/k1");
    assert_eq!(
        lines[1],
        format!("GET /v1/videos/text2video/{}", task_id(2))
    );
}

#[tokio::test]
async fn queries_are_tried_again_while_the_decision_says_so() {
    let down = || Step::Answer(503, "", String::new());
    let server = ScriptedKling::start(vec![down(), Step::HangUp, success(json!([]))]).await;
    let look_ups = [look_up(1, Some("k1"))];
    let kling = api_key(&server);
    let answers = client(&kling)
        .query(&look_ups, QueryReason::Quiet)
        .await
        .unwrap();
    assert_eq!(words(&answers), ["not there"]);
    assert_eq!(server.calls().len(), 3);
    let server = ScriptedKling::start(vec![down(), down(), down()]).await;
    let kling = api_key(&server);
    let failure = client(&kling)
        .query(&look_ups, QueryReason::Quiet)
        .await
        .unwrap_err();
    assert!(
        matches!(failure, CallFailure::Answered(Reply { http: 503, .. })),
        "{failure:?}"
    );
    assert_eq!(server.calls().len(), 3);
}
