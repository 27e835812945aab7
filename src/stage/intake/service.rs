//! The same submission over NATS request/reply: a micro service, so `nats micro ls` shows it.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::service::ServiceExt;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Intake;
use crate::edge::nats::Broker;
use crate::edge::nats::topology;
use crate::model::ids::Tenant;
use crate::model::problem::{Problem, ProblemCode};
use crate::model::submission::{Inquiry, Submission, parse_json};
use crate::stage::views::Filter;
use crate::telemetry;

/// What may be asked over NATS: the last token of the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Submit,
    Estimate,
    Cancel,
    List,
    SetLimit,
    Adjust,
    Rebuild,
}

/// Serves submissions, estimates, cancellations, lists, limits and corrections over NATS until
/// stopped.
///
/// # Errors
/// The broker's words when the service cannot be started.
pub async fn serve(
    broker: &Broker,
    intake: Intake,
    requests_max: usize,
    stop: CancellationToken,
) -> Result<(), async_nats::Error> {
    let service = broker
        .client()
        .service_builder()
        .description("Accepts requests for the Kling AI platform")
        .start(topology::SERVICE, env!("CARGO_PKG_VERSION"))
        .await?;
    let endpoints = [
        (Endpoint::Submit, topology::SUBMISSIONS),
        (Endpoint::Estimate, topology::ESTIMATES),
        (Endpoint::Cancel, topology::CANCELLATIONS),
        (Endpoint::List, topology::LISTINGS),
        (Endpoint::SetLimit, topology::SET_LIMIT),
        (Endpoint::Adjust, topology::ADJUST),
        (Endpoint::Rebuild, topology::REBUILD),
    ];
    let mut requests = futures::stream::SelectAll::new();
    for (endpoint, subjects) in endpoints {
        let name = subjects.rsplit('.').next().unwrap_or_default();
        let stream = service.endpoint_builder().name(name).add(subjects).await?;
        requests.push(stream.map(move |request| (endpoint, request)).boxed());
    }
    let work = TaskTracker::new();
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(requests_max));
    loop {
        let permit = std::sync::Arc::clone(&permits).acquire_owned().await;
        let (endpoint, request) = tokio::select! {
            () = stop.cancelled() => break,
            next = requests.next() => match next {
                Some(next) => next,
                None => break,
            },
        };
        let intake = intake.clone();
        work.spawn(async move {
            let (headers, body) = match answer(&intake, endpoint, &request.message).await {
                Ok(body) => (HeaderMap::new(), body),
                Err(problem) => refusal(&problem),
            };
            // A caller that has gone away is no fault of ours; its task, if any, is stored.
            let _ = request.respond_with_headers(Ok(body.into()), headers).await;
            drop(permit);
        });
    }
    work.close();
    work.wait().await;
    if let Err(error) = service.stop().await {
        tracing::debug!(
            error = error.to_string(),
            "the NATS service did not stop cleanly"
        );
    }
    Ok(())
}

async fn answer(
    intake: &Intake,
    endpoint: Endpoint,
    message: &async_nats::Message,
) -> Result<Vec<u8>, Problem> {
    match endpoint {
        Endpoint::Submit => submit(intake, message).await,
        Endpoint::Estimate => estimate(intake, message).await,
        Endpoint::Cancel => cancel(intake, message).await,
        Endpoint::List => list(intake, message).await,
        // The broker's permissions say who is an operator.
        Endpoint::SetLimit => json(&intake.set_limit(parse_json(&message.payload)?).await?),
        Endpoint::Adjust => json(&intake.adjust(parse_json(&message.payload)?).await?),
        Endpoint::Rebuild => json(&intake.rebuild(parse_json(&message.payload)?).await?),
    }
}

/// A refusal is the same document as over HTTP, marked by the service headers.
fn refusal(problem: &Problem) -> (HeaderMap, Vec<u8>) {
    let code = problem.code.as_str();
    metrics::counter!(telemetry::TASKS_REFUSED, "code" => code).increment(1);
    let headers = crate::edge::nats::service_error(problem.status, &problem.title);
    (headers, serde_json::to_vec(problem).unwrap_or_default())
}

async fn submit(intake: &Intake, message: &async_nats::Message) -> Result<Vec<u8>, Problem> {
    let tenant = tenant(message)?;
    let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str());
    let key = header("Idempotency-Key");
    let intake = intake.traced(header("traceparent"));
    match Submission::parse(&message.payload)? {
        Submission::One(request) => json(&intake.submit(&tenant, key, &request).await?),
        Submission::Batch(requests) => json(&intake.submit_batch(&tenant, key, &requests).await?),
    }
}

async fn estimate(intake: &Intake, message: &async_nats::Message) -> Result<Vec<u8>, Problem> {
    let tenant = tenant(message)?;
    let Inquiry { submission, advise } = Inquiry::parse(&message.payload)?;
    let answer = intake.estimate(&tenant, submission.requests(), advise);
    json(&answer.await?)
}

async fn cancel(intake: &Intake, message: &async_nats::Message) -> Result<Vec<u8>, Problem> {
    let tenant = tenant(message)?;
    let task = std::str::from_utf8(&message.payload)
        .unwrap_or_default()
        .trim();
    json(&intake.cancel(Some(&tenant), task).await?)
}

/// The body holds the parameters of `GET /v1/tasks` as a JSON object of texts.
async fn list(intake: &Intake, message: &async_nats::Message) -> Result<Vec<u8>, Problem> {
    let tenant = tenant(message)?;
    let query: BTreeMap<String, String> = parse_json(&message.payload)?;
    let query: Vec<(String, String)> = query.into_iter().collect();
    json(&intake.list(Some(&tenant), &Filter::parse(&query)?).await?)
}

/// The subject names the tenant; the broker's permissions say who may use it.
fn tenant(message: &async_nats::Message) -> Result<Tenant, Problem> {
    topology::parse_request_subject(&message.subject).ok_or_else(|| {
        let detail = "the subject names no tenant; use kling.v1.<tenant>.submit";
        Problem::new(ProblemCode::InvalidRequest, detail)
    })
}

fn json(answer: &impl serde::Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(answer).map_err(|error| {
        tracing::error!(error = %telemetry::chain(&error), "an answer could not be written");
        Problem::new(ProblemCode::Unavailable, "the answer could not be written")
    })
}
