//! What ended tasks used, by group.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::IntoResponse;

use super::auth::Caller;
use super::{Answer, Api};

/// `GET /v1/usage`: whole budget days, by day if nothing else is asked for.
pub(super) async fn report(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    let report = api.reports.answer(caller.scope(), &query).await?;
    Ok(Json(report).into_response())
}
