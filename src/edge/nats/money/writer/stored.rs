//! What a stored fold means for what is remembered, and for its wishes.

use crate::edge::nats::money::fold::{Fold, Head, Heads, PlannedEntry};
use crate::edge::nats::money::job::Job;

/// Returns where the ledgers of a stored fold stand: its messages are the last `count` before and
/// with `last`, the entries behind the alerts.
pub(super) fn new_heads(fold: &Fold<'_>, last: u64, count: u64) -> Heads {
    let first = last + 1 - count + fold.alerts.len() as u64;
    let of_entry = |(index, planned): (usize, &PlannedEntry)| {
        let head = Head {
            seq: first + index as u64,
            balance: planned.entry.balance.clone(),
        };
        (planned.key.clone(), head)
    };
    fold.entries.iter().enumerate().map(of_entry).collect()
}

/// Events are the last messages of a batch.
pub(super) fn event_seqs(fold: &Fold<'_>, last: u64) -> Vec<u64> {
    let first = last + 1 - fold.events.len() as u64;
    (first..=last).collect()
}

/// Answers the wishes of a stored fold; the events are in their order.
pub(super) fn answer(jobs: Vec<Job>, seqs: Vec<u64>) {
    let mut seqs = seqs.into_iter();
    for job in jobs {
        let own: Vec<u64> = job
            .already_stored()
            .into_iter()
            .map(|stored| stored.or_else(|| seqs.next()).unwrap_or_default())
            .collect();
        job.succeed(own);
    }
}
