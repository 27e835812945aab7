//! Quiet tasks: asks Kling, and feeds what it learns into the callback stream; reports the stalled.
//!
//! It decides nothing about a task's status: what it reads takes the callbacks' own path.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::decide::quiet;
use crate::edge::clock::Clock;
use crate::edge::kling::client::{Answer, Client, QueryReason};
use crate::edge::nats::callbacks::CallbackToStore;
use crate::edge::nats::log::{Committed, Log, LogError};
use crate::model::ids::TaskId;
use crate::model::observation::Proof;
use crate::model::reply::CallFailure;
use crate::model::request::Product;
use crate::stage::ledger_audit::{AuditRules, LedgerAudit, Limiter, limiter};
use crate::stage::look_up::look_up;
use crate::stage::views::{OpenTask, Views};
use crate::telemetry;

/// Repairs what a lost callback would have said.
#[derive(Debug)]
pub struct Reconciler {
    log: Log,
    kling: Arc<Client>,
    views: Views,
    clock: Clock,
    rules: config::Reconciler,
    limiter: Limiter,
    audit: LedgerAudit,
}

/// The questions asked about a task that has stayed silent.
#[derive(Clone, Copy, Debug)]
struct Asked {
    changed_at: Timestamp,
    at: Timestamp,
    times: u32,
}

impl Reconciler {
    /// Makes the stage with its bound of queries, which its audits share.
    #[must_use]
    pub fn new(
        log: Log,
        kling: Arc<Client>,
        views: Views,
        clock: Clock,
        rules: config::Reconciler,
        audit: AuditRules,
    ) -> Self {
        let limiter = limiter(rules.queries_per_second);
        let audit = LedgerAudit::new(
            log.clone(),
            kling.clone(),
            clock.clone(),
            limiter.clone(),
            audit,
        );
        Self {
            log,
            kling,
            views,
            clock,
            rules,
            limiter,
            audit,
        }
    }

    /// Sweeps until stopped, and audits every day beside it.
    pub async fn run(&self, stop: CancellationToken) {
        let audits = async {
            if !self.rules.audit_every.is_zero() {
                self.audit.keep(self.rules.audit_every, stop.clone()).await;
            }
        };
        tokio::join!(self.sweeps(stop.clone()), Box::pin(audits));
    }

    async fn sweeps(&self, stop: CancellationToken) {
        self.views.caught_up().await;
        let mut asked = HashMap::new();
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.sweep(&mut asked) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(self.rules.sweep_every) => {}
            }
        }
    }

    async fn sweep(&self, asked: &mut HashMap<TaskId, Asked>) {
        let now = self.clock.now();
        let open: Vec<OpenTask> = self.views.read().open().cloned().collect();
        let still_open: HashMap<&TaskId, Timestamp> = open
            .iter()
            .map(|task| (&task.task_id, task.changed_at))
            .collect();
        // A task that moved since it was asked about begins anew.
        asked.retain(|task_id, asked| still_open.get(task_id) == Some(&asked.changed_at));
        for task in open.iter().filter(|task| self.is_stalled(task, now)) {
            self.report(&task.task_id).await;
        }
        let mut quiet: Vec<&OpenTask> = open
            .iter()
            .filter(|task| self.is_quiet(task, asked.get(&task.task_id), now))
            .collect();
        quiet.sort_by_key(|task| task.changed_at);
        for batch in quiet.chunks(self.kling.look_ups_per_call()) {
            self.limiter.until_ready().await;
            if !self.ask(batch).await {
                return;
            }
            for task in batch {
                let times = asked.get(&task.task_id).map_or(0, |asked| asked.times) + 1;
                let entry = Asked {
                    changed_at: task.changed_at,
                    at: self.clock.now(),
                    times,
                };
                asked.insert(task.task_id.clone(), entry);
            }
        }
    }

    /// Asks about up to 20 tasks; tells whether the sweep should go on.
    async fn ask(&self, batch: &[&OpenTask]) -> bool {
        let mut look_ups = Vec::with_capacity(batch.len());
        for task in batch {
            match self.log.load(&task.task_id).await {
                Ok(Some(loaded)) if loaded.task.status.is_at_kling() => {
                    look_ups.push(look_up(&loaded.task, &self.kling));
                }
                Ok(_) => {}
                Err(error @ LogError::Corrupt { .. }) => {
                    tracing::error!(error = %telemetry::chain(&error), "an open task is skipped");
                }
                Err(error) => {
                    tracing::warn!(error = %telemetry::chain(&error), "sweep stopped");
                    return false;
                }
            }
        }
        if look_ups.is_empty() {
            return true;
        }
        let answers = match self.kling.query(&look_ups, QueryReason::Quiet).await {
            Ok(answers) => answers,
            Err(failure) => {
                tracing::warn!(%failure, "Kling did not answer the sweep");
                // A refusal may be one task's own fault, and must not hold up the others.
                return match failure {
                    CallFailure::Answered(_) | CallFailure::Impossible(_) => true,
                    CallFailure::NotSent(_) | CallFailure::OutcomeUnknown(_) => false,
                };
            }
        };
        for (look_up, answer) in look_ups.iter().zip(answers) {
            let task_id = &look_up.external_id;
            let body = match answer {
                Answer::Seen(sight) => sight.body,
                Answer::NotThere => {
                    tracing::warn!(task.id = %task_id, "Kling does not show an open task");
                    continue;
                }
                Answer::Unreadable(error) => {
                    tracing::warn!(task.id = %task_id, %error, "Kling's answer cannot be read");
                    continue;
                }
            };
            let callback = CallbackToStore {
                tenant: task_id.tenant().to_string(),
                task: task_id.to_string(),
                body: body.into(),
                proof: Proof::Read,
                received_at: self.clock.now(),
                webhook_id: None,
            };
            if let Err(error) = self.log.store_callback(callback).await {
                tracing::warn!(task.id = %task_id, error = %telemetry::chain(&error),
                    "what Kling said could not be stored; the next sweep asks again");
                return false;
            }
        }
        true
    }

    async fn report(&self, task_id: &TaskId) {
        let loaded = match self.log.load(task_id).await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(task.id = %task_id, error = %telemetry::chain(&error),
                    "could not be looked at");
                return;
            }
        };
        let now = self.clock.now();
        let relay = &loaded.task.relay;
        let due = self.stalled_at(
            relay.changed_at,
            relay.not_before,
            relay.stalled_at,
            relay.stalled,
        );
        if loaded.task.status.is_terminal() || due > now {
            return;
        }
        let event = quiet::stalled(&loaded.task, now);
        match self.log.commit(&loaded, event).await {
            // It has just moved: there is nothing to report.
            Ok(Committed::MovedOn) => {}
            Ok(Committed::Stored { .. }) => {
                metrics::counter!(telemetry::STALLED).increment(1);
                tracing::warn!(task.id = %task_id, status = loaded.task.status.as_str(),
                    since = %loaded.task.relay.changed_at, "stalled: no news for too long");
            }
            Err(error) => tracing::warn!(task.id = %task_id, error = %telemetry::chain(&error),
                "could not be reported as stalled"),
        }
    }

    fn is_stalled(&self, task: &OpenTask, now: Timestamp) -> bool {
        let due = self.stalled_at(
            task.changed_at,
            task.not_before,
            task.stalled_at,
            task.stalled,
        );
        due <= now
    }

    fn stalled_at(
        &self,
        changed_at: Timestamp,
        not_before: Option<Timestamp>,
        reported_at: Option<Timestamp>,
        reported: u32,
    ) -> Timestamp {
        let after = signed(self.rules.stalled_after);
        quiet::stalled_at(changed_at, not_before, reported_at, reported, after)
    }

    fn is_quiet(&self, task: &OpenTask, asked: Option<&Asked>, now: Timestamp) -> bool {
        let quiet_after = match task.product {
            Product::Avatar => self.rules.quiet_after_avatar,
            _ => self.rules.quiet_after,
        };
        let times = asked.map_or(0, |asked| asked.times);
        let last = asked.map(|asked| asked.at);
        task.status.is_at_kling()
            && quiet::ask_at(task.changed_at, last, times, signed(quiet_after)) <= now
    }
}

fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
