//! Corrections of settled deductions: an entry in each ledger that has the task's money, and no
//! event, since what is settled stays settled.

use super::{Cause, Fold};
use crate::decide::ledger::deduct;
use crate::edge::nats::money::adjust::{Planned, Posting};
use crate::model::amount::Amount;
use crate::model::ledger::{EntryKind, LedgerEntry};

impl Fold<'_> {
    /// Adds what is planned of a correction.
    pub(super) fn adjust(&mut self, posting: &Posting) {
        let cause = Cause {
            commit_id: posting.commit_id.clone(),
            traceparent: None,
        };
        let [tenant, account] = posting.wish.keys();
        for planned in &posting.planned {
            let account = planned.in_account.then_some(&account);
            for key in std::iter::once(&tenant).chain(account) {
                for change in &planned.changes {
                    let difference = Amount::new(change.to - change.from, change.unit);
                    let before = self.opened(key, &cause);
                    let mut entry = self.entry(EntryKind::Adjustment, key, &cause.commit_id);
                    describe(&mut entry, planned);
                    entry.unit = Some(change.unit);
                    entry.deducted_change = difference.amount;
                    entry.who = Some(posting.wish.who.clone());
                    entry.reason = Some(posting.wish.reason.clone());
                    self.push(key.clone(), deduct(&before, difference), entry, &cause);
                }
            }
        }
    }
}

/// What usage reports need beside the amount; how it ended has been told.
fn describe(entry: &mut LedgerEntry, planned: &Planned) {
    let closing = &planned.closing;
    entry.task_id.clone_from(&closing.task_id);
    entry.kling_task_id.clone_from(&closing.kling_task_id);
    entry.product = closing.product;
    entry.model.clone_from(&closing.model);
    entry.mode.clone_from(&closing.mode);
    entry.duration.clone_from(&closing.duration);
    entry.audio = closing.audio;
    entry.labels.clone_from(&closing.labels);
}
