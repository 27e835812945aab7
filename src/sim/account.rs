//! Account endpoints: resource packs and the ledger of deductions.
//!
//! Source: platform reference 7.5.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::catalogue::{Pack, Standard};
use super::clock;
use super::deduct::{Deduction, Purse};
use super::query::{Cursor, limit};
use super::reply::{self, Refusal};
use super::server::Sim;
use super::state::State;
use super::task::Task;

/// `GET /account/costs`
pub(super) async fn costs(
    Shared(sim): Shared<Arc<Sim>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    sim.state().stats.queries.account += 1;
    if let Err(refusal) = sim.gate(&headers, Standard::Legacy) {
        return refusal.into_response();
    }
    let given = |key: &str| {
        query
            .get(key)
            .is_some_and(|text| text.parse::<i64>().is_ok())
    };
    if !given("start_time") || !given("end_time") {
        return Refusal::of(1200).into_response();
    }
    let state = sim.state();
    let wanted = query.get("resource_pack_name");
    let now_ms = clock::now_ms();
    let infos: Vec<Value> = state
        .packs
        .iter()
        .filter(|(pack, _)| wanted.is_none_or(|name| *name == pack_name(**pack, 1)))
        .map(|(pack, balance)| {
            let empty = balance.remaining <= Decimal::ZERO;
            json!({
                "resource_pack_name": pack_name(*pack, 1),
                "resource_pack_id": pack_id(*pack, 1),
                "resource_pack_type": "decreasing_total",
                "total_quantity": number(balance.total),
                "remaining_quantity": number(balance.remaining),
                "purchase_time": sim.started_ms,
                "effective_time": sim.started_ms,
                "invalid_time": now_ms + 180 * 24 * 60 * 60 * 1000,
                "status": if empty { "runOut" } else { "online" },
            })
        })
        .collect();
    let mut data = json!({ "code": 0, "msg": "success" });
    if !infos.is_empty() {
        data["resource_pack_subscribe_infos"] = json!(infos);
    }
    reply::ok(data)
}

fn pack_name(pack: Pack, which: u8) -> String {
    format!("Simulator-{}-pack-{which}", pack.name())
}

fn pack_id(pack: Pack, which: u8) -> String {
    format!("simulator-{}-{which}", pack.name())
}

/// A decimal as a JSON number, without passing through a float of ours.
fn number(amount: Decimal) -> Value {
    serde_json::from_str(&amount.normalize().to_string()).unwrap_or(Value::Null)
}

/// `POST /account/billing/package`
pub(super) async fn package_ledger(
    Shared(sim): Shared<Arc<Sim>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    ledger(&sim, &headers, &body, true)
}

/// `POST /account/billing/balance`: what was paid in cash.
pub(super) async fn balance_ledger(
    Shared(sim): Shared<Arc<Sim>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    ledger(&sim, &headers, &body, false)
}

fn ledger(sim: &Sim, headers: &HeaderMap, body: &[u8], packages: bool) -> Response {
    sim.state().stats.queries.account += 1;
    let page = sim
        .gate(headers, Standard::Legacy)
        .and_then(|_| serde_json::from_slice(body).map_err(|_| Refusal::of(1200)))
        .and_then(|body| page(&sim.state(), &body, packages));
    match page {
        Ok(data) => reply::ok(data),
        Err(refusal) => refusal.into_response(),
    }
}

fn page(state: &State, body: &Value, packages: bool) -> Result<Value, Refusal> {
    let cursor = Cursor::read(body, None)?;
    let limit = limit(body, 500)?;
    // A record's place is its cursor: one task may have several.
    let mut lines: Vec<(u64, &Deduction, &Task)> = (1..)
        .zip(&state.records)
        .filter_map(|(place, line)| Some((place, line, state.tasks.get(&line.task)?)))
        .filter(|(place, line, task)| {
            packages == (line.purse != Purse::Cash)
                && *place < cursor.before
                && (cursor.start_ms..=cursor.end_ms).contains(&task.created_ms)
                && passes(line, task, &body["filters"])
        })
        .collect();
    lines.reverse();
    let has_more = lines.len() > limit;
    lines.truncate(limit);
    let detail: Vec<Value> = lines
        .iter()
        .map(|(_, line, task)| entry(line, task))
        .collect();
    let mut data = json!({ "result": { "detail": detail, "count": detail.len() } });
    if let Some((place, ..)) = lines.last().filter(|_| has_more) {
        data["next_cursor"] = json!(cursor.encode(*place));
    }
    data["has_more"] = json!(has_more);
    Ok(data)
}

/// Values of one key are alternatives; different keys must all agree.
fn passes(line: &Deduction, task: &Task, filters: &Value) -> bool {
    let of_pack = |word: fn(Pack, u8) -> String| match line.purse {
        Purse::Pack(pack, which) => word(pack, which),
        Purse::Cash => String::new(),
    };
    filters.as_array().into_iter().flatten().all(|filter| {
        let actual = match filter["key"].as_str() {
            Some("api_key_name") => task.key_name.clone(),
            Some("product_type") => line.purse.name().to_owned(),
            Some("package_name") => of_pack(pack_name),
            Some("package_id") => of_pack(pack_id),
            _ => return true,
        };
        filter["values"]
            .as_array()
            .is_some_and(|values| values.iter().any(|v| *v == actual))
    })
}

fn entry(line: &Deduction, task: &Task) -> Value {
    let duration = task
        .outputs
        .first()
        .map_or("", |output| output.duration.as_str());
    let mut entry = json!({
        "task_id": task.id.to_string(),
        "api_key_name": task.key_name,
        "product_function": task.product.name,
        "model_name": task.model,
        "resolution": task.ask.resolution,
        "duration": duration,
        "refer_video_input": task.ask.video_input,
        "video_sound": task.ask.sound,
        "voice_control": task.ask.voice,
        "deduction_time": line.at_ms.to_string(),
        "deduction_amount": number(line.amount),
    });
    let own = match line.purse {
        Purse::Pack(pack, which) => json!({
            "package_id": pack_id(pack, which),
            "product_type": pack.name(),
            "unit_before_deduction": number(line.before),
            "unit_after_deduction": number(line.after),
        }),
        Purse::Cash => json!({
            "cash_type": "balance",
            "balance_before_deduction": number(line.before),
            "balance_after_deduction": number(line.after),
            "list_price": number(line.amount),
            "currency": "USD",
        }),
    };
    if let (Some(entry), Value::Object(own)) = (entry.as_object_mut(), own) {
        entry.extend(own);
    }
    entry
}
