//! Open tasks to claim, Kling and `submitted`.
//!
//! It works from the view, not from a queue: a model without free slots never holds up another. The
//! claim is an ordinary commit, so two dispatchers cannot take the same task; Kling refuses a
//! second create with the same `external_task_id`, so even a lost claim cannot spend twice.

mod attempt;
mod reuse;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config;
use crate::decide::circuit::{Circuit, Gate};
use crate::decide::off_peak::OffPeak;
use crate::decide::reuse::Rules as ReuseRules;
use crate::decide::schedule::{self, Waiting};
use crate::edge::clock::Clock;
use crate::edge::kling::callback_url::CapabilityKeys;
use crate::edge::kling::client::Client;
use crate::edge::nats::log::Log;
use crate::model::ids::TaskId;
use crate::stage::views::{Dispatchable, Views};
use crate::telemetry;

/// Never sleeps longer than this between two looks at the view.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// How many slots Kling grants.
#[derive(Clone, Debug)]
pub struct SlotRules {
    /// Per model version and pack type.
    pub default: u32,
    /// By model version.
    pub by_version: HashMap<String, u32>,
}

impl SlotRules {
    fn of(&self, pool: &str) -> u32 {
        let version = pool.split('/').next().unwrap_or(pool);
        self.by_version
            .get(version)
            .copied()
            .unwrap_or(self.default)
    }
}

/// Creates tasks at Kling.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    log: Log,
    kling: Arc<Client>,
    views: Views,
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rules: config::Dispatcher,
    slots: SlotRules,
    off_peak: Option<OffPeak>,
    reuse: ReuseRules,
    request_timeout: Duration,
    public_url: Url,
    keys: CapabilityKeys,
    circuit: Mutex<Circuit>,
    /// Tasks in hand, which the view may not show as taken yet; those without what they take are
    /// answered by an earlier result.
    in_hand: Mutex<HashMap<TaskId, Option<Waiting>>>,
    wake: Notify,
}

/// What a dispatcher needs to know besides its neighbours.
#[derive(Clone, Debug)]
pub struct DispatchRules {
    /// Its own section.
    pub rules: config::Dispatcher,
    /// The slots.
    pub slots: SlotRules,
    /// When `off_peak` tasks are dispatched.
    pub off_peak: Option<OffPeak>,
    /// When an earlier result answers.
    pub reuse: ReuseRules,
    /// How long a call to Kling may take.
    pub request_timeout: Duration,
    /// Where Kling calls back.
    pub public_url: Url,
    /// What mints the callback paths.
    pub keys: CapabilityKeys,
}

impl Dispatcher {
    /// Makes the stage.
    #[must_use]
    pub fn new(
        log: Log,
        kling: Arc<Client>,
        views: Views,
        clock: Clock,
        rules: DispatchRules,
    ) -> Self {
        let shared = Shared {
            rules: rules.rules,
            slots: rules.slots,
            off_peak: rules.off_peak,
            reuse: rules.reuse,
            request_timeout: rules.request_timeout,
            public_url: rules.public_url,
            keys: rules.keys,
            circuit: Mutex::default(),
            in_hand: Mutex::default(),
            wake: Notify::new(),
        };
        Self {
            log,
            kling,
            views,
            clock,
            shared: Arc::new(shared),
        }
    }

    /// Dispatches until stopped, then waits for the calls in hand.
    pub async fn run(&self, stop: CancellationToken, drain_timeout: Duration) {
        let work = TaskTracker::new();
        let mut changes = self.views.changes();
        while !stop.is_cancelled() {
            // Also after the view began anew: half of it would show slots as free that are not.
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.views.caught_up() => {}
            }
            changes.mark_unchanged();
            let wake_at = self.start_what_fits(&work);
            let wait = self.until(wake_at);
            tokio::select! {
                () = stop.cancelled() => {}
                _ = changes.changed() => {}
                () = self.shared.wake.notified() => {}
                () = self.clock.sleep(wait) => {}
            }
        }
        work.close();
        if tokio::time::timeout(drain_timeout, work.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "calls to Kling did not end in time; their claims will run out and \
                somebody will look the tasks up"
            );
        }
    }

    /// Starts what the schedule picks; returns when to look again if nothing changes before.
    fn start_what_fits(&self, work: &TaskTracker) -> Option<Timestamp> {
        let now = self.clock.now();
        let circuit = lock(&self.shared.circuit).clone();
        let one_to_try = |pool: &str| circuit.gate(pool, now) == Gate::OneToTry;
        let (mut possible, mut picks_max, mut trying) = {
            let in_hand = lock(&self.shared.in_hand);
            let view = self.views.read();
            let (reuse, window) = (&self.shared.reuse, self.shared.off_peak.as_ref());
            let mut possible = view.dispatchable(now, reuse, window, |id| in_hand.contains_key(id));
            let taken = || in_hand.values().flatten();
            for task in taken() {
                possible.in_use.take(&task.tenant, &task.slots);
            }
            (
                possible,
                self.shared.rules.concurrency.saturating_sub(in_hand.len()),
                taken().any(|task| one_to_try(&task.slots.pool)),
            )
        };
        possible.answered.truncate(picks_max);
        picks_max -= possible.answered.len();
        for task_id in possible.answered {
            self.start(work, task_id, None);
        }
        let Dispatchable {
            mut waiting,
            in_use,
            ..
        } = possible;
        for (pool, used) in in_use.pools() {
            metrics::gauge!(telemetry::SLOTS_IN_USE, "pool" => pool.to_owned()).set(used);
        }
        let by_id: HashMap<TaskId, Waiting> = waiting
            .iter()
            .map(|task| (task.task_id.clone(), task.clone()))
            .collect();
        let mut reopens_at: Option<Timestamp> = None;
        waiting.retain(|task| match circuit.gate(&task.slots.pool, now) {
            Gate::Open | Gate::OneToTry => true,
            Gate::ClosedUntil(at) => {
                reopens_at = Some(reopens_at.map_or(at, |earlier| earlier.min(at)));
                false
            }
        });
        let capacity = |pool: &str| match circuit.gate(pool, now) {
            Gate::Open | Gate::OneToTry => self.shared.slots.of(pool),
            Gate::ClosedUntil(_) => 0,
        };
        let schedule = schedule::next(waiting, in_use, capacity, now, picks_max);
        for task_id in schedule.picks {
            let Some(task) = by_id.get(&task_id) else {
                continue;
            };
            // The next one goes when this one has been answered.
            if one_to_try(&task.slots.pool) && std::mem::replace(&mut trying, true) {
                continue;
            }
            self.start(work, task_id, Some(task.clone()));
        }
        [schedule.next_ready_at, reopens_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Creates a task at Kling, or answers it where it takes nothing there.
    fn start(&self, work: &TaskTracker, task_id: TaskId, taken: Option<Waiting>) {
        let made = taken.is_some();
        lock(&self.shared.in_hand).insert(task_id.clone(), taken);
        let dispatcher = self.clone();
        work.spawn(async move {
            // On a task of its own, so that a panic does not leave the task in hand for ever.
            let attempt = {
                let (dispatcher, task_id) = (dispatcher.clone(), task_id.clone());
                tokio::spawn(async move {
                    match made {
                        true => dispatcher.attempt(&task_id).await,
                        false => dispatcher.answer(&task_id).await,
                    }
                })
            };
            match attempt.await {
                Ok(Some(seq)) => {
                    // Until the view has seen it, the slot is counted here.
                    let seen = dispatcher.views.applied(seq);
                    if tokio::time::timeout(IDLE_MAX, seen).await.is_err() {
                        tracing::warn!(task.id = %task_id, "the view is far behind the log");
                    }
                }
                // Nothing committed: breathe before the view offers the task again.
                Ok(None) => {
                    dispatcher
                        .clock
                        .sleep(dispatcher.shared.rules.backoff_base)
                        .await
                }
                Err(error) => {
                    tracing::error!(task.id = %task_id, %error, "a dispatch panicked");
                    dispatcher
                        .clock
                        .sleep(dispatcher.shared.rules.backoff_base)
                        .await;
                }
            }
            lock(&dispatcher.shared.in_hand).remove(&task_id);
            dispatcher.shared.wake.notify_one();
        });
    }

    fn until(&self, at: Option<Timestamp>) -> Duration {
        let wait = at.map(|at| {
            at.duration_since(self.clock.now())
                .max(SignedDuration::ZERO)
        });
        let wait = wait.map_or(IDLE_MAX, SignedDuration::unsigned_abs);
        wait.clamp(Duration::from_millis(1), IDLE_MAX)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
