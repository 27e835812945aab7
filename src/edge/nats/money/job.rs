//! What waits for the money writer, and how each waiter is answered.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::adjust::Posting;
use super::fold::Heads;
use super::{AcceptError, LimitChange, NewTask};
use crate::decide::ledger::Closing;
use crate::edge::nats::log::{Committed, Loaded, LogError};
use crate::model::answer::Adjusted;
use crate::model::ids::{CommitId, TaskId};
use crate::model::ledger::{LedgerKey, LedgerOwner};

const SETTLE: &str = "settle a task";
const SET_LIMIT: &str = "set a limit";
const ADJUST: &str = "adjust a deduction";

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
    SetLimit {
        change: LimitChange,
        commit_id: CommitId,
        tries: Tries,
        stored: bool,
        answer: oneshot::Sender<Result<(), LogError>>,
    },
    Adjust {
        posting: Box<Posting>,
        answer: oneshot::Sender<Result<Adjusted, LogError>>,
    },
}

/// The batches in which an entry without a task was sent. No event tells what became of them, but
/// a batch that was stored stands right behind the entry that it expected to be the last.
#[derive(Debug, Default)]
pub(super) struct Tries {
    batches: Vec<Try>,
}

/// One batch that was sent.
#[derive(Clone, Debug)]
pub(super) struct Try {
    pub(super) batch: String,
    /// The ledger's last entry that it expected; 0 for none.
    pub(super) expected: u64,
}

impl Tries {
    pub(super) fn all(&self) -> &[Try] {
        &self.batches
    }
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
            Work::SetLimit { answer, .. } => answer.is_closed(),
            Work::Adjust { answer, .. } => answer.is_closed(),
        };
        gone || self.deadline <= now
    }

    pub(super) fn task_count(&self) -> usize {
        match &self.work {
            Work::Accept { tasks, .. } => tasks.len(),
            Work::Settle { .. } | Work::SetLimit { .. } => 1,
            Work::Adjust { posting, .. } => posting.task_ids().len(),
        }
    }

    /// Returns how many messages it will take, but for the opening of a day and alerts.
    pub(super) fn messages(&self, with_account: bool) -> usize {
        let ledgers = 1 + usize::from(with_account);
        match &self.work {
            Work::Accept { tasks, .. } => tasks.len() * (1 + ledgers),
            Work::Settle { closing, .. } => 1 + ledgers * closing.deduction.len().max(1),
            Work::SetLimit { .. } => 1,
            // Whether the account has them is not known yet.
            Work::Adjust { posting, .. } => 2 * posting.wish.changes.len(),
        }
    }

    pub(super) fn task_ids(&self) -> Vec<&TaskId> {
        match &self.work {
            Work::Accept { tasks, .. } => tasks.iter().map(|t| &t.event.task.task_id).collect(),
            Work::Settle { on, .. } => vec![&on.task.task_id],
            Work::SetLimit { .. } => Vec::new(),
            Work::Adjust { posting, .. } => posting.task_ids(),
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
            Work::SetLimit { change, .. } => keys.push(change.key.clone()),
            Work::Adjust { posting, .. } => keys.extend(posting.wish.keys()),
        }
        keys
    }

    /// Answers a waiter for whom nothing more can be said.
    pub(super) fn give_up(self) {
        match self.work {
            Work::Accept { answer, .. } => reply(answer, Err(AcceptError::Unavailable)),
            Work::Settle { answer, .. } => {
                let operation = SETTLE;
                reply(answer, Err(LogError::Unknown { operation }));
            }
            Work::SetLimit { answer, .. } => {
                let operation = SET_LIMIT;
                reply(answer, Err(LogError::Unknown { operation }));
            }
            Work::Adjust { answer, .. } => {
                let operation = ADJUST;
                reply(answer, Err(LogError::Unknown { operation }));
            }
        }
    }

    /// Answers that the log is full.
    pub(super) fn refuse_full(self) {
        match self.work {
            Work::Accept { answer, .. } => reply(answer, Err(AcceptError::Full)),
            Work::Settle { answer, .. } => {
                let operation = SETTLE;
                reply(answer, Err(LogError::Full { operation }));
            }
            Work::SetLimit { answer, .. } => {
                let operation = SET_LIMIT;
                reply(answer, Err(LogError::Full { operation }));
            }
            Work::Adjust { answer, .. } => {
                let operation = ADJUST;
                reply(answer, Err(LogError::Full { operation }));
            }
        }
    }

    /// Answers that the broker refuses what we do.
    pub(super) fn refuse(self, code: u64, reason: &str) {
        let error = |operation| LogError::Misconfigured {
            operation,
            code,
            reason: reason.to_owned(),
        };
        match self.work {
            Work::Accept { answer, .. } => reply(answer, Err(AcceptError::Unavailable)),
            Work::Settle { answer, .. } => reply(answer, Err(error(SETTLE))),
            Work::SetLimit { answer, .. } => reply(answer, Err(error(SET_LIMIT))),
            Work::Adjust { answer, .. } => reply(answer, Err(error(ADJUST))),
        }
    }

    /// Answers that a ledger which it moves cannot be read.
    pub(super) fn refuse_unreadable(self, key: &LedgerKey, error: &LogError) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            tenant.id = key.owner.as_str(),
            day = %key.day,
            "a ledger cannot be read, and nothing moves on it: a newer version may have written it"
        );
        match self.work {
            Work::Accept { answer, .. } => {
                reply(answer, Err(AcceptError::Unreadable(key.clone())));
            }
            Work::Settle { .. } | Work::SetLimit { .. } | Work::Adjust { .. } => {
                self.refuse(0, &error.to_string());
            }
        }
    }

    /// Answers an acceptance that is refused. Where a power cut has left a part of it, that part
    /// stands, and nobody may be told that nothing was written.
    pub(super) fn refuse_accept(self, error: AcceptError) {
        let in_part = self.already_stored().iter().any(Option::is_some);
        match self.work {
            _ if in_part => self.give_up(),
            Work::Accept { answer, .. } => reply(answer, Err(error)),
            Work::Settle { .. } | Work::SetLimit { .. } | Work::Adjust { .. } => self.give_up(),
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
            Work::SetLimit { answer, .. } => reply(answer, Ok(())),
            Work::Adjust { posting, answer } => reply(answer, Ok(posting.outcome)),
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
            // Only a task can move on.
            Work::SetLimit { .. } | Work::Adjust { .. } => self.give_up(),
        }
    }

    /// Notes a batch before it is sent, and what it expects of the ledgers.
    pub(super) fn note_try(&mut self, batch: &str, heads: &Heads) {
        if let Work::SetLimit { change, tries, .. } = &mut self.work {
            tries.batches.push(Try {
                batch: batch.to_owned(),
                expected: heads.get(&change.key).map_or(0, |head| head.seq),
            });
        }
    }

    /// Tells whether nothing but a look can tell that an earlier try was stored: no task refuses
    /// the next one.
    pub(super) fn has_tries(&self) -> bool {
        matches!(&self.work, Work::SetLimit { tries, .. } if !tries.all().is_empty())
    }

    /// Notes that an earlier try of the same commit has stored a task's event, or the entry of a
    /// wish without a task.
    pub(super) fn mark_stored(&mut self, index: usize, seq: u64) {
        match &mut self.work {
            Work::Accept { stored, .. } => {
                if let Some(place) = stored.get_mut(index) {
                    *place = Some(seq);
                }
            }
            Work::Settle { stored, .. } => *stored = Some(seq),
            Work::SetLimit { stored, .. } => *stored = true,
            // What it has written shows in what stands, which is read before each try.
            Work::Adjust { .. } => {}
        }
    }

    /// Returns the sequences that are known already, in the order of [`Job::task_ids`].
    pub(super) fn already_stored(&self) -> Vec<Option<u64>> {
        match &self.work {
            Work::Accept { stored, .. } => stored.clone(),
            Work::Settle { stored, .. } => vec![*stored],
            Work::SetLimit { .. } | Work::Adjust { .. } => Vec::new(),
        }
    }

    /// Tells whether all of it was stored by an earlier try.
    pub(super) fn is_stored(&self) -> bool {
        match &self.work {
            Work::Accept { stored, .. } => stored.iter().all(Option::is_some),
            Work::Settle { stored, .. } => stored.is_some(),
            Work::SetLimit { stored, .. } => *stored,
            Work::Adjust { .. } => false,
        }
    }
}

/// A waiter that is gone does not want its answer.
fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    drop(answer.send(value));
}
