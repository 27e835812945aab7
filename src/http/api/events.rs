//! A task's history, and events live as server-sent events.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::StreamExt;
use serde_json::json;

use super::auth::Caller;
use super::{Answer, Api, TaskPath};
use crate::model::problem::{Problem, ProblemCode};
use crate::stage::feed::{Of, Shown};

/// `GET /v1/tasks/<task>/events`: the history as JSON, or live when the caller accepts an event
/// stream.
pub(super) async fn of_task(
    State(api): State<Api>,
    caller: Caller,
    TaskPath(task): TaskPath,
    headers: HeaderMap,
) -> Answer {
    let task = api.intake.task(caller.scope(), &task).await?;
    if wants_stream(&headers) {
        let from = after(&headers)?.unwrap_or(task.relay.requested_seq.max(1));
        return live(&api, &caller, Of::Task(&task.task_id), Some(from)).await;
    }
    let events = api.feed.history(&task.task_id).await?;
    Ok(Json(json!({ "events": events })).into_response())
}

/// `GET /v1/events`: live, from now on or from after `Last-Event-ID`.
pub(super) async fn of_all(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Answer {
    let from = after(&headers)?;
    let task = query
        .iter()
        .find(|(name, _)| name == "task")
        .map(|(_, value)| value);
    match (task, caller.scope()) {
        (Some(task), scope) => {
            let task = api.intake.task(scope, task).await?;
            live(&api, &caller, Of::Task(&task.task_id), from).await
        }
        (None, Some(tenant)) => live(&api, &caller, Of::Tenant(tenant), from).await,
        (None, None) => live(&api, &caller, Of::Everybody, from).await,
    }
}

async fn live(api: &Api, caller: &Caller, of: Of<'_>, from: Option<u64>) -> Answer {
    let permit = api.keys.stream(caller)?;
    let events = api.feed.live(of, from).await?;
    // Ends when we stop, since a listener would hold the drain up: the caller comes back with
    // `Last-Event-ID`.
    let events = events
        .take_until(api.stop.clone().cancelled_owned())
        .map(move |shown| {
            let _open = &permit;
            event(&shown)
        });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}

fn event(shown: &Shown) -> Result<Event, axum::Error> {
    Event::default()
        .id(shown.sequence.to_string())
        .event(shown.event.as_str())
        .json_data(shown)
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/event-stream"))
}

/// Returns the sequence after the one in `Last-Event-ID`.
fn after(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let last: u64 = value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            let detail = "Last-Event-ID must be the id of an event, a whole number";
            Problem::new(ProblemCode::InvalidRequest, detail).field("Last-Event-ID")
        })?;
    Ok(Some(last.saturating_add(1)))
}
