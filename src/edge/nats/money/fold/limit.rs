//! Limits that a person changes: an entry without a task.

use super::{Cause, Fold};
use crate::decide::ledger::{Limits, with_limits};
use crate::edge::nats::money::LimitChange;
use crate::model::ids::CommitId;
use crate::model::ledger::EntryKind;

impl Fold<'_> {
    /// Adds a change of one day's limit. A limit below what is used is allowed: nothing more is
    /// accepted then.
    pub(super) fn set_limit(&mut self, change: &LimitChange, commit_id: &CommitId) {
        let key = &change.key;
        let cause = Cause {
            commit_id: commit_id.clone(),
            traceparent: None,
        };
        let before = self.opened(key, &cause);
        let after = with_limits(before, &Limits::from([(change.unit, change.limit)]));
        let mut entry = self.entry(EntryKind::Limit, key, commit_id);
        entry.unit = Some(change.unit);
        entry.who = Some(change.who.clone());
        entry.reason = Some(change.reason.clone());
        self.push(key.clone(), after, entry, &cause);
    }
}
