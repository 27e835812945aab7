//! Lists by creation time: what is asked, page by page, and what ends a list.

use std::sync::Arc;

use kling_relay::edge::kling::client::{PageOf, QueryReason, Span};
use kling_relay::edge::kling::lists::{ListError, Lists, limiter};
use kling_relay::edge::kling::wire::{RecordSource, Terms};
use kling_relay::model::amount::Unit;
use kling_relay::model::reply::CallFailure;
use serde_json::json;

use super::{LEGACY, api_key, client, pair, success};
use crate::scripted_kling::{ScriptedKling, Step};

const REASON: QueryReason = QueryReason::Reconcile;

fn span() -> Span {
    Span {
        from: "2026-11-21T00:00:00Z".parse().unwrap(),
        to: "2026-11-21T23:59:59.999Z".parse().unwrap(),
    }
}

#[tokio::test]
async fn tasks_are_listed_by_range_and_then_by_cursor() {
    let task = json!({ "id": "k1", "external_id": "x", "status": "succeeded",
        "billing": [{ "charge_type": "cash", "amount": "0.21", "currency": "USD" }] });
    let first = json!({ "result": [task], "count": 1, "next_cursor": "c2", "has_more": true });
    let last = json!({ "count": 0, "has_more": false });
    let server = ScriptedKling::start(vec![success(first), success(last)]).await;
    let client = client(&api_key(&server));
    let page = client
        .tasks_page(PageOf::First(span()), 7, REASON)
        .await
        .unwrap();
    let bill = page.tasks[0].observation.as_ref().unwrap().billing.clone();
    assert_eq!(bill.unwrap()[0].to_string(), "0.21 USD");
    let cursor = page.next_cursor.unwrap();
    let page = client
        .tasks_page(PageOf::After(&cursor), 9_999, REASON)
        .await
        .unwrap();
    assert_eq!((page.tasks.len(), page.next_cursor), (0, None));
    let calls = server.calls();
    assert_eq!([&calls[0].line, &calls[1].line], ["POST /tasks"; 2]);
    let range = json!({ "start_time": 1_795_219_200_000_i64,
        "end_time": 1_795_305_599_999_i64, "limit": 7 });
    assert_eq!(calls[0].body, range);
    assert_eq!(calls[1].body, json!({ "cursor": "c2", "limit": 500 }));
}

#[tokio::test]
async fn records_are_listed_for_packs_and_for_cash() {
    let record = json!({ "task_id": "k1", "deduction_amount": 1.5, "product_type": "video" });
    let cash = json!({ "task_id": "k1", "deduction_amount": 0.21, "currency": "USD" });
    let page = |detail| success(json!({ "result": { "detail": [detail] }, "has_more": false }));
    // A read is repeated as the decision about reads says.
    let down = Step::Answer(503, "", String::new());
    let server = ScriptedKling::start(vec![down, page(record), page(cash)]).await;
    // Key pairs reach the account's endpoints.
    let client = client(&pair(&server));
    let mut seen = Vec::new();
    for source in client.record_sources() {
        let page = client
            .records_page(source, PageOf::First(span()), 500, REASON)
            .await;
        seen.extend(
            page.unwrap()
                .records
                .into_iter()
                .filter_map(|record| record.amount),
        );
    }
    let seen: Vec<String> = seen.iter().map(ToString::to_string).collect();
    assert_eq!(seen, ["1.5 video-unit", "0.21 USD"]);
    let lines: Vec<_> = server.calls().into_iter().map(|call| call.line).collect();
    let (packs, cash) = (
        "POST /account/billing/package",
        "POST /account/billing/balance",
    );
    assert_eq!(lines, [packs, packs, cash]);
}

#[tokio::test]
async fn legacy_lists_are_numbered() {
    let task = json!({ "task_id": "k1", "task_status": "succeed", "created_at": 1,
        "task_info": { "external_task_id": "x" }, "final_unit_deduction": "8" });
    let server = ScriptedKling::start(vec![success(json!([task]))]).await;
    let client = client(&pair(&server));
    let terms = Terms::new(Unit::Image, Unit::Usd);
    let entries = client
        .legacy_page(LEGACY, 3, 30, terms, REASON)
        .await
        .unwrap();
    let seen = entries[0].observation.as_ref().unwrap();
    assert_eq!(seen.external_id.as_deref(), Some("x"));
    assert_eq!(
        seen.billing.as_ref().unwrap()[0].to_string(),
        "8 image-unit"
    );
    assert_eq!(
        server.calls()[0].line,
        format!("GET {LEGACY}?pageNum=3&pageSize=30")
    );
}

#[tokio::test]
async fn a_list_that_cannot_be_read_whole_is_none() {
    let nameless = json!({ "result": { "detail": [{ "deduction_amount": 1 }] } });
    let endless = json!({ "result": { "detail": [] }, "has_more": true });
    let long = json!({ "result": { "detail": [], "padding": "x".repeat(8 << 10) } });
    // Too long an answer may be a slip of the line, and is asked for again.
    for (data, tries) in [(nameless, 1), (endless, 1), (long, 3)] {
        let script = (0..tries).map(|_| success(data.clone())).collect();
        let server = ScriptedKling::start(script).await;
        let client = client(&api_key(&server));
        let page = client
            .records_page(RecordSource::Package, PageOf::First(span()), 500, REASON)
            .await;
        assert!(
            matches!(page, Err(CallFailure::OutcomeUnknown(_))),
            "{page:?}"
        );
        assert_eq!(server.calls().len(), tries);
    }
}

#[tokio::test]
async fn a_walk_in_circles_is_an_error_and_no_end() {
    let circle = json!({ "count": 0, "next_cursor": "c", "has_more": true });
    let script = (0..4).map(|_| success(circle.clone())).collect();
    let server = ScriptedKling::start(script).await;
    let kling = Arc::new(client(&api_key(&server)));
    let lists = Lists::new(kling, limiter(1_000), REASON);
    let mut tasks = lists.tasks(span());
    assert!(tasks.next().await.unwrap().is_some());
    let error = tasks.next().await.unwrap_err();
    assert!(
        matches!(error, ListError::Endless { page: 2, .. }),
        "{error}"
    );
    let mut records = lists.records(RecordSource::Package, span());
    assert!(records.next().await.unwrap().is_some());
    let error = records.next().await.unwrap_err();
    assert!(
        matches!(error, ListError::Endless { page: 2, .. }),
        "{error}"
    );
    assert_eq!(server.calls()[0].body["limit"], 100);
}
