//! `/_sim/*`: the controls over HTTP, without authentication.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::control::Control;
use super::faults::FaultPlan;
use super::forge::Forgery;
use super::server::Sim;

/// The panel's routes.
pub(super) fn routes() -> Router<Arc<Sim>> {
    Router::new()
        .route("/_sim/stats", get(stats))
        .route("/_sim/tasks", get(tasks))
        .route("/_sim/ca", get(ca))
        .route("/_sim/faults", get(faults).post(set_faults))
        .route("/_sim/secrets", post(secrets))
        .route("/_sim/release", post(release))
        .route("/_sim/test-callback", post(test_callback))
        .route("/_sim/forge", post(forge))
}

async fn stats(Shared(sim): Shared<Arc<Sim>>) -> Response {
    Json(sim.state().stats()).into_response()
}

async fn tasks(Shared(sim): Shared<Arc<Sim>>) -> Response {
    Json(Control::new(sim).tasks()).into_response()
}

async fn ca(Shared(sim): Shared<Arc<Sim>>) -> String {
    sim.ca_pem.clone()
}

async fn faults(Shared(sim): Shared<Arc<Sim>>) -> Response {
    Json(Control::new(sim).faults()).into_response()
}

fn done(result: Result<(), super::SimError>) -> Response {
    match result {
        Ok(()) => Json(json!({})).into_response(),
        Err(error) => refused(&error),
    }
}

fn refused(error: &super::SimError) -> Response {
    (
        StatusCode::BAD_REQUEST,
        Json(json!({ "error": error.to_string() })),
    )
        .into_response()
}

async fn set_faults(Shared(sim): Shared<Arc<Sim>>, Json(plan): Json<FaultPlan>) -> Response {
    done(Control::new(sim).set_faults(plan))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secrets {
    secrets: Vec<String>,
}

async fn secrets(Shared(sim): Shared<Arc<Sim>>, Json(body): Json<Secrets>) -> Response {
    done(Control::new(sim).set_webhook_secrets(body.secrets))
}

async fn release(Shared(sim): Shared<Arc<Sim>>) -> Response {
    let seed = sim.config.seed;
    Json(json!({ "released": Control::new(sim).release_callbacks(seed) })).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    url: String,
}

async fn test_callback(Shared(sim): Shared<Arc<Sim>>, Json(target): Json<Target>) -> Response {
    let answer = Control::new(sim).test_callback(&target.url).await;
    Json(json!({ "answer": answer })).into_response()
}

async fn forge(Shared(sim): Shared<Arc<Sim>>, Json(forgery): Json<Forgery>) -> Response {
    match Control::new(sim).forge(&forgery).await {
        Ok(answer) => Json(json!({ "answer": answer })).into_response(),
        Err(error) => refused(&error),
    }
}
