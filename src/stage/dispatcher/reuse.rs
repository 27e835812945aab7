//! Tasks that an earlier result answers, and those that give their claim back to an earlier one.

use std::time::Duration;

use super::Dispatcher;
use super::attempt::{Found, announce};
use crate::decide::reuse;
use crate::edge::nats::log::{Committed, Loaded, LogError};
use crate::model::ids::TaskId;
use crate::telemetry;

impl Dispatcher {
    /// Answers one task with an earlier result; returns the sequence of what it committed. Nothing
    /// leaves the house, so no claim is needed: the commit alone decides.
    pub(super) async fn answer(&self, task_id: &TaskId) -> Option<u64> {
        match self.try_to_answer(task_id).await {
            Ok(seq) => seq,
            Err(error) => {
                tracing::warn!(task.id = %task_id, error = %telemetry::chain(&error),
                    "could not be answered by an earlier result yet");
                None
            }
        }
    }

    async fn try_to_answer(&self, task_id: &TaskId) -> Result<Option<u64>, LogError> {
        let Some(loaded) = self.log.load(task_id).await? else {
            return Ok(None);
        };
        let (task, now) = (&loaded.task, self.clock.now());
        if !reuse::may_be_answered(task) {
            return Ok(None);
        }
        let (tenant, key) = (&task.tenant, task.relay.reuse.key.as_str());
        let source = match &task.reused_from {
            Some(source) => Some(source.clone()),
            None => {
                let view = self.views.read();
                view.answer(tenant, key, now, &self.shared.reuse).cloned()
            }
        };
        let Some(source) = source else {
            return Ok(None);
        };
        let found = self.log.load(&source).await?;
        let usable = found.filter(|found| reuse::can_answer(&found.task, tenant, key));
        let event = match usable {
            Some(source) => reuse::answered(task, &source.task, now),
            // Nothing is held for it, so it cannot be made.
            None if task.reused_from.is_some() => reuse::result_gone(task, now),
            None => return Ok(None),
        };
        match self.log.commit(&loaded, event.clone()).await? {
            Committed::Stored { seq } => {
                announce(&event, now);
                Ok(Some(seq))
            }
            Committed::MovedOn => Ok(None),
        }
    }

    /// Decides whether a claim is given back because another task of the same key was first. The
    /// view is asked as of the claim: whatever came before it in the log is known.
    pub(super) async fn gives_way(&self, claimed: &Loaded, sent_before: bool) -> Option<Found> {
        let task = &claimed.task;
        if !task.relay.reuse.asked || sent_before {
            return None;
        }
        let seen = self.views.applied(claimed.seq);
        if tokio::time::timeout(self.shared.request_timeout, seen)
            .await
            .is_err()
        {
            tracing::warn!(task.id = %task.task_id, "the view is far behind the log");
            return Some(self.later(task, false, None));
        }
        let now = self.clock.now();
        if self.views.read().may_make(task, now, &self.shared.reuse) {
            return None;
        }
        Some(Found::Later {
            may_exist: false,
            lookups: task.relay.lookups,
            wait: Duration::ZERO,
        })
    }
}
