//! Quiet tasks: asks Kling, and feeds what it learns into the callback stream; reports the stalled.
//!
//! It decides nothing about a task's status: what it reads takes the callbacks' own path.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{FuturesOrdered, FuturesUnordered};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::decide::quiet;
use crate::edge::clock::Clock;
use crate::edge::kling::client::{Answer, Client, LookUp, QueryReason};
use crate::edge::kling::lists::{Limiter, limiter};
use crate::edge::nats::callbacks::CallbackToStore;
use crate::edge::nats::log::{Committed, Log, LogError};
use crate::model::ids::TaskId;
use crate::model::observation::Proof;
use crate::model::reply::CallFailure;
use crate::model::request::Product;
use crate::stage::ledger_audit::{AuditRules, LedgerAudit};
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
        let caught_up = self.views.caught_up();
        if stop.run_until_cancelled(caught_up).await.is_none() {
            return;
        }
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
        let (stalled, quiet) = self.choose(asked, now);
        // A report must not wait for Kling, nor a question for ten thousand reports.
        tokio::join!(self.report_all(stalled), self.ask_all(quiet, asked));
    }

    /// Chooses what to report and what to ask about, the longest silent first.
    fn choose(
        &self,
        asked: &mut HashMap<TaskId, Asked>,
        now: Timestamp,
    ) -> (Vec<TaskId>, Vec<OpenTask>) {
        let view = self.views.read();
        // A task that moved since it was asked about begins anew.
        asked.retain(|task_id, asked| {
            view.open_task(task_id)
                .is_some_and(|task| task.changed_at == asked.changed_at)
        });
        let stalled = view.open().filter(|task| self.is_stalled(task, now));
        let stalled = stalled.map(|task| task.task_id.clone()).collect();
        let quiet = view
            .open()
            .filter(|task| self.is_quiet(task, asked.get(&task.task_id), now));
        let mut quiet: Vec<OpenTask> = quiet.cloned().collect();
        quiet.sort_by_key(|task| task.changed_at);
        (stalled, quiet)
    }

    async fn report_all(&self, stalled: Vec<TaskId>) {
        let mut under_way = FuturesUnordered::new();
        for task_id in stalled {
            if under_way.len() >= self.rules.concurrency {
                under_way.next().await;
            }
            under_way.push(self.report(task_id));
        }
        while under_way.next().await.is_some() {}
    }

    /// Asks in the configured rate, without waiting for one answer before the next question: a slow
    /// Kling must not make a long sweep longer.
    async fn ask_all(&self, quiet: Vec<OpenTask>, asked: &mut HashMap<TaskId, Asked>) {
        let mut batches = quiet.chunks(self.kling.look_ups_per_call());
        let mut under_way = FuturesUnordered::new();
        let mut goes_on = true;
        loop {
            let may_ask = goes_on && under_way.len() < self.rules.concurrency;
            tokio::select! {
                () = self.limiter.until_ready(), if may_ask && batches.len() > 0 => {
                    under_way.extend(batches.next().map(|batch| self.ask(batch)));
                }
                Some((answered, batch)) = under_way.next() => {
                    goes_on &= answered;
                    if answered {
                        self.note(batch, asked);
                    }
                }
                else => return,
            }
        }
    }

    fn note(&self, batch: &[OpenTask], asked: &mut HashMap<TaskId, Asked>) {
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

    /// Asks about up to 20 tasks; tells whether the sweep should go on.
    async fn ask<'a>(&self, batch: &'a [OpenTask]) -> (bool, &'a [OpenTask]) {
        (self.ask_kling(batch).await, batch)
    }

    async fn ask_kling(&self, batch: &[OpenTask]) -> bool {
        let loads: FuturesOrdered<_> = batch.iter().map(|task| self.load(task)).collect();
        let loaded: Vec<Option<Option<LookUp>>> = loads.collect().await;
        let Some(loaded) = loaded.into_iter().collect::<Option<Vec<_>>>() else {
            return false;
        };
        let look_ups: Vec<LookUp> = loaded.into_iter().flatten().collect();
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
        let answered = look_ups.iter().zip(answers);
        let stores: FuturesUnordered<_> = answered
            .map(|(look_up, answer)| self.store(&look_up.external_id, answer))
            .collect();
        stores.all(std::future::ready).await
    }

    /// Loads what to ask about a task: nothing if it has moved on; `None` if the broker is away.
    async fn load(&self, task: &OpenTask) -> Option<Option<LookUp>> {
        match self.log.load(&task.task_id).await {
            Ok(Some(loaded)) if loaded.task.status.is_at_kling() => {
                Some(Some(look_up(&loaded.task, &self.kling)))
            }
            Ok(_) => Some(None),
            Err(error @ LogError::Corrupt { .. }) => {
                tracing::error!(error = %telemetry::chain(&error), "an open task is skipped");
                Some(None)
            }
            Err(error) => {
                tracing::warn!(error = %telemetry::chain(&error), "sweep stopped");
                None
            }
        }
    }

    /// Puts what Kling says where callbacks come in; tells whether the broker took it.
    async fn store(&self, task_id: &TaskId, answer: Answer) -> bool {
        let body = match answer {
            Answer::Seen(sight) => sight.body,
            Answer::NotThere => {
                tracing::warn!(task.id = %task_id, "Kling does not show an open task");
                return true;
            }
            Answer::Unreadable(error) => {
                tracing::warn!(task.id = %task_id, %error, "Kling's answer cannot be read");
                return true;
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
        let stored = self.log.store_callback(callback).await;
        if let Err(error) = &stored {
            tracing::warn!(task.id = %task_id, error = %telemetry::chain(error),
                "what Kling said could not be stored; the next sweep asks again");
        }
        stored.is_ok()
    }

    async fn report(&self, task_id: TaskId) {
        let loaded = match self.log.load(&task_id).await {
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
