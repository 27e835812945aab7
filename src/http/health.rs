//! Is it alive, is it ready, and in what figures: for machines that watch, without user data.
//!
//! Ready means that a message was published just now: only a real publish notices a full stream.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::{BoxFuture, FutureExt, join_all};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::server::plain_fallbacks;
use crate::config::Role;
use crate::edge::clock::Clock;
use crate::telemetry::Recorder;

/// A probe's answer is good for so long, however many ask.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A probe that takes longer has failed. With the second above, what is wrong shows within five.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two foldings of the histograms.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

type Probe = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// One check of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Whether it holds.
    pub ok: bool,
    /// What is wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl From<Result<(), String>> for Check {
    fn from(result: Result<(), String>) -> Self {
        Self {
            ok: result.is_ok(),
            problem: result.err(),
        }
    }
}

/// The body of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every check holds.
    pub ready: bool,
    /// By name: the probes, and `role.<name>` for each role of this process.
    pub checks: BTreeMap<String, Check>,
}

/// What `/readyz` answers from; clones share it. Stages report their roles, the probes are asked.
#[derive(Clone)]
pub struct Readiness(Arc<Shared>);

struct Shared {
    probes: Vec<(&'static str, Probe)>,
    probed: Arc<tokio::sync::Mutex<Option<Probed>>>,
    roles: Mutex<BTreeMap<Role, Check>>,
    stopping: CancellationToken,
}

struct Probed {
    at: Instant,
    checks: Vec<(String, Check)>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("roles", &self.0.roles)
            .finish_non_exhaustive()
    }
}

/// Collects the probes before anything can ask.
#[derive(Default)]
pub struct ReadinessBuilder {
    probes: Vec<(&'static str, Probe)>,
}

impl fmt::Debug for ReadinessBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.probes.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

impl ReadinessBuilder {
    /// Adds a probe, for example `broker` or `stream.KLING`. It is asked at most once a second and
    /// says what is wrong in words that hold no secret.
    #[must_use]
    pub fn probe<F, P>(mut self, name: &'static str, probe: F) -> Self
    where
        F: Fn() -> P + Send + Sync + 'static,
        P: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.probes.push((name, Box::new(move || probe().boxed())));
        self
    }

    /// Makes the readiness of a process with these roles, none of which runs yet.
    #[must_use]
    pub fn build(self, roles: &[Role]) -> Readiness {
        let starting = Check::from(Err("starting".to_owned()));
        Readiness(Arc::new(Shared {
            probes: self.probes,
            probed: Arc::default(),
            roles: Mutex::new(roles.iter().map(|role| (*role, starting.clone())).collect()),
            stopping: CancellationToken::new(),
        }))
    }
}

impl Readiness {
    /// Starts with no probe.
    #[must_use]
    pub fn builder() -> ReadinessBuilder {
        ReadinessBuilder::default()
    }

    /// Reports that a role runs.
    pub fn running(&self, role: Role) {
        self.set(role, Ok(()));
    }

    /// Reports that a role does not run, and why.
    pub fn down(&self, role: Role, problem: impl Into<String>) {
        self.set(role, Err(problem.into()));
    }

    /// Reports that the process is about to stop: callers should go elsewhere.
    pub fn stopping(&self) {
        self.0.stopping.cancel();
    }

    fn set(&self, role: Role, state: Result<(), String>) {
        let mut roles = self.0.roles.lock().unwrap_or_else(PoisonError::into_inner);
        roles.insert(role, state.into());
    }

    /// Asks everything and reports.
    pub async fn report(&self) -> Report {
        let mut checks: BTreeMap<String, Check> = self.probed().await.into_iter().collect();
        {
            let roles = self.0.roles.lock().unwrap_or_else(PoisonError::into_inner);
            let named = |role: &Role| format!("role.{}", role.as_str());
            checks.extend(
                roles
                    .iter()
                    .map(|(role, check)| (named(role), check.clone())),
            );
        }
        if self.0.stopping.is_cancelled() {
            checks.insert("process".to_owned(), Err("stopping".to_owned()).into());
        }
        let ready = checks.values().all(|check| check.ok);
        Report { ready, checks }
    }

    /// Runs the probes, or repeats what they said within the last second. Who comes meanwhile waits
    /// for the same run; a caller that goes away does not start another one.
    async fn probed(&self) -> Vec<(String, Check)> {
        let mut last = Arc::clone(&self.0.probed).lock_owned().await;
        if let Some(fresh) = last.as_ref().filter(|last| last.at.elapsed() < PROBE_EVERY) {
            return fresh.checks.clone();
        }
        let shared = Arc::clone(&self.0);
        let run = tokio::spawn(async move {
            let checks = join_all(shared.probes.iter().map(async |(name, probe)| {
                let late = Err(format!("no answer within {} s", PROBE_TIMEOUT.as_secs()));
                let result = tokio::time::timeout(PROBE_TIMEOUT, probe()).await;
                ((*name).to_owned(), Check::from(result.unwrap_or(late)))
            }))
            .await;
            // Counted from the end, or those who waited for a slow run would each start another.
            *last = Some(Probed {
                at: Instant::now(),
                checks: checks.clone(),
            });
            checks
        });
        let died = |_| {
            vec![(
                "probes".to_owned(),
                Err("a probe panicked".to_owned()).into(),
            )]
        };
        run.await.unwrap_or_else(died)
    }
}

/// Makes the admin routes: `/livez`, `/readyz`, `/metrics`.
pub fn router(readiness: Readiness, recorder: Recorder) -> Router {
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(metrics).with_state(recorder));
    plain_fallbacks(routes)
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let report = readiness.report().await;
    let status = match report.ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(report)).into_response()
}

async fn metrics(State(recorder): State<Recorder>) -> impl IntoResponse {
    let form = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], recorder.render())
}

/// Folds the histograms together now and then, until the process stops.
pub async fn keep_metrics(recorder: Recorder, clock: Clock, stop: CancellationToken) {
    while stop
        .run_until_cancelled(clock.sleep(UPKEEP_EVERY))
        .await
        .is_some()
    {
        recorder.upkeep();
    }
}
