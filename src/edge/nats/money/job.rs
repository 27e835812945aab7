//! What waits for the money writer, and how each waiter is answered.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{AcceptError, NewTask};
use crate::decide::ledger::Closing;
use crate::edge::nats::log::{Committed, Loaded, LogError};
use crate::model::ids::{CommitId, TaskId};
use crate::model::ledger::{LedgerKey, LedgerOwner};

/// One waiter's wish.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) bytes: usize,
    deadline: Instant,
}

pub(super) enum Work {
    Accept {
        tasks: Vec<NewTask>,
        /// Sequences of those that an earlier try of the same commit has stored.
        stored: Vec<Option<u64>>,
        answer: oneshot::Sender<Result<Vec<u64>, AcceptError>>,
    },
    Settle {
        on: Box<Loaded>,
        closing: Closing,
        commit_id: CommitId,
        stored: Option<u64>,
        answer: oneshot::Sender<Result<Committed, LogError>>,
    },
}

impl Job {
    pub(super) fn new(work: Work, bytes: usize, deadline: Instant) -> Self {
        Self {
            work,
            bytes,
            deadline,
        }
    }

    /// Tells whether nobody waits any more, or has waited long enough.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let gone = match &self.work {
            Work::Accept { answer, .. } => answer.is_closed(),
            Work::Settle { answer, .. } => answer.is_closed(),
        };
        gone || self.deadline <= now
    }

    pub(super) fn task_count(&self) -> usize {
        match &self.work {
            Work::Accept { tasks, .. } => tasks.len(),
            Work::Settle { .. } => 1,
        }
    }

    /// Returns how many messages it will take, but for the opening of a day and alerts.
    pub(super) fn messages(&self, with_account: bool) -> usize {
        let ledgers = 1 + usize::from(with_account);
        match &self.work {
            Work::Accept { tasks, .. } => tasks.len() * (1 + ledgers),
            Work::Settle { closing, .. } => 1 + ledgers * closing.deduction.len().max(1),
        }
    }

    pub(super) fn task_ids(&self) -> Vec<&TaskId> {
        match &self.work {
            Work::Accept { tasks, .. } => tasks.iter().map(|t| &t.event.task.task_id).collect(),
            Work::Settle { on, .. } => vec![&on.task.task_id],
        }
    }

    /// Returns the ledgers that it touches, each once.
    pub(super) fn ledgers(&self, with_account: bool) -> Vec<LedgerKey> {
        let mut keys: Vec<LedgerKey> = Vec::new();
        let mut add = |task: &crate::model::task::Task, account: bool| {
            let day = task.relay.day;
            let tenant = LedgerOwner::Tenant(task.tenant.clone());
            let owners = std::iter::once(tenant).chain(account.then_some(LedgerOwner::Account));
            for owner in owners {
                let key = LedgerKey { owner, day };
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        };
        match &self.work {
            Work::Accept { tasks, .. } => {
                for task in tasks {
                    add(&task.event.task, with_account);
                }
            }
            Work::Settle { on, .. } => add(&on.task, on.task.relay.account_held),
        }
        keys
    }

    /// Answers a waiter for whom nothing more can be said.
    pub(super) fn give_up(self) {
        match self.work {
            Work::Accept { answer, .. } => reply(answer, Err(AcceptError::Unavailable)),
            Work::Settle { answer, .. } => {
                let operation = "settle a task";
                reply(answer, Err(LogError::Unknown { operation }));
            }
        }
    }

    /// Answers that the log is full.
    pub(super) fn refuse_full(self) {
        match self.work {
            Work::Accept { answer, .. } => reply(answer, Err(AcceptError::Full)),
            Work::Settle { answer, .. } => {
                let operation = "settle a task";
                reply(answer, Err(LogError::Full { operation }));
            }
        }
    }

    /// Answers that the broker refuses what we do.
    pub(super) fn refuse(self, code: u64, reason: &str) {
        match self.work {
            Work::Accept { answer, .. } => reply(answer, Err(AcceptError::Unavailable)),
            Work::Settle { answer, .. } => {
                let error = LogError::Misconfigured {
                    operation: "settle a task",
                    code,
                    reason: reason.to_owned(),
                };
                reply(answer, Err(error));
            }
        }
    }

    /// Answers an acceptance that is refused.
    pub(super) fn refuse_accept(self, error: AcceptError) {
        match self.work {
            Work::Accept { answer, .. } => reply(answer, Err(error)),
            Work::Settle { .. } => self.give_up(),
        }
    }

    /// Answers with the sequences of the events, in the order of [`Job::task_ids`].
    pub(super) fn succeed(self, seqs: Vec<u64>) {
        match self.work {
            Work::Accept { answer, .. } => reply(answer, Ok(seqs)),
            Work::Settle { answer, .. } => {
                let seq = seqs.first().copied().unwrap_or_default();
                reply(answer, Ok(Committed::Stored { seq }));
            }
        }
    }

    /// Answers that a task, by its place, is no longer as this wish expects it.
    pub(super) fn moved_on(self, index: usize) {
        match self.work {
            Work::Accept { tasks, answer, .. } => {
                let task = tasks.into_iter().nth(index);
                let exists = task.map(|task| AcceptError::Exists(task.event.task.task_id));
                reply(answer, Err(exists.unwrap_or(AcceptError::Unavailable)));
            }
            Work::Settle { answer, .. } => reply(answer, Ok(Committed::MovedOn)),
        }
    }

    /// Notes that an earlier try of the same commit has stored a task's event.
    pub(super) fn mark_stored(&mut self, index: usize, seq: u64) {
        match &mut self.work {
            Work::Accept { stored, .. } => {
                if let Some(place) = stored.get_mut(index) {
                    *place = Some(seq);
                }
            }
            Work::Settle { stored, .. } => *stored = Some(seq),
        }
    }

    /// Returns the sequences that are known already, in the order of [`Job::task_ids`].
    pub(super) fn already_stored(&self) -> Vec<Option<u64>> {
        match &self.work {
            Work::Accept { stored, .. } => stored.clone(),
            Work::Settle { stored, .. } => vec![*stored],
        }
    }
}

/// A waiter that is gone does not want its answer.
fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    drop(answer.send(value));
}
