//! The submit API: extract, call, render. What a request means is intake's business.

pub mod auth;
pub mod events;
pub mod usage;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::auth::{Caller, Keys};
use super::room::{Held, Unread};
use crate::config;
use crate::edge::clock::Clock;
use crate::model::ledger::{LedgerKey, LedgerOwner};
use crate::model::operator::SetLimit;
use crate::model::problem::{Problem, ProblemCode};
use crate::model::request::TaskRequest;
use crate::model::submission::{Inquiry, parse_json};
use crate::ops::usage::Reports;
use crate::stage::feed::Feed;
use crate::stage::intake::Intake;
use crate::stage::views::Filter;
use crate::telemetry;

/// When to come again after too many large requests at once, seconds.
const BUSY_RETRY_SECONDS: u64 = 1;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Api {
    intake: Intake,
    feed: Feed,
    reports: Reports,
    clock: Clock,
    keys: Arc<Keys>,
    body_max_bytes: usize,
    batch_body_max_bytes: usize,
    stop: CancellationToken,
}

impl Api {
    /// Makes the API over the submit path, the events and the usage reports. Live events end with
    /// the stop.
    #[must_use]
    pub fn new(
        intake: Intake,
        feed: Feed,
        reports: Reports,
        clock: Clock,
        rules: &config::Api,
        stop: CancellationToken,
    ) -> Self {
        Self {
            intake,
            feed,
            reports,
            clock,
            keys: Arc::new(Keys::new(rules)),
            body_max_bytes: rules.body_max_bytes,
            batch_body_max_bytes: rules.batch_body_max_bytes,
            stop,
        }
    }

    /// Reads a JSON body, with room for what it will be once it is parsed.
    async fn read(
        &self,
        caller: &Caller,
        request: Request,
        max_bytes: usize,
    ) -> Result<Held<'_>, Problem> {
        let (head, body) = request.into_parts();
        let held = match self.keys.bodies(caller) {
            Some(room) => room.read(&head.headers, body, max_bytes).await,
            None => Err(Unread::Busy),
        };
        let held = held.and_then(|mut held| {
            held.will_be_parsed()?;
            Ok(held)
        });
        held.map_err(|unread| match unread {
            Unread::TooLarge | Unread::CutOff => {
                let detail = format!(
                    "the body is larger than {max_bytes} bytes, has too many values or did not \
                     arrive whole; send media by URL and split batches"
                );
                Problem::new(ProblemCode::TooLarge, detail)
            }
            Unread::Busy => {
                let detail = "too many large requests are in hand; try again in a moment";
                Problem::new(ProblemCode::Unavailable, detail).retry_after(BUSY_RETRY_SECONDS)
            }
        })
    }

    /// Returns the routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/tasks", only(post(submit).get(list), "GET, POST"))
            .route(
                "/v1/tasks/{task}",
                only(get(show).delete(cancel), "DELETE, GET"),
            )
            .route("/v1/tasks/{task}/events", only(get(events::of_task), "GET"))
            .route("/v1/batches", only(post(submit_batch), "POST"))
            .route("/v1/estimates", only(post(estimate), "POST"))
            .route("/v1/events", only(get(events::of_all), "GET"))
            .route("/v1/budget", only(get(budget).put(set_limit), "GET, PUT"))
            .route("/v1/usage", only(get(usage::report), "GET"))
            .route("/openapi.json", only(get(later), "GET"))
            .route("/asyncapi.json", only(get(later), "GET"))
            .route("/console", only(get(later), "GET"))
            .fallback(no_path)
            .with_state(self)
    }
}

/// Answers other methods with a problem document.
fn only(methods: MethodRouter<Api>, allowed: &'static str) -> MethodRouter<Api> {
    methods.fallback(move || async move {
        let detail = format!("this path takes {allowed}");
        let mut response =
            Refusal(Problem::new(ProblemCode::MethodNotAllowed, detail)).into_response();
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(allowed));
        response
    })
}

/// A problem as an HTTP answer.
#[derive(Debug)]
pub struct Refusal(Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = self.0.code.as_str();
        metrics::counter!(telemetry::TASKS_REFUSED, "code" => code).increment(1);
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.0.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

type Answer = Result<Response, Refusal>;

async fn submit(State(api): State<Api>, caller: Caller, request: Request) -> Answer {
    let tenant = caller.tenant()?;
    let key = idempotency_key(request.headers())?;
    let intake = api.intake.traced(traceparent(request.headers()));
    let held = api.read(&caller, request, api.body_max_bytes).await?;
    let body: TaskRequest = parse_json(&held.body)?;
    let accepted = intake.submit(tenant, key.as_deref(), &body).await?;
    let location = format!("/v1/tasks/{}", accepted.task_id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(accepted)).into_response())
}

/// The body of `POST /v1/batches`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    tasks: Vec<TaskRequest>,
}

async fn submit_batch(State(api): State<Api>, caller: Caller, request: Request) -> Answer {
    let tenant = caller.tenant()?;
    let key = idempotency_key(request.headers())?;
    let intake = api.intake.traced(traceparent(request.headers()));
    let held = api.read(&caller, request, api.batch_body_max_bytes).await?;
    let batch: Batch = parse_json(&held.body)?;
    let accepted = intake
        .submit_batch(tenant, key.as_deref(), &batch.tasks)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
}

async fn estimate(State(api): State<Api>, caller: Caller, request: Request) -> Answer {
    let tenant = caller.tenant()?;
    let held = api.read(&caller, request, api.batch_body_max_bytes).await?;
    let Inquiry { submission, advise } = Inquiry::parse(&held.body)?;
    let estimates = api.intake.estimate(tenant, submission.requests(), advise);
    Ok(Json(estimates.await?).into_response())
}

async fn show(State(api): State<Api>, caller: Caller, TaskPath(task): TaskPath) -> Answer {
    let task = api.intake.task(caller.scope(), &task).await?;
    Ok(Json(task).into_response())
}

async fn cancel(State(api): State<Api>, caller: Caller, TaskPath(task): TaskPath) -> Answer {
    let task = api.intake.cancel(caller.scope(), &task).await?;
    Ok(Json(task).into_response())
}

async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    let page = api
        .intake
        .list(caller.scope(), &Filter::parse(&query)?)
        .await?;
    Ok(Json(page).into_response())
}

async fn budget(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    let asked = query
        .iter()
        .find(|(name, _)| name == "tenant")
        .map(|(_, value)| value.as_str());
    let owner = match (caller.scope(), asked) {
        (Some(tenant), _) => LedgerOwner::Tenant(tenant.clone()),
        (None, None) => LedgerOwner::Account,
        (None, Some(name)) => LedgerOwner::parse(name).map_err(|e| {
            Problem::new(ProblemCode::InvalidRequest, e.to_string()).field("tenant")
        })?,
    };
    let key = LedgerKey {
        owner,
        day: api.intake.day(api.clock.now()),
    };
    Ok(Json(api.intake.day_budget(&key).await?).into_response())
}

async fn set_limit(State(api): State<Api>, caller: Caller, request: Request) -> Answer {
    caller.operator()?;
    let held = api.read(&caller, request, api.body_max_bytes).await?;
    let wish: SetLimit = parse_json(&held.body)?;
    Ok(Json(api.intake.set_limit(wish).await?).into_response())
}

/// The task that the path names.
struct TaskPath(String);

impl FromRequestParts<Api> for TaskPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        // What is no UTF-8 names no task.
        let path = Path::<String>::from_request_parts(parts, api).await;
        let Path(task) = path.map_err(|_| {
            Problem::new(
                ProblemCode::NotFound,
                "the path names no task; check the id",
            )
        })?;
        Ok(Self(task))
    }
}

async fn later(_: Caller) -> Answer {
    let detail = "this is documented and not there yet; the README lists what is missing";
    Err(Problem::new(ProblemCode::NotImplemented, detail).into())
}

async fn no_path() -> Refusal {
    Problem::new(
        ProblemCode::NotFound,
        "there is no such path; the README lists them",
    )
    .into()
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| {
        let detail = "the Idempotency-Key must be 1 to 128 printable ASCII characters";
        Problem::new(ProblemCode::InvalidRequest, detail).field("Idempotency-Key")
    })?;
    Ok(Some(text.to_owned()))
}

/// The caller's trace; two of them are none.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Words what the listener answers itself as the documents that callers of the API know.
#[must_use]
pub fn failure(status: StatusCode) -> Response {
    let (code, detail) = match status {
        StatusCode::REQUEST_TIMEOUT => (
            ProblemCode::RequestTimeout,
            "the request was not finished in time, and what became of it is unknown; repeat it \
             with the same Idempotency-Key",
        ),
        _ => (
            ProblemCode::Internal,
            "the request met a fault of ours, and what became of it is unknown; repeat it with \
             the same Idempotency-Key, and report it if it stays",
        ),
    };
    Refusal(Problem::new(code, detail)).into_response()
}
