//! Corrections of settled deductions: posted only while a task's deduction is what the operator
//! saw, so that posting twice, or two operators at once, never doubles.
//!
//! What stands is summed from the day's own entries, up to the very entry that the commit expects
//! to be the last. A day can be long, so most of it is read before the wish waits for the writer,
//! and the writer reads only what has come since.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::fold::Heads;
use super::job::{Job, Work};
use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::read::ReadFrom;
use crate::edge::nats::topology;
use crate::model::amount::Unit;
use crate::model::answer::Adjusted;
use crate::model::ids::{CommitId, Day, TaskId, Tenant};
use crate::model::ledger::{EntryKind, LedgerEntry, LedgerKey, LedgerOwner};
use crate::model::operator::AdjustChange;

const OPERATION: &str = "adjust a deduction";
/// Entries read at once.
const PAGE: usize = 1_000;

/// Corrections of one tenant's day, as a person makes them. A task's changes go together or not at
/// all; the tasks are apart from one another.
#[derive(Clone, Debug)]
pub struct Adjustment {
    /// Whose.
    pub tenant: Tenant,
    /// The budget day that holds the money.
    pub day: Day,
    /// What changes.
    pub changes: Vec<AdjustChange>,
    /// Who changes it.
    pub who: String,
    /// Why.
    pub reason: String,
}

impl Adjustment {
    pub(super) fn keys(&self) -> [LedgerKey; 2] {
        let key = |owner| LedgerKey {
            owner,
            day: self.day,
        };
        [
            key(LedgerOwner::Tenant(self.tenant.clone())),
            key(LedgerOwner::Account),
        ]
    }
}

/// What a ledger's day says of the tasks of an adjustment.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// The last entry that was read.
    seq: u64,
    tasks: BTreeMap<TaskId, TaskStanding>,
}

#[derive(Clone, Debug, Default)]
struct TaskStanding {
    deducted: BTreeMap<Unit, Decimal>,
    /// What this very commit has changed.
    by_us: BTreeMap<Unit, Decimal>,
    /// The entry that closed its hold.
    closing: Option<LedgerEntry>,
}

/// The task's part of a correction that is to be written.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// The entry that closed the hold: it describes the task.
    pub(super) closing: LedgerEntry,
    /// Whether the money also stands in the account's ledger.
    pub(super) in_account: bool,
    pub(super) changes: Vec<AdjustChange>,
}

/// A correction on its way: what stands, and what follows from it.
#[derive(Debug)]
pub(super) struct Posting {
    pub(super) wish: Adjustment,
    pub(super) commit_id: CommitId,
    /// The tenant's ledger and the account's.
    standings: [Standing; 2],
    pub(super) planned: Vec<Planned>,
    pub(super) outcome: Adjusted,
}

impl Posting {
    pub(super) fn new(wish: Adjustment, commit_id: CommitId) -> Self {
        let mut tasks: Vec<&TaskId> = wish.changes.iter().map(|change| &change.task_id).collect();
        tasks.sort();
        tasks.dedup();
        let tasks = tasks
            .into_iter()
            .map(|id| (id.clone(), TaskStanding::default()));
        let standing = Standing {
            seq: 0,
            tasks: tasks.collect(),
        };
        Self {
            wish,
            commit_id,
            standings: [standing.clone(), standing],
            planned: Vec::new(),
            outcome: Adjusted::default(),
        }
    }

    pub(super) fn task_ids(&self) -> Vec<&TaskId> {
        self.standings[0].tasks.keys().collect()
    }

    /// Reads on to where the ledgers stand now.
    pub(super) async fn read_on(&mut self, log: &Log) -> Result<(), LogError> {
        let mut seqs = [0, 0];
        for (seq, key) in seqs.iter_mut().zip(self.wish.keys()) {
            *seq = log.ledger(&key).await?.map_or(0, |(_, seq)| seq);
        }
        self.read_to(log, seqs).await
    }

    /// Reads on to these entries, and no further.
    async fn read_to(&mut self, log: &Log, seqs: [u64; 2]) -> Result<(), LogError> {
        let keys = self.wish.keys();
        for ((standing, key), seq) in self.standings.iter_mut().zip(keys).zip(seqs) {
            standing.read_to(log, &key, seq, &self.commit_id).await?;
        }
        Ok(())
    }

    /// Works out what is still to be written, and what is not any more.
    fn plan(&mut self) {
        self.planned.clear();
        self.outcome = Adjusted::default();
        let [tenant, account] = &self.standings;
        for (task_id, standing) in &tenant.tasks {
            let of_task = |change: &&AdjustChange| change.task_id == *task_id;
            let changes = self.wish.changes.iter().filter(of_task);
            let changes: Vec<AdjustChange> = changes.cloned().collect();
            let is = |amount: fn(&AdjustChange) -> Decimal| {
                let all = changes.iter();
                let deducted = |unit| standing.deducted.get(&unit).copied().unwrap_or_default();
                all.clone()
                    .all(|change| deducted(change.unit) == amount(change))
            };
            match &standing.closing {
                Some(closing) if is(|change| change.from) => {
                    self.outcome.posted += 1;
                    self.planned.push(Planned {
                        closing: closing.clone(),
                        in_account: account.tasks[task_id].closing.is_some(),
                        changes,
                    });
                }
                Some(_) if is(|change| change.to) => {
                    let ours = standing.by_us.values().any(|change| !change.is_zero());
                    match ours {
                        true => self.outcome.posted += 1,
                        false => self.outcome.already += 1,
                    }
                }
                Some(_) | None => self.outcome.moved_on.push(task_id.clone()),
            }
        }
    }
}

impl Standing {
    async fn read_to(
        &mut self,
        log: &Log,
        key: &LedgerKey,
        seq: u64,
        commit_id: &CommitId,
    ) -> Result<(), LogError> {
        let subject = topology::ledger_subject(key);
        while self.seq < seq {
            let from = ReadFrom::Sequence(self.seq + 1);
            let page = log.read(&subject, from, PAGE).await?;
            let until = page.iter().take_while(|recorded| recorded.seq <= seq);
            let before = self.seq;
            for recorded in until {
                self.add(&recorded.ledger_entry()?, commit_id);
                self.seq = recorded.seq;
            }
            // A replica that has not come so far yet.
            if self.seq == before {
                let operation = OPERATION;
                return Err(LogError::Unavailable { operation });
            }
        }
        Ok(())
    }

    fn add(&mut self, entry: &LedgerEntry, commit_id: &CommitId) {
        let task = entry.task_id.as_ref().and_then(|id| self.tasks.get_mut(id));
        let Some(standing) = task else {
            return;
        };
        if let Some(unit) = entry.unit {
            *standing.deducted.entry(unit).or_default() += entry.deducted_change;
            if entry.commit_id == *commit_id {
                *standing.by_us.entry(unit).or_default() += entry.deducted_change;
            }
        }
        match entry.kind {
            EntryKind::Settlement | EntryKind::Void => standing.closing = Some(entry.clone()),
            // The repair of a torn batch has opened the hold again.
            EntryKind::Adjustment if entry.held_change > Decimal::ZERO => standing.closing = None,
            EntryKind::Hold | EntryKind::Adjustment | EntryKind::Limit => {}
        }
    }
}

/// Brings the corrections among the wishes to where the ledgers stand, and answers those that have
/// nothing (left) to write, or whose ledgers have an entry that cannot be read.
///
/// # Errors
/// [`LogError`] when the broker does not answer; nothing has been answered then.
pub(super) async fn prepare(log: &Log, jobs: &mut Vec<Job>, heads: &Heads) -> Result<(), LogError> {
    let mut unreadable = BTreeMap::new();
    for (index, job) in jobs.iter_mut().enumerate() {
        let Work::Adjust { posting, .. } = &mut job.work else {
            continue;
        };
        let seqs = posting.wish.keys();
        let seqs = seqs.map(|key| heads.get(&key).map_or(0, |head| head.seq));
        match posting.read_to(log, seqs).await {
            Ok(()) => posting.plan(),
            Err(error) if error.is_lasting() => {
                unreadable.insert(index, error);
            }
            Err(error) => return Err(error),
        }
    }
    let nothing = |job: &Job| match &job.work {
        Work::Adjust { posting, .. } => posting.planned.is_empty(),
        Work::Accept { .. } | Work::Settle { .. } | Work::SetLimit { .. } => false,
    };
    for (index, job) in std::mem::take(jobs).into_iter().enumerate() {
        match unreadable.remove(&index) {
            Some(error) => job.refuse(0, &error.to_string()),
            None if nothing(&job) => job.succeed(Vec::new()),
            None => jobs.push(job),
        }
    }
    Ok(())
}
