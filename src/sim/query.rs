//! Reads of tasks: by id, by cursor, and the legacy look-ups and lists.
//!
//! Source: platform reference 2.4, 2.5.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State as Shared};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::catalogue::{Product, Standard};
use super::clock;
use super::reply::{self, Refusal};
use super::server::Sim;
use super::state::State;
use super::tags;
use super::task::{Reader, Task};

/// Ids in one `GET /tasks`.
const IDS_MAX: usize = 20;
/// Tasks in one page of `POST /tasks`.
const PAGE_MAX: usize = 500;
/// Default span of `POST /tasks`, in ms.
const SPAN_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// `GET /tasks`
pub(super) async fn by_id(
    Shared(sim): Shared<Arc<Sim>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let found = by_id_inner(&sim, &query, &headers);
    clock::sleep(sim.config.timing.query_latency).await;
    answer(found)
}

fn answer(result: Result<Value, Refusal>) -> Response {
    match result {
        Ok(data) => reply::ok(data),
        Err(refusal) => refusal.into_response(),
    }
}

fn by_id_inner(
    sim: &Sim,
    query: &HashMap<String, String>,
    headers: &HeaderMap,
) -> Result<Value, Refusal> {
    let mut state = sim.state();
    state.stats.queries.tasks_by_id += 1;
    drop(state);
    sim.gate(headers, Standard::New)?;
    let list = |key: &str| -> Vec<String> {
        let text = query.get(key).map_or("", String::as_str);
        text.split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (ids, external_ids) = (list("task_ids"), list("external_task_ids"));
    state = sim.state();
    let asked = (ids.len() + external_ids.len()) as u64;
    state.stats.queries.ids += asked;
    state.stats.queries.max_ids = state.stats.queries.max_ids.max(asked);
    if ids.is_empty() && external_ids.is_empty() {
        return Err(Refusal::new(
            1201,
            "task_ids or external_task_ids is required",
        ));
    }
    if !ids.is_empty() && !external_ids.is_empty() {
        let message = "task_ids and external_task_ids cannot be used together";
        return Err(Refusal::new(1201, message));
    }
    if ids.len() + external_ids.len() > IDS_MAX {
        let message = "task_ids and external_task_ids cannot exceed 20 in total";
        return Err(Refusal::new(1201, message));
    }
    let system = ids.iter().filter_map(|id| id.parse().ok());
    let external = external_ids
        .iter()
        .filter_map(|id| state.external.get(id).copied());
    let wanted: Vec<u64> = system.chain(external).collect();
    let mut found = Vec::new();
    for id in wanted {
        if let Some(task) = look_up(&mut state, id)? {
            found.push(listed(sim, task));
        }
    }
    Ok(json!(found))
}

/// A task of either standard as `/tasks` shows it.
fn listed(sim: &Sim, task: &Task) -> Value {
    let mut shape = task.new_shape(Reader::Query);
    if sim.config.hide_legacy_ids && task.standard == Standard::Legacy {
        shape
            .as_object_mut()
            .map(|fields| fields.remove("external_id"));
    }
    shape
}

/// A task that can be seen by now; counts the look-up, and fails where a tag wants that.
fn look_up(state: &mut State, id: u64) -> Result<Option<&Task>, Refusal> {
    let now_ms = clock::now_ms();
    let Some(task) = state
        .tasks
        .get_mut(&id)
        .filter(|task| task.visible_ms <= now_ms)
    else {
        return Ok(None);
    };
    task.lookups += 1;
    match tags::at(&task.faults.lookup, task.lookups - 1) {
        Some(code) => Err(Refusal::of(*code)),
        None => Ok(Some(task)),
    }
}

/// `POST /tasks`
pub(super) async fn by_cursor(
    Shared(sim): Shared<Arc<Sim>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    sim.state().stats.queries.tasks_by_cursor += 1;
    let page = sim
        .gate(&headers, Standard::New)
        .and_then(|_| page(&sim, &body));
    answer(page)
}

/// Milliseconds, as a number or as a string.
pub(super) fn millis(body: &Value, key: &str) -> Result<Option<i64>, Refusal> {
    let number = match &body[key] {
        Value::Null => return Ok(None),
        Value::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    number
        .map(Some)
        .ok_or_else(|| Refusal::new(1201, format!("{key} is invalid")))
}

/// Where a listing goes on: its time range and the last id that was shown.
pub(super) struct Cursor {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) before: u64,
}

impl Cursor {
    /// From the body: the cursor if there is one, else the time range.
    pub(super) fn read(body: &Value, default_start: Option<i64>) -> Result<Self, Refusal> {
        if let Some(text) = body["cursor"].as_str().filter(|text| !text.is_empty()) {
            return Self::decode(text).ok_or_else(|| Refusal::new(1201, "cursor is invalid"));
        }
        let end_ms = millis(body, "end_time")?;
        let start_ms = millis(body, "start_time")?;
        if default_start.is_none() && (end_ms.is_none() || start_ms.is_none()) {
            return Err(Refusal::new(1200, "start_time and end_time are required"));
        }
        let end_ms = end_ms.unwrap_or_else(clock::now_ms);
        let start_ms = start_ms.unwrap_or(end_ms - default_start.unwrap_or(0));
        Ok(Self {
            start_ms,
            end_ms,
            before: u64::MAX,
        })
    }

    fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.split('/');
        Some(Self {
            start_ms: parts.next()?.parse().ok()?,
            end_ms: parts.next()?.parse().ok()?,
            before: parts.next()?.parse().ok()?,
        })
    }

    /// The text that goes on after `last`.
    pub(super) fn encode(&self, last: u64) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}/{}/{last}", self.start_ms, self.end_ms))
    }
}

/// `limit` of a listing.
pub(super) fn limit(body: &Value, default: usize) -> Result<usize, Refusal> {
    let refused = || Refusal::new(1201, "limit is invalid");
    match &body["limit"] {
        Value::Null => Ok(default),
        value => {
            let limit = value.as_u64().ok_or_else(refused)?;
            usize::try_from(limit)
                .ok()
                .filter(|n| (1..=PAGE_MAX).contains(n))
                .ok_or_else(refused)
        }
    }
}

fn page(sim: &Sim, body: &[u8]) -> Result<Value, Refusal> {
    let body: Value = if body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(body).map_err(|_| Refusal::of(1200))?
    };
    let cursor = Cursor::read(&body, Some(SPAN_MS))?;
    let limit = limit(&body, 100)?;
    let state = sim.state();
    let now_ms = clock::now_ms();
    let mut matching = state
        .tasks
        .range(..cursor.before)
        .rev()
        .map(|(_, task)| task)
        .filter(|task| (cursor.start_ms..=cursor.end_ms).contains(&task.created_ms))
        .filter(|task| task.visible_ms <= now_ms && passes(task, &body["filters"]));
    let shown: Vec<&Task> = matching.by_ref().take(limit).collect();
    let has_more = matching.next().is_some();
    let mut data = json!({});
    if !shown.is_empty() {
        let result: Vec<Value> = shown.iter().map(|task| listed(sim, task)).collect();
        data["result"] = json!(result);
    }
    data["count"] = json!(shown.len());
    if let Some(last) = shown.last().filter(|_| has_more) {
        data["next_cursor"] = json!(cursor.encode(last.id));
    }
    data["has_more"] = json!(has_more);
    Ok(data)
}

fn passes(task: &Task, filters: &Value) -> bool {
    filters.as_array().into_iter().flatten().all(|filter| {
        let actual = match filter["key"].as_str() {
            Some("status") => task.status.word(),
            Some("product_type") => task.product.pack.filter_name(),
            _ => return true,
        };
        filter["values"]
            .as_array()
            .is_some_and(|values| values.iter().any(|v| v == actual))
    })
}

/// `GET /v1/…/{id}`
pub(super) async fn legacy_single(
    sim: Arc<Sim>,
    product: &'static Product,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    sim.state().stats.queries.legacy_single += 1;
    if let Err(refusal) = sim.gate(&headers, Standard::Legacy) {
        return refusal.into_response();
    }
    let mut state = sim.state();
    let external = state
        .external
        .get(&id)
        .copied()
        .filter(|_| product.name != "advanced-lip-sync");
    let found = external.or_else(|| id.parse().ok()).filter(|id| {
        let task = state.tasks.get(id);
        task.is_some_and(|task| is_of(task, product))
    });
    let task = match found.map(|id| look_up(&mut state, id)).transpose() {
        Ok(task) => task.flatten(),
        Err(refusal) => return refusal.into_response(),
    };
    match task {
        Some(task) => reply::ok(task.legacy_shape(Reader::Query)),
        None => {
            let message = format!("Task not found by id/external id: {id}");
            Refusal::new(1201, message).into_response()
        }
    }
}

fn is_of(task: &Task, product: &Product) -> bool {
    task.standard == Standard::Legacy && task.product.name == product.name
}

/// `GET /v1/…`
pub(super) async fn legacy_list(
    sim: Arc<Sim>,
    product: &'static Product,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    sim.state().stats.queries.legacy_list += 1;
    if let Err(refusal) = sim.gate(&headers, Standard::Legacy) {
        return refusal.into_response();
    }
    let number = |key: &str, default: usize, max: usize| -> Option<usize> {
        let Some(text) = query.get(key) else {
            return Some(default);
        };
        text.parse().ok().filter(|n| (1..=max).contains(n))
    };
    let size_max = if product.name == "custom-voice" {
        1000
    } else {
        500
    };
    let (Some(page), Some(size)) = (number("pageNum", 1, 1000), number("pageSize", 30, size_max))
    else {
        return Refusal::new(1201, "pageNum or pageSize is invalid").into_response();
    };
    let state = sim.state();
    let now_ms = clock::now_ms();
    let tasks: Vec<Value> = state
        .tasks
        .values()
        .rev()
        .filter(|task| task.visible_ms <= now_ms && is_of(task, product))
        .skip((page - 1) * size)
        .take(size)
        .map(|task| task.legacy_shape(Reader::Query))
        .collect();
    reply::ok(json!(tasks))
}
