//! The log folded into what dispatcher, reconciler and API read: the open tasks, and an index of
//! all.
//!
//! Rebuilt from the stream at start, so it may be lost; a moment late, so nothing is decided on it
//! alone: every commit loads the task from the log first.

mod filter;
mod sharing;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::decide::off_peak::{OffPeak, ready_at};
use crate::decide::reuse::{Rules as ReuseRules, Turn};
use crate::decide::schedule::{InUse, Waiting};
use crate::edge::clock::Clock;
use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::topology;
use crate::model::event::EventKind;
use crate::model::ids::{KlingTaskId, TaskId, Tenant};
use crate::model::request::Product;
use crate::model::task::{Slots, Status, Task};
use crate::telemetry;

pub use self::filter::Filter;

use self::sharing::{Sharing, ShortKey, Turns, short_key};

const PRUNE_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What the dispatcher and reconciler need of an open task.
#[derive(Clone, Debug)]
pub struct OpenTask {
    /// Which task.
    pub task_id: TaskId,
    /// How far it has come.
    pub status: Status,
    /// What is made.
    pub product: Product,
    /// Kling's id, once created.
    pub kling_task_id: Option<KlingTaskId>,
    /// What it takes at Kling.
    pub slots: Slots,
    /// Place in the order of acceptance.
    pub requested_seq: u64,
    /// The earliest time of the next dispatch.
    pub not_before: Option<Timestamp>,
    /// Whether it is dispatched inside the off-peak window only.
    pub off_peak: bool,
    /// The end of the running claim.
    pub claimed_until: Option<Timestamp>,
    /// Whether a create of it may have reached Kling.
    pub may_exist: bool,
    /// When the status last changed.
    pub changed_at: Timestamp,
    /// How many `stalled` reports there are.
    pub stalled: u32,
    /// When the last one was written.
    pub stalled_at: Option<Timestamp>,
    /// By what it shares a result with others, if it allows that.
    shares: Option<ShortKey>,
    /// Whether a stored result answers it: it is never made.
    answered: bool,
    /// Whether its history was rebuilt: it is never made.
    rebuilt: bool,
}

/// What the task list needs of any task: enough to filter, the rest is read from the log.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Which task.
    pub task_id: TaskId,
    /// How far it has come.
    pub status: Status,
    /// Sequence of its last event.
    pub last_seq: u64,
    /// The caller's marks.
    pub labels: Option<Box<BTreeMap<String, String>>>,
    expires_at: Timestamp,
    requested_seq: u64,
}

/// The folded state.
#[derive(Debug, Default)]
pub struct Fold {
    open: HashMap<TaskId, OpenTask>,
    by_id: HashMap<TaskId, (Tenant, u64)>,
    listed: BTreeMap<Tenant, BTreeMap<u64, Listed>>,
    sharing: Sharing,
}

/// What a dispatcher could do now.
#[derive(Debug, Default)]
pub struct Dispatchable {
    /// What waits to be created at Kling.
    pub waiting: Vec<Waiting>,
    /// The slots in use by the others.
    pub in_use: InUse,
    /// What an earlier result answers.
    pub answered: Vec<TaskId>,
}

impl Fold {
    /// Applies one event; events come in the order of the stream.
    pub fn apply(&mut self, task: &Task, kind: Option<EventKind>, seq: u64) {
        let requested_seq = match kind {
            Some(EventKind::Requested) => seq,
            Some(_) | None => task.relay.requested_seq,
        };
        self.sharing.apply(task, requested_seq, seq);
        let listed = self.listed.entry(task.tenant.clone()).or_default();
        self.by_id
            .insert(task.task_id.clone(), (task.tenant.clone(), requested_seq));
        listed.insert(
            requested_seq,
            Listed {
                task_id: task.task_id.clone(),
                status: task.status,
                last_seq: seq,
                labels: (!task.labels.is_empty()).then(|| Box::new(task.labels.clone())),
                expires_at: task.relay.expires_at,
                requested_seq,
            },
        );
        if task.status.is_terminal() {
            self.open.remove(&task.task_id);
        } else {
            self.open
                .insert(task.task_id.clone(), open_task(task, requested_seq));
        }
    }

    /// Forgets tasks whose events have expired.
    pub fn prune(&mut self, now: Timestamp) {
        for listed in self.listed.values_mut() {
            listed.retain(|_, task| task.expires_at > now);
        }
        let listed = &self.listed;
        self.by_id.retain(|_, (tenant, requested_seq)| {
            listed
                .get(tenant)
                .is_some_and(|tasks| tasks.contains_key(requested_seq))
        });
        let by_id = &self.by_id;
        self.open.retain(|task_id, _| by_id.contains_key(task_id));
        self.sharing.prune(now);
    }

    /// Lists the open tasks, in no order.
    pub fn open(&self) -> impl Iterator<Item = &OpenTask> {
        self.open.values()
    }

    /// Returns a task, if it is open.
    #[must_use]
    pub fn open_task(&self, task_id: &TaskId) -> Option<&OpenTask> {
        self.open.get(task_id)
    }

    /// Lists a tenant's tasks, or everybody's, newest first, from before `cursor` (the place of the
    /// last task of the page before) on.
    fn newest<'a>(
        &'a self,
        tenant: Option<&'a Tenant>,
        cursor: Option<u64>,
    ) -> Box<dyn Iterator<Item = &'a Listed> + 'a> {
        let before = cursor.unwrap_or(u64::MAX);
        match tenant {
            Some(tenant) => match self.listed.get(tenant) {
                Some(tasks) => Box::new(tasks.range(..before).rev().map(|(_, task)| task)),
                None => Box::new(std::iter::empty()),
            },
            None => {
                let mut all: Vec<&Listed> = self
                    .listed
                    .values()
                    .flat_map(|tasks| tasks.range(..before))
                    .map(|t| t.1)
                    .collect();
                all.sort_by_key(|task| std::cmp::Reverse(task.requested_seq));
                Box::new(all.into_iter())
            }
        }
    }

    /// Returns the sequences of the last events of a page of tasks, and the cursor of the next
    /// page.
    #[must_use]
    pub fn page(
        &self,
        tenant: Option<&Tenant>,
        filter: &Filter,
        limit: usize,
    ) -> (Vec<u64>, Option<u64>) {
        let mut shown = self
            .newest(tenant, filter.cursor)
            .filter(|task| filter.shows(task));
        let page: Vec<&Listed> = shown.by_ref().take(limit).collect();
        let next = shown.next().and(page.last()).map(|last| last.requested_seq);
        (page.iter().map(|task| task.last_seq).collect(), next)
    }

    /// Lists what waits to be created at Kling, what an earlier result answers, and the slots in
    /// use by the others; leaves out the tasks that the caller has in hand, and so counts itself,
    /// those that wait for another one's result, and keeps off-peak tasks for the
    /// window.
    #[must_use]
    pub fn dispatchable(
        &self,
        now: Timestamp,
        reuse: &ReuseRules,
        window: Option<&OffPeak>,
        in_hand: impl Fn(&TaskId) -> bool,
    ) -> Dispatchable {
        let mut found = Dispatchable::default();
        let mut turns = Turns::at(self, now, reuse, window);
        for task in self.open.values().filter(|task| !in_hand(&task.task_id)) {
            let claimed = task.claimed_until.filter(|until| *until > now);
            let counted = task.status.is_at_kling() || claimed.is_some() || task.may_exist;
            if counted {
                found.in_use.take(&task.task_id.tenant(), &task.slots);
            }
            if task.status.is_at_kling() || task.rebuilt {
                continue;
            }
            let earliest = claimed.or(task.not_before);
            match turns.of(task) {
                _ if task.answered => found.answered.push(task.task_id.clone()),
                Turn::Answered if !counted => found.answered.push(task.task_id.clone()),
                Turn::Wait if !counted => {}
                // Once a create may have reached Kling, the task goes its own way.
                Turn::Make | Turn::Wait | Turn::Answered => found.waiting.push(Waiting {
                    task_id: task.task_id.clone(),
                    tenant: task.task_id.tenant(),
                    slots: task.slots.clone(),
                    requested_seq: task.requested_seq,
                    ready_at: ready_at(window, task.off_peak, task.may_exist, earliest, now),
                    counted,
                }),
            }
        }
        found
    }

    /// Counts the open tasks by status.
    #[must_use]
    pub fn counts(&self) -> HashMap<Status, usize> {
        let mut counts = HashMap::new();
        for task in self.open.values() {
            *counts.entry(task.status).or_default() += 1;
        }
        counts
    }
}

fn open_task(task: &Task, requested_seq: u64) -> OpenTask {
    OpenTask {
        task_id: task.task_id.clone(),
        status: task.status,
        product: task.product,
        kling_task_id: task.kling_task_id.clone(),
        slots: task.relay.slots.clone(),
        requested_seq,
        not_before: task.relay.not_before,
        off_peak: task.relay.off_peak,
        claimed_until: task.relay.claim.as_ref().map(|claim| claim.until),
        may_exist: task.relay.may_exist,
        changed_at: task.relay.changed_at,
        stalled: task.relay.stalled,
        stalled_at: task.relay.stalled_at,
        shares: short_key(&task.relay.reuse.key).filter(|_| task.relay.reuse.asked),
        answered: task.reused_from.is_some(),
        rebuilt: task.relay.rebuilt,
    }
}

/// The views, shared by the roles of a process.
#[derive(Clone, Debug)]
pub struct Views {
    fold: Arc<RwLock<Fold>>,
    applied: watch::Sender<Applied>,
}

/// How far the fold has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Sequence of the last event folded.
    pub seq: u64,
    /// Whether the fold has reached what was in the stream when it began.
    pub caught_up: bool,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            fold: Arc::default(),
            applied: watch::Sender::new(Applied::default()),
        }
    }
}

impl Views {
    /// Reads the fold. Keep the guard short, and never over an `await`.
    pub fn read(&self) -> RwLockReadGuard<'_, Fold> {
        self.fold
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Tells of every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    /// Waits until the fold has reached what was in the stream when it began.
    pub async fn caught_up(&self) {
        // The sender lives as long as `self`.
        let _ = self
            .applied
            .subscribe()
            .wait_for(|applied| applied.caught_up)
            .await;
    }

    /// Waits until the event of that sequence is folded.
    pub async fn applied(&self, seq: u64) {
        let _ = self
            .applied
            .subscribe()
            .wait_for(|applied| applied.seq >= seq)
            .await;
    }

    /// Folds the log from its start, for ever; returns when stopped.
    ///
    /// # Errors
    /// [`LogError`] when the log cannot be followed; calling again starts anew.
    pub async fn follow(
        &self,
        log: &Log,
        clock: &Clock,
        stop: &CancellationToken,
    ) -> Result<(), LogError> {
        let target = log.last_event_sequence().await?;
        let mut events = log
            .follow(vec![topology::TASK_EVENTS.to_owned()], 1)
            .await?;
        *self.write() = Fold::default();
        self.applied.send_replace(Applied {
            seq: 0,
            caught_up: target == 0,
        });
        let mut last_prune = clock.now();
        loop {
            let recorded = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                recorded = events.next() => match recorded {
                    Some(recorded) => recorded?,
                    None => return Err(LogError::Unavailable { operation: "follow the log" }),
                },
            };
            match recorded.task_event() {
                Ok(event) => {
                    let kind = recorded.task_subject().map(|(_, kind)| kind);
                    self.write().apply(&event.task, kind, recorded.seq);
                }
                Err(error) => tracing::error!(error = %telemetry::chain(&error),
                    "an event cannot be shown"),
            }
            self.applied.send_modify(|applied| {
                applied.seq = recorded.seq;
                applied.caught_up |= recorded.seq >= target;
            });
            let now = clock.now();
            if now.duration_since(last_prune) > PRUNE_EVERY {
                self.write().prune(now);
                last_prune = now;
            }
        }
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Fold> {
        self.fold
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
