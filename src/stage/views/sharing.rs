//! The tasks by what Kling is asked for: who could answer whom.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::{Fold, OpenTask};
use crate::decide::off_peak::{OffPeak, ready_at};
use crate::decide::reuse::{Group, Phase, Rules, Turn};
use crate::model::ids::{TaskId, Tenant};
use crate::model::task::Task;

/// The first half of a reuse key: enough for an index. Whoever uses a result compares the whole.
pub(super) type ShortKey = u128;

/// Reads the first 32 of a key's hexadecimal digits; `None` where a task has no key.
pub(super) fn short_key(key: &str) -> Option<ShortKey> {
    u128::from_str_radix(key.get(..32)?, 16).ok()
}

/// Every task that has a result to give or will have one, by key and place.
#[derive(Debug, Default)]
pub(super) struct Sharing(BTreeMap<(ShortKey, u64), Shared>);

#[derive(Debug)]
struct Shared {
    phase: Phase,
    off_peak: bool,
    expires_at: Timestamp,
}

impl Sharing {
    /// Applies one event, as [`Fold::apply`] does.
    pub(super) fn apply(&mut self, task: &Task, requested_seq: u64, seq: u64) {
        let Some(key) = short_key(&task.relay.reuse.key) else {
            return;
        };
        let place = (key, requested_seq);
        let before = self.0.get(&place).map(|shared| shared.phase);
        match Phase::after(task, before, seq) {
            Some(phase) => {
                let expires_at = task.relay.expires_at;
                let off_peak = task.relay.off_peak;
                let shared = Shared {
                    phase,
                    off_peak,
                    expires_at,
                };
                self.0.insert(place, shared);
            }
            None => drop(self.0.remove(&place)),
        }
    }

    pub(super) fn prune(&mut self, now: Timestamp) {
        self.0.retain(|_, shared| shared.expires_at > now);
    }

    /// Lists the tasks of a key, oldest first.
    fn of(&self, key: ShortKey) -> impl DoubleEndedIterator<Item = (u64, Phase)> + '_ {
        let of_key = self.0.range((key, 0)..=(key, u64::MAX));
        of_key.map(|((_, place), shared)| (*place, shared.phase))
    }

    /// The same, where a task that wants the off-peak window waits for it.
    fn of_now(
        &self,
        key: ShortKey,
        now: Timestamp,
        window: Option<&OffPeak>,
    ) -> impl Iterator<Item = (u64, Phase)> {
        let of_key = self.0.range((key, 0)..=(key, u64::MAX));
        of_key.map(move |((_, place), shared)| match shared.phase {
            Phase::Waiting(from) => {
                let from = ready_at(window, shared.off_peak, false, from, now);
                (*place, Phase::Waiting(from))
            }
            phase @ (Phase::Claimed { .. } | Phase::Made(_) | Phase::Stored(_)) => (*place, phase),
        })
    }

    fn phase(&self, key: ShortKey, place: u64) -> Option<Phase> {
        self.0.get(&(key, place)).map(|shared| shared.phase)
    }
}

/// Decides about the waiting tasks of one moment; each key is summed up once.
pub(super) struct Turns<'a> {
    fold: &'a Fold,
    now: Timestamp,
    rules: &'a Rules,
    window: Option<&'a OffPeak>,
    groups: HashMap<ShortKey, Group>,
}

impl<'a> Turns<'a> {
    pub(super) fn at(
        fold: &'a Fold,
        now: Timestamp,
        rules: &'a Rules,
        window: Option<&'a OffPeak>,
    ) -> Self {
        Self {
            fold,
            now,
            rules,
            window,
            groups: HashMap::new(),
        }
    }

    /// Decides about a task that waits, and that no create may have brought to Kling.
    pub(super) fn of(&mut self, task: &OpenTask) -> Turn {
        let Some(key) = task.shares else {
            return Turn::Make;
        };
        let (sharing, now, rules, window) = (&self.fold.sharing, self.now, self.rules, self.window);
        let group = self.groups.entry(key);
        let group =
            group.or_insert_with(|| Group::of(sharing.of_now(key, now, window), now, rules));
        group.turn(task.requested_seq)
    }
}

impl Fold {
    /// Finds the newest task of a tenant whose stored result may answer that key.
    #[must_use]
    pub fn answer(
        &self,
        tenant: &Tenant,
        reuse_key: &str,
        now: Timestamp,
        rules: &Rules,
    ) -> Option<&TaskId> {
        let mut newest = self.sharing.of(short_key(reuse_key)?).rev();
        let (place, _) = newest.find(|(_, phase)| phase.answers(now, rules))?;
        let listed = self.listed.get(tenant)?.get(&place)?;
        Some(&listed.task_id)
    }

    /// Tells whether a claimed task that allows reuse may be made, as far as this view has come:
    /// nothing answers it, and no other claim of its key came before.
    #[must_use]
    pub fn may_make(&self, task: &Task, now: Timestamp, rules: &Rules) -> bool {
        let Some(key) = short_key(&task.relay.reuse.key) else {
            return true;
        };
        // A view that has begun anew does not know the claim, and so not the others either.
        let Some(Phase::Claimed { seq, .. }) = self.sharing.phase(key, task.relay.requested_seq)
        else {
            return false;
        };
        Group::of(self.sharing.of(key), now, rules).may_make(seq)
    }
}
