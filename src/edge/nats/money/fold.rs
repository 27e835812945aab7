//! Folds wishes into one commit: pure arithmetic over the balances that were read.

mod accept;
mod settle;
mod limit;
mod adjust;

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::job::{Job, Work};
use super::{AcceptError, MoneyRules, NewTask};
use crate::decide::ledger::{mark_alerts, with_limits};
use crate::edge::nats::log::Loaded;
use crate::model::event::NewEvent;
use crate::model::ids::{CommitId, TaskId};
use crate::model::ledger::{Balance, BudgetAlert, EntryKind, LedgerEntry, LedgerKey, LedgerOwner};
use crate::model::task::Task;

/// Where a ledger stands: the sequence of its last entry (0 for none) and the balance after it.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) balance: Balance,
}

pub(super) type Heads = BTreeMap<LedgerKey, Head>;

/// What made a message: named on it.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    pub(super) commit_id: CommitId,
    pub(super) traceparent: Option<String>,
}

pub(super) struct PlannedEntry {
    pub(super) key: LedgerKey,
    pub(super) entry: LedgerEntry,
    pub(super) cause: Cause,
}

pub(super) struct PlannedAlert {
    pub(super) key: LedgerKey,
    pub(super) alert: BudgetAlert,
    pub(super) cause: Cause,
}

pub(super) struct PlannedEvent {
    pub(super) event: NewEvent,
    /// What it was decided on; none for `requested`.
    pub(super) on: Option<Loaded>,
    pub(super) cause: Cause,
}

/// One commit in the making.
pub(super) struct Fold<'a> {
    rules: &'a MoneyRules,
    heads: &'a Heads,
    now: Timestamp,
    balances: BTreeMap<LedgerKey, Balance>,
    tasks: HashSet<TaskId>,
    pub(super) entries: Vec<PlannedEntry>,
    pub(super) alerts: Vec<PlannedAlert>,
    pub(super) events: Vec<PlannedEvent>,
}

/// Why a wish is not part of a fold.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotFolded {
    /// Refused, with the answer; another look at the balances decides whether it stands.
    Refused(AcceptError),
    /// The fold has an event of this task already: the next one may take it.
    Later,
}

impl<'a> Fold<'a> {
    pub(super) fn new(rules: &'a MoneyRules, heads: &'a Heads, now: Timestamp) -> Self {
        Self {
            rules,
            heads,
            now,
            balances: BTreeMap::new(),
            tasks: HashSet::new(),
            entries: Vec::new(),
            alerts: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn message_count(&self) -> usize {
        self.entries.len() + self.alerts.len() + self.events.len()
    }

    /// Adds a wish, whole or not at all.
    pub(super) fn add(&mut self, job: &Job) -> Result<(), NotFolded> {
        let ids = job.task_ids();
        if ids.iter().any(|task| self.tasks.contains(*task)) {
            return Err(NotFolded::Later);
        }
        match &job.work {
            Work::Accept { tasks, stored, .. } => {
                let mut seen = HashSet::new();
                if let Some(twice) = ids.iter().find(|task| !seen.insert(**task)) {
                    return Err(NotFolded::Refused(AcceptError::Exists((*twice).clone())));
                }
                let open: Vec<&NewTask> = tasks
                    .iter()
                    .zip(stored)
                    .filter_map(|(task, stored)| stored.is_none().then_some(task))
                    .collect();
                self.accept(&open).map_err(NotFolded::Refused)?;
            }
            Work::Settle {
                on,
                closing,
                commit_id,
                ..
            } => self.settle(on, closing, commit_id),
            Work::SetLimit {
                change, commit_id, ..
            } => self.set_limit(change, commit_id),
            Work::Adjust { posting, .. } => self.adjust(posting),
        }
        self.tasks.extend(ids.into_iter().cloned());
        Ok(())
    }

    /// Returns the working balance of a ledger; a day without entries is opened with its limits.
    fn opened(&mut self, key: &LedgerKey, cause: &Cause) -> Balance {
        if let Some(balance) = self.balances.get(key) {
            return balance.clone();
        }
        let balance = self.initial(key);
        if self.heads.get(key).is_none_or(|head| head.seq == 0) {
            let mut entry = self.entry(EntryKind::Limit, key, &cause.commit_id);
            entry.reason = Some("the day opens with the configured limits".to_owned());
            self.push(key.clone(), balance.clone(), entry, cause);
        }
        balance
    }

    fn initial(&self, key: &LedgerKey) -> Balance {
        match self.heads.get(key) {
            Some(head) if head.seq > 0 => head.balance.clone(),
            Some(_) | None => with_limits(Balance::new(), &self.rules.limits_of(&key.owner)),
        }
    }

    fn entry(&self, kind: EntryKind, key: &LedgerKey, commit_id: &CommitId) -> LedgerEntry {
        LedgerEntry {
            entry_id: String::new(),
            tenant: key.owner.as_str().to_owned(),
            task_id: None,
            commit_id: commit_id.clone(),
            day: key.day,
            kind,
            unit: None,
            held_change: Decimal::ZERO,
            deducted_change: Decimal::ZERO,
            basis: None,
            billed: Vec::new(),
            overrun: Vec::new(),
            balance: Balance::new(),
            product: None,
            model: None,
            mode: None,
            duration: None,
            audio: None,
            labels: BTreeMap::new(),
            kling_task_id: None,
            latency_seconds: None,
            saved: None,
            outcome: None,
            occurred_at: self.now,
            who: None,
            reason: None,
        }
    }

    fn push(&mut self, key: LedgerKey, after: Balance, mut entry: LedgerEntry, cause: &Cause) {
        let (balance, crossed) = mark_alerts(after, &self.rules.thresholds);
        entry.balance.clone_from(&balance);
        for crossed in crossed {
            let alert = BudgetAlert {
                tenant: key.owner.as_str().to_owned(),
                day: key.day,
                unit: crossed.unit,
                threshold: crossed.threshold,
                used: crossed.used,
                limit: crossed.limit,
                occurred_at: self.now,
            };
            self.alerts.push(PlannedAlert {
                key: key.clone(),
                alert,
                cause: cause.clone(),
            });
        }
        self.balances.insert(key.clone(), balance);
        self.entries.push(PlannedEntry {
            key,
            entry,
            cause: cause.clone(),
        });
    }
}

/// Returns the ledgers that a task's money stands in, the tenant's first.
pub(super) fn keys(task: &Task) -> Vec<LedgerKey> {
    let tenant = LedgerOwner::Tenant(task.tenant.clone());
    let account = task.relay.account_held.then_some(LedgerOwner::Account);
    std::iter::once(tenant)
        .chain(account)
        .map(|owner| LedgerKey {
            owner,
            day: task.relay.day,
        })
        .collect()
}

fn describe(entry: &mut LedgerEntry, task: &Task) {
    entry.task_id = Some(task.task_id.clone());
    entry.product = Some(task.product);
    entry.model = Some(task.model.clone());
    entry.mode.clone_from(&task.mode);
    entry.duration.clone_from(&task.duration);
    entry.audio = Some(task.audio);
}
