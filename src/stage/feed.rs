//! Events as callers see them: a task's history, and live from a place on. It decides nothing.

use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Serialize;
use serde_json::Value;

use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::record::Recorded;
use crate::edge::nats::topology;
use crate::model::event::EventKind;
use crate::model::ids::{TaskId, Tenant};
use crate::model::problem::{Problem, ProblemCode};
use crate::telemetry;

/// Whose events.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// One task's.
    Task(&'a TaskId),
    /// A tenant's.
    Tenant(&'a Tenant),
    /// Everybody's, for operators.
    Everybody,
}

/// An event as the API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Its sequence in the stream, from which a reader resumes.
    pub sequence: u64,
    /// Its CloudEvents id.
    pub id: Option<String>,
    /// What happened.
    pub event: EventKind,
    /// Its body.
    pub data: Value,
}

/// Reads the log for callers.
#[derive(Clone, Debug)]
pub struct Feed {
    log: Log,
}

impl Feed {
    /// Makes a reader of the log.
    #[must_use]
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    /// Returns a task's events in order, each repeated kind once.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn history(&self, task: &TaskId) -> Result<Vec<Shown>, Problem> {
        let history = self.log.history(task).await.map_err(|error| away(&error))?;
        Ok(history.iter().filter_map(shown).collect())
    }

    /// Follows events from a sequence on, or from now on; the stream ends when the log cannot be
    /// followed.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn live(
        &self,
        of: Of<'_>,
        from: Option<u64>,
    ) -> Result<BoxStream<'static, Shown>, Problem> {
        let filter = match of {
            Of::Task(task) => topology::task_prefix(task),
            Of::Tenant(tenant) => topology::tenant_tasks(tenant),
            Of::Everybody => topology::TASK_EVENTS.to_owned(),
        };
        let from = match from {
            Some(from) => from,
            None => self.log.last_sequence().await.map_err(|e| away(&e))? + 1,
        };
        let events = self.log.follow(vec![filter], from).await;
        let events = events
            .map_err(|error| away(&error))?
            .take_while(|recorded| std::future::ready(recorded.is_ok()))
            .filter_map(|recorded| std::future::ready(recorded.ok().as_ref().and_then(shown)));
        Ok(events.boxed())
    }
}

fn shown(recorded: &Recorded) -> Option<Shown> {
    let (_, event) = recorded.task_subject()?;
    Some(Shown {
        sequence: recorded.seq,
        id: recorded.ce_id().map(str::to_owned),
        event,
        data: serde_json::from_slice(&recorded.payload).unwrap_or_default(),
    })
}

/// Answers when the log cannot be read: the reason goes to our log, not to the caller.
fn away(error: &LogError) -> Problem {
    tracing::warn!(error = %telemetry::chain(error), "the broker did not answer a caller");
    let detail = "the log cannot be read now; try again shortly";
    Problem::new(ProblemCode::Unavailable, detail).retry_after(2)
}
