//! `succeeded` to storage and `stored`: every output is downloaded, checked, stored, and only then
//! said to be.
//!
//! Addresses come from `succeeded` only, whose body was believed; expired ones are replaced by
//! asking Kling once per delivery. What went home before a failure is written again by the next
//! delivery, at the same key.

mod gate;
mod output;
mod reused;
mod rebuilt;

use std::sync::Arc;

use futures::future::join_all;

pub use self::gate::{Gate, Turn};

use self::output::{Home, NotStored};
use crate::decide::placement::{self, Next, Trouble, Wanted, after_trouble};
use crate::decide::retry::RETRY_AFTER_MAX;
use crate::edge::clock::Clock;
use crate::edge::fetch::Fetcher;
use crate::edge::kling::client::{Answer, Client, QueryReason};
use crate::edge::nats::log::{Committed, Loaded, Log};
use crate::edge::storage::Storage;
use crate::model::event::TaskEvent;
use crate::model::ids::TaskId;
use crate::model::observation::ObservedStatus;
use crate::model::task::{Asset, Status};
use crate::stage::look_up::look_up;
use crate::stage::runner::{Handler, Message, Outcome};

/// Brings the outputs of succeeded tasks into our own storage.
#[derive(Debug)]
pub struct Downloader {
    log: Log,
    kling: Arc<Client>,
    clock: Clock,
    home: Home,
}

impl Downloader {
    /// Makes the stage: that many downloads at once over the whole process.
    #[must_use]
    pub fn new(
        log: Log,
        kling: Arc<Client>,
        fetcher: Fetcher,
        storage: Storage,
        clock: Clock,
        concurrency: usize,
    ) -> Self {
        let gate = Gate::new(concurrency);
        Self {
            log,
            kling,
            clock,
            home: Home {
                fetcher,
                storage,
                gate,
            },
        }
    }
}

impl Handler for Downloader {
    const STAGE: &'static str = "downloader";

    async fn handle(&self, message: &Message) -> Outcome {
        let event = match message.recorded.task_event() {
            Ok(event) => event,
            Err(error) => return error.into(),
        };
        let task_id = event.task.task_id.clone();
        let loaded = match self.load(&task_id).await {
            Ok(loaded) => loaded,
            Err(outcome) => return outcome,
        };
        if loaded.task.relay.stored_at.is_some() {
            return Outcome::Done;
        }
        if loaded.task.reused_from.is_some() {
            return self.take_over(loaded).await;
        }
        let mut wanted = placement::wanted(&event.outputs, event.task.occurred_at);
        if wanted.is_empty() && loaded.task.relay.outputs == 0 {
            return Outcome::Done;
        }
        if loaded.task.status != Status::Succeeded {
            // The read is as new as the message, which says that the task has succeeded.
            return Outcome::Retry(format!("task {task_id} is not seen as succeeded yet"));
        }
        let mut assets = match self.stored_before(&loaded, &mut wanted).await {
            Ok(there) => there,
            Err(outcome) => return outcome,
        };
        match self
            .bring_all(&loaded, &event, wanted, message.attempt)
            .await
        {
            Ok(brought) => assets.extend(brought),
            Err(outcome) => return outcome,
        }
        assets.sort_by_key(|(n, _)| *n);
        let assets = assets.into_iter().map(|(_, asset)| asset).collect();
        self.commit(loaded, assets).await
    }
}

impl Downloader {
    async fn load(&self, task_id: &TaskId) -> Result<Loaded, Outcome> {
        match self.log.load(task_id).await {
            Ok(Some(loaded)) => Ok(loaded),
            Ok(None) => Err(Outcome::SetAside(format!(
                "task {task_id} has expired before its outputs were stored; Kling has deleted them"
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings all outputs home, if need be from fresh addresses. Returns them by their place.
    async fn bring_all(
        &self,
        loaded: &Loaded,
        event: &TaskEvent,
        wanted: Vec<Wanted>,
        attempt: u64,
    ) -> Result<Vec<(u32, Asset)>, Outcome> {
        let task_id = &loaded.task.task_id;
        let (mut stored, mut failed) = self.bring(task_id, wanted).await;
        let is_gone =
            |failed: &NotStored| after_trouble(failed.trouble, false, attempt) == Next::AskKling;
        if failed.iter().any(is_gone) {
            let (gone, others): (Vec<_>, Vec<_>) = failed.into_iter().partition(is_gone);
            let (again, lost) = self.ask_kling(loaded, event, gone).await?;
            let (more, still) = self.bring(task_id, again).await;
            stored.extend(more);
            failed = others.into_iter().chain(lost).chain(still).collect();
        }
        if let Some(outcome) = Self::outcome(task_id, &failed, attempt) {
            return Err(outcome);
        }
        Ok(stored)
    }

    async fn bring(
        &self,
        task_id: &TaskId,
        mut wanted: Vec<Wanted>,
    ) -> (Vec<(u32, Asset)>, Vec<NotStored>) {
        wanted.sort_by(placement::by_expiry);
        let all = wanted
            .into_iter()
            .map(|wanted| self.home.bring(task_id, wanted));
        let (mut stored, mut failed) = (Vec::new(), Vec::new());
        for result in Box::pin(join_all(all)).await {
            match result {
                Ok(asset) => stored.push(asset),
                Err(failure) => failed.push(failure),
            }
        }
        (stored, failed)
    }

    /// Asks Kling for fresh addresses of outputs whose own are gone.
    async fn ask_kling(
        &self,
        loaded: &Loaded,
        event: &TaskEvent,
        gone: Vec<NotStored>,
    ) -> Result<(Vec<Wanted>, Vec<NotStored>), Outcome> {
        let task_id = &loaded.task.task_id;
        let look_up = look_up(&loaded.task, &self.kling);
        let asked = self
            .kling
            .query(std::slice::from_ref(&look_up), QueryReason::Outputs)
            .await;
        let outputs = match asked.map(|mut answers| answers.pop()) {
            Ok(Some(Answer::Seen(seen)))
                if seen.observation.status == ObservedStatus::Succeeded =>
            {
                seen.observation.outputs
            }
            Ok(Some(Answer::Seen(_) | Answer::NotThere) | None) => {
                let why = "its addresses are gone and Kling does not show it as succeeded";
                return Err(Outcome::Retry(format!("task {task_id}: {why}")));
            }
            Ok(Some(Answer::Unreadable(error))) => {
                let why = format!("task {task_id} cannot be read at Kling: {error}");
                return Err(Outcome::Retry(why));
            }
            Err(failure) => {
                let why = format!("task {task_id}: no fresh addresses: {failure}");
                return Err(Outcome::Retry(why));
            }
        };
        let (mut again, mut lost) = (Vec::new(), Vec::new());
        for mut stale in gone {
            match placement::same_again(&stale.wanted, &outputs, event.task.occurred_at) {
                Some(fresh) => again.push(fresh),
                None => {
                    stale.trouble = Trouble::Withdrawn;
                    lost.push(stale);
                }
            }
        }
        Ok((again, lost))
    }

    /// Says what becomes of the message; `None` if nothing failed.
    fn outcome(task_id: &TaskId, failed: &[NotStored], attempt: u64) -> Option<Outcome> {
        if failed.is_empty() {
            return None;
        }
        let next = |failed: &NotStored| after_trouble(failed.trouble, true, attempt);
        // What passes comes first: a person should see a task once, with all that is left of it.
        let passing = failed.iter().find(|failed| next(failed) != Next::SetAside);
        let shown = passing.or(failed.first())?;
        let Wanted { n, kind, .. } = &shown.wanted;
        let why = format!(
            "output {n} ({}) of task {task_id}: {}",
            kind.as_str(),
            shown.why
        );
        Some(match (passing, advice(shown.trouble)) {
            (None, advice) => Outcome::SetAside(format!("{why}; {advice}")),
            (Some(_), _) => {
                let longest = failed.iter().filter_map(|failed| failed.after).max();
                match longest {
                    Some(wait) => Outcome::RetryAt(wait.min(RETRY_AFTER_MAX), why),
                    None => Outcome::Retry(why),
                }
            }
        })
    }

    async fn commit(&self, mut loaded: Loaded, assets: Vec<Asset>) -> Outcome {
        loop {
            let now = self.clock.now();
            let Some(event) = placement::stored(&loaded.task, assets.clone(), now) else {
                return Outcome::Done;
            };
            match self.log.commit(&loaded, event).await {
                Ok(Committed::Stored { .. }) => {
                    tracing::info!(task.id = %loaded.task.task_id, assets = assets.len(),
                        "all outputs stored");
                    return Outcome::Done;
                }
                Ok(Committed::MovedOn) => {}
                Err(error) => return error.into(),
            }
            loaded = match self.load(&loaded.task.task_id).await {
                Ok(loaded) => loaded,
                Err(outcome) => return outcome,
            };
        }
    }
}

/// Tells a person what to do about an output that will not come by itself.
fn advice(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Refused => {
            "if the host is Kling's, add it to storage.allowed_hosts and look at what its name \
             resolves to here, then requeue this message"
        }
        Trouble::BadContent => {
            "look at the result in Kling's console; raise storage.max_bytes if it is too large; \
             then requeue this message"
        }
        Trouble::Withdrawn => {
            "Kling no longer offers it; results are deleted 30 days after generation"
        }
        Trouble::Gone | Trouble::Passing => "requeue this message to try again",
    }
}
