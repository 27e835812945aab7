//! Queries: what Kling knows of tasks that we made.

use metrics::counter;
use reqwest::Method;
use serde_json::Value;
use url::Url;

use super::{Client, endpoint};
use crate::edge::kling::wire::{self, Entry, Malformed, Terms};
use crate::model::ids::{KlingTaskId, TaskId};
use crate::model::observation::Observation;
use crate::model::reply::CallFailure;
use crate::model::task::Generation;
use crate::telemetry::KLING_QUERIES;

/// Ids that one query may name.
///
/// Source: platform reference 2.4.
pub const IDS_MAX: usize = 20;

/// Why Kling is asked; a label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryReason {
    /// An unsigned callback says that a task ended.
    Confirm,
    /// A callback ended a task without its bill or results.
    Billing,
    /// A task went quiet.
    Quiet,
    /// A create may have reached Kling.
    LookUp,
    /// The addresses of a task's results no longer work.
    Outputs,
    /// Our ledger is compared with Kling's figures.
    Reconcile,
    /// Kling's list is searched for what callbacks never said.
    Recover,
}

impl QueryReason {
    /// Returns the reason's name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            QueryReason::Confirm => "confirm",
            QueryReason::Billing => "billing",
            QueryReason::Quiet => "quiet",
            QueryReason::LookUp => "lookup",
            QueryReason::Outputs => "outputs",
            QueryReason::Reconcile => "reconcile",
            QueryReason::Recover => "recover",
        }
    }
}

/// A task to ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// Kling's id, from `submitted` on. It is asked for where it is known.
    pub kling_id: Option<KlingTaskId>,
    /// Our id, which is Kling's `external_task_id`.
    pub external_id: TaskId,
    /// The path that creates such a task, on the legacy standard the path that it is read from.
    pub path: String,
    /// What Kling's answer leaves unsaid about money.
    pub terms: Terms,
}

/// A task as Kling shows it now.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// In our words, with our id in it.
    pub observation: Observation,
    /// In Kling's words, with our id in it: a body that `wire::parse_callback` reads, so that it
    /// can take a callback's path.
    pub body: Vec<u8>,
}

/// What Kling says to one look-up.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It knows the task.
    Seen(Box<Sight>),
    /// It does not.
    NotThere,
    /// It says something that cannot be read: nobody may conclude that the task is not there.
    Unreadable(Malformed),
}

impl Client {
    /// How many look-ups one call to Kling answers.
    #[must_use]
    pub fn look_ups_per_call(&self) -> usize {
        if self.serves(Generation::New) {
            IDS_MAX
        } else {
            1
        }
    }

    /// Asks Kling about tasks; the answers stand in the order of the look-ups. With an API key in
    /// batches of [`IDS_MAX`], else one by one from the legacy endpoints.
    ///
    /// # Errors
    /// [`CallFailure`] when the tries are used up or trying again is pointless.
    pub async fn query(
        &self,
        look_ups: &[LookUp],
        reason: QueryReason,
    ) -> Result<Vec<Answer>, CallFailure> {
        if !self.serves(Generation::New) {
            let mut answers = Vec::with_capacity(look_ups.len());
            for look_up in look_ups {
                answers.push(self.query_legacy(look_up, reason).await?);
            }
            return Ok(answers);
        }
        let mut answers = vec![Answer::NotThere; look_ups.len()];
        let (known, unknown): (Vec<_>, Vec<_>) = look_ups
            .iter()
            .enumerate()
            .partition(|(_, look_up)| look_up.kling_id.is_some());
        for batch in known.chunks(IDS_MAX).chain(unknown.chunks(IDS_MAX)) {
            self.query_batch(batch, reason, &mut answers).await?;
        }
        Ok(answers)
    }

    /// Asks about look-ups that all have Kling's id, or all do not.
    async fn query_batch(
        &self,
        batch: &[(usize, &LookUp)],
        reason: QueryReason,
        answers: &mut [Answer],
    ) -> Result<(), CallFailure> {
        let entries = self.list(batch, reason).await?;
        if let &[(index, look_up)] = batch {
            // Whatever ids the only task repeats, it is the one asked for unless they say
            // otherwise.
            let mine = entries.into_iter().find(|entry| fits(entry, look_up));
            answers[index] = answer(look_up, mine);
            return Ok(());
        }
        let mut entries: Vec<_> = entries.into_iter().map(Some).collect();
        for (index, look_up) in batch {
            let mine = entries
                .iter_mut()
                .find(|entry| entry.as_ref().is_some_and(|entry| names(entry, look_up)));
            answers[*index] = answer(look_up, mine.and_then(Option::take));
        }
        // Legacy tasks are shown without the id that they were asked for by. Whoever is left
        // without an answer while such a task is there is asked about alone.
        let anonymous = entries.iter().flatten().next().is_some();
        for (index, look_up) in batch {
            if anonymous && answers[*index] == Answer::NotThere {
                let entries = self.list(&[(*index, *look_up)], reason).await?;
                let mine = entries.into_iter().find(|entry| fits(entry, look_up));
                answers[*index] = answer(look_up, mine);
            }
        }
        Ok(())
    }

    async fn list(
        &self,
        batch: &[(usize, &LookUp)],
        reason: QueryReason,
    ) -> Result<Vec<Entry>, CallFailure> {
        let ids = |id: fn(&LookUp) -> Option<&str>| {
            let ids: Option<Vec<_>> = batch.iter().map(|(_, look_up)| id(look_up)).collect();
            ids.map(|ids| ids.join(","))
        };
        // Ids hold nothing that would have to be escaped, and the comma stays one.
        let query = match ids(|look_up| look_up.kling_id.as_ref().map(KlingTaskId::as_str)) {
            Some(ids) => format!("task_ids={ids}"),
            None => {
                let ids = ids(|look_up| Some(look_up.external_id.as_str()));
                format!("external_task_ids={}", ids.unwrap_or_default())
            }
        };
        let mut url = self.url("/tasks")?;
        url.set_query(Some(&query));
        let envelope = self
            .read_call(Method::GET, "GET /tasks", url, None, reason)
            .await?;
        let terms = |kling: Option<&str>, external: Option<&str>| {
            let mine = batch.iter().find(|(_, look_up)| {
                look_up.kling_id.as_ref().map(KlingTaskId::as_str) == kling
                    || Some(look_up.external_id.as_str()) == external
            });
            mine.or(batch.first())
                .map(|(_, look_up)| look_up.terms)
                .unwrap_or_default()
        };
        wire::parse_tasks(envelope.data, terms).map_err(|problem| unreadable(&problem))
    }

    async fn query_legacy(
        &self,
        look_up: &LookUp,
        reason: QueryReason,
    ) -> Result<Answer, CallFailure> {
        let id = match &look_up.kling_id {
            Some(id) => id.as_str(),
            None => look_up.external_id.as_str(),
        };
        let url = self.url(&format!("{}/{id}", look_up.path))?;
        let endpoint = format!("GET {}/{{id}}", endpoint(&look_up.path));
        match self
            .read_call(Method::GET, &endpoint, url, None, reason)
            .await
        {
            Ok(envelope) => {
                let entries = wire::parse_tasks(envelope.data, |_, _| look_up.terms);
                let entries = entries.map_err(|problem| unreadable(&problem))?;
                let mine = entries.into_iter().find(|entry| fits(entry, look_up));
                Ok(answer(look_up, mine))
            }
            Err(CallFailure::Answered(reply)) if wire::says_not_found(&reply) => {
                Ok(Answer::NotThere)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Makes a call that changes nothing, as often as the decision about reads says.
    pub(super) async fn read_call(
        &self,
        method: Method,
        endpoint: &str,
        url: Url,
        body: Option<&Value>,
        reason: QueryReason,
    ) -> Result<wire::Envelope, CallFailure> {
        let mut attempt = 1;
        loop {
            counter!(KLING_QUERIES, "reason" => reason.as_str()).increment(1);
            let failure = match self.call(method.clone(), endpoint, url.clone(), body).await {
                Ok((envelope, _)) => return Ok(envelope),
                Err(failure) => failure,
            };
            let Some(wait) = (self.read_retry)(&failure, attempt) else {
                return Err(failure);
            };
            self.clock.sleep(wait).await;
            attempt += 1;
        }
    }
}

fn names(entry: &Entry, look_up: &LookUp) -> bool {
    let kling_id = look_up.kling_id.as_ref().map(KlingTaskId::as_str);
    entry.kling_id.is_some() && entry.kling_id.as_deref() == kling_id
        || entry.external_id.as_deref() == Some(look_up.external_id.as_str())
}

/// Tells whether the answer to a query for one task can be that task.
fn fits(entry: &Entry, look_up: &LookUp) -> bool {
    match (&look_up.kling_id, &entry.kling_id, &entry.external_id) {
        (Some(ours), Some(theirs), _) => ours.as_str() == theirs,
        (_, _, Some(theirs)) => look_up.external_id.as_str() == theirs,
        (_, _, None) => true,
    }
}

fn answer(look_up: &LookUp, entry: Option<Entry>) -> Answer {
    let Some(entry) = entry else {
        return Answer::NotThere;
    };
    match entry.observation {
        Ok(mut observation) => {
            let external_id = &look_up.external_id;
            observation
                .external_id
                .get_or_insert_with(|| external_id.as_str().to_owned());
            Answer::Seen(Box::new(Sight {
                observation,
                body: wire::task_body(&entry.raw, external_id),
            }))
        }
        Err(problem) => Answer::Unreadable(problem),
    }
}

pub(super) fn unreadable(problem: &Malformed) -> CallFailure {
    CallFailure::OutcomeUnknown(format!("the answer to a query is {problem}"))
}
