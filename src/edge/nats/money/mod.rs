//! The folding money writer: the one task of a process through which all money moves.
//!
//! Submitters that each read, decide and commit collapse to a handful a second; one writer that
//! folds what waits into one atomic batch carries thousands. It holds when a task is accepted and
//! settles when one has ended, for the tenant's ledger and the account's. What a task costs is
//! decided by its callers.
//!
//! Source: broker reference 4 and 5.

mod rules;
mod adjust;
mod fold;
mod job;
mod writer;
mod keep;
mod message;
pub mod repair;

use std::time::Duration;

use rust_decimal::Decimal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use adjust::Adjustment;
pub use rules::{MoneyRules, THRESHOLDS_MAX};

use self::adjust::Posting;
use self::job::{Job, Tries, Work};
use self::keep::State;
use super::log::{Committed, Loaded, Log, LogError, new_commit_id};
use super::{topology, wire};
use crate::decide::ledger::Closing;
use crate::model::amount::{Amount, Unit};
use crate::model::answer::Adjusted;
use crate::model::event::TaskEvent;
use crate::model::ids::{CommitId, TaskId};
use crate::model::ledger::{Balance, LedgerKey, LedgerOwner};

/// A task to be accepted: the only way to start a history.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// The body of `requested`, with the call.
    pub event: TaskEvent,
    /// What is set aside; it becomes the event's `estimate`, which the closing gives back.
    pub hold: Amount,
    /// Names this acceptance across retries: the same id again finds its own success.
    pub commit_id: CommitId,
    /// The trace that it belongs to, as W3C spells it; one is made without it.
    pub traceparent: Option<String>,
}

/// One limit of one day, as a person changes it.
#[derive(Clone, Debug)]
pub struct LimitChange {
    /// Whose, and which day.
    pub key: LedgerKey,
    /// Of which unit.
    pub unit: Unit,
    /// The limit from now on; below what is used, nothing more is accepted.
    pub limit: Decimal,
    /// Who changes it.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// Why tasks were not accepted. But for [`AcceptError::Unavailable`], nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// A limit would be exceeded.
    #[error("the day's budget of {} does not hold these tasks", owner.as_str())]
    BudgetExceeded {
        /// Whose limit.
        owner: LedgerOwner,
        /// What all the tasks need.
        needed: Vec<Amount>,
        /// What is left, in the same units.
        remaining: Vec<Amount>,
        /// How many of the tasks, from the first on, would fit.
        fits: usize,
    },
    /// A unit has no limit: spending in it was never allowed.
    #[error("there is no budget in {0}: set budget.daily_limit for it")]
    NoLimit(Unit),
    /// The task has a history already, and not by this commit.
    #[error("task {0} exists already")]
    Exists(TaskId),
    /// More, or bigger, than one commit can carry.
    #[error("{0}")]
    TooLarge(&'static str),
    /// What stands in the day's ledger cannot be read.
    #[error("the ledger of {} on {} cannot be read", .0.owner.as_str(), .0.day)]
    Unreadable(LedgerKey),
    /// The log is at its bound.
    #[error("the log is full: raise nats.log_max_bytes or free space")]
    Full,
    /// The broker is away or the outcome is unknown: never say that it was not accepted.
    #[error("the broker did not confirm in time; whether the tasks were accepted is unknown")]
    Unavailable,
}

/// The handle of the money writer. Clones share the writer.
#[derive(Clone, Debug)]
pub struct Money {
    queue: mpsc::Sender<Job>,
    log: Log,
    state: watch::Receiver<State>,
    closing_timeout: Duration,
}

/// What an event may be under the server's bound once the headers are added, in bytes.
const HEADERS_MAX_BYTES: usize = 8 << 10;

impl Money {
    /// Repairs a torn batch, if there is one, then starts the writer. It stops after the
    /// cancellation, when what waits has been answered; one that dies before begins again.
    ///
    /// # Errors
    /// [`LogError`] when the repair cannot be done; without it the books may be wrong.
    pub async fn start(
        log: Log,
        rules: MoneyRules,
        cancel: CancellationToken,
    ) -> Result<Self, LogError> {
        let connections = log.inner.broker.connections();
        repair::repair(&log).await?;
        let (queue, jobs) = mpsc::channel(rules.bounds.queue_max.max(1));
        let (states, state) = watch::channel(State::Running);
        let closing_timeout = rules.bounds.closing_timeout;
        tokio::spawn(keep::keep(
            log.clone(),
            rules,
            jobs,
            connections,
            states,
            cancel,
        ));
        Ok(Self {
            queue,
            log,
            state,
            closing_timeout,
        })
    }

    /// Accepts tasks: one commit holds the money and starts the histories, all or none. Returns
    /// the sequences of their `requested` events.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub async fn accept(
        &self,
        mut tasks: Vec<NewTask>,
        deadline: Duration,
    ) -> Result<Vec<u64>, AcceptError> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        if tasks.len() > topology::ACCEPT_TASKS_MAX {
            return Err(AcceptError::TooLarge("more than 300 tasks in one commit"));
        }
        for task in &mut tasks {
            task.traceparent.get_or_insert_with(new_traceparent);
        }
        let bytes = self.sizes(&tasks)?;
        let (answer, receiver) = oneshot::channel();
        let work = Work::Accept {
            stored: vec![None; tasks.len()],
            tasks,
            answer,
        };
        self.send(work, bytes, deadline, receiver)
            .await
            .unwrap_or(Err(AcceptError::Unavailable))
    }

    /// Closes a task's hold: the ledger entries and `settled` are one commit. A task whose money
    /// is closed already is [`Committed::MovedOn`].
    ///
    /// # Errors
    /// [`LogError::Unknown`] when the outcome is unknown: load again.
    pub async fn settle(&self, on: &Loaded, closing: Closing) -> Result<Committed, LogError> {
        if on.task.relay.settled_at.is_some() {
            return Ok(Committed::MovedOn);
        }
        let (answer, receiver) = oneshot::channel();
        let work = Work::Settle {
            on: Box::new(on.clone()),
            closing,
            commit_id: new_commit_id(),
            stored: None,
            answer,
        };
        let operation = "settle a task";
        self.send(work, 0, self.closing_timeout, receiver)
            .await
            .unwrap_or(Err(LogError::Unknown { operation }))
    }

    /// Changes one limit of one day by an entry with who and why; a day without entries is opened
    /// first. Alerts that are due with the new limit go with it.
    ///
    /// # Errors
    /// [`LogError::Unknown`] when the outcome is unknown: look at the balance.
    pub async fn set_limit(&self, change: LimitChange, deadline: Duration) -> Result<(), LogError> {
        let (answer, receiver) = oneshot::channel();
        let work = Work::SetLimit {
            change,
            commit_id: new_commit_id(),
            tries: Tries::default(),
            stored: false,
            answer,
        };
        let operation = "set a limit";
        self.send(work, 0, deadline, receiver)
            .await
            .unwrap_or(Err(LogError::Unknown { operation }))
    }

    /// Corrects settled deductions by entries with who and why: each task only while its deduction
    /// is what the wish says, so that a correction made twice is made once.
    ///
    /// # Errors
    /// [`LogError::Unknown`] when the outcome is unknown: adjusting again is harmless.
    pub async fn adjust(&self, wish: Adjustment, deadline: Duration) -> Result<Adjusted, LogError> {
        let mut posting = Posting::new(wish, new_commit_id());
        posting.read_on(&self.log).await?;
        let (answer, receiver) = oneshot::channel();
        let work = Work::Adjust {
            posting: Box::new(posting),
            answer,
        };
        let operation = "adjust a deduction";
        self.send(work, 0, deadline, receiver)
            .await
            .unwrap_or(Err(LogError::Unknown { operation }))
    }

    /// Reads a ledger's balance; `None` for a day without entries.
    ///
    /// # Errors
    /// As [`Log::balance`].
    pub async fn balance(&self, key: &LedgerKey) -> Result<Option<Balance>, LogError> {
        self.log.balance(key).await
    }

    /// Tells whether there is a writer now; one that died is back after a moment.
    #[must_use]
    pub fn is_running(&self) -> bool {
        *self.state.borrow() == State::Running
    }

    /// Waits until the writer has stopped.
    pub async fn stopped(&mut self) {
        // An error means that the writer is gone, which is what is waited for.
        let _ = self.state.wait_for(|state| *state == State::Stopped).await;
    }

    fn sizes(&self, tasks: &[NewTask]) -> Result<usize, AcceptError> {
        let bound = self.log.inner.broker.payload_max_bytes();
        let mut sum = 0;
        for task in tasks {
            let size = serde_json::to_vec(&task.event).map_or(usize::MAX, |body| body.len());
            if size.saturating_add(HEADERS_MAX_BYTES) > bound {
                return Err(AcceptError::TooLarge("a task larger than a broker message"));
            }
            sum += size;
        }
        Ok(sum)
    }

    async fn send<T>(
        &self,
        work: Work,
        bytes: usize,
        deadline: Duration,
        receiver: oneshot::Receiver<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + deadline;
        let job = Job::new(work, bytes, deadline);
        let wait = async {
            self.queue.send(job).await.ok()?;
            receiver.await.ok()
        };
        tokio::time::timeout_at(deadline, wait).await.ok().flatten()
    }
}

/// Begins a trace, as W3C spells it: every event of the task carries it on.
fn new_traceparent() -> String {
    let (trace, span) = (wire::fresh_id(), wire::fresh_id());
    format!("00-{trace}-{}-01", &span[..16])
}

/// Turns a decimal into the floating number that metrics take; never used for money itself.
fn for_metrics(value: Decimal) -> f64 {
    use rust_decimal::prelude::ToPrimitive;
    value.to_f64().unwrap_or_default()
}
