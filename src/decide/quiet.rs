//! How long an open task may be silent: when to ask Kling, when to report it as stalled.

use jiff::{SignedDuration, Timestamp};

use crate::model::event::{EventKind, NewEvent};
use crate::model::task::Task;

/// No gap between two reports is longer: a report also renews the task's expiry.
pub const STALLED_GAP_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
/// No gap between two questions about one silent task is longer.
pub const ASK_GAP_MAX: SignedDuration = SignedDuration::from_hours(1);

/// Returns when Kling should be asked about a silent task, after `asked` questions in vain: the gap
/// doubles, so that a task which takes hours does not cost a query a minute.
#[must_use]
pub fn ask_at(
    changed_at: Timestamp,
    last_asked_at: Option<Timestamp>,
    asked: u32,
    quiet_after: SignedDuration,
) -> Timestamp {
    match last_asked_at {
        None => changed_at + quiet_after,
        Some(at) => at + doubled(quiet_after, asked.saturating_sub(1)).min(ASK_GAP_MAX),
    }
}

/// Returns when a task without news is reported (again): after `stalled_after`, then with doubling
/// gaps. A task that waits for its `not_before` has no news to give until then.
#[must_use]
pub fn stalled_at(
    changed_at: Timestamp,
    not_before: Option<Timestamp>,
    reported_at: Option<Timestamp>,
    reported: u32,
    stalled_after: SignedDuration,
) -> Timestamp {
    let since = reported_at
        .unwrap_or(changed_at)
        .max(not_before.unwrap_or(Timestamp::MIN));
    since + doubled(stalled_after, reported).min(STALLED_GAP_MAX)
}

/// Makes the report: the state after it differs in nothing but the report itself.
#[must_use]
pub fn stalled(task: &Task, now: Timestamp) -> NewEvent {
    let mut after = task.clone();
    after.occurred_at = now;
    after.relay.stalled += 1;
    after.relay.stalled_at = Some(now);
    let n = after.relay.stalled;
    NewEvent::plain(EventKind::Stalled, n, after)
}

fn doubled(base: SignedDuration, times: u32) -> SignedDuration {
    // 2^20 times any sensible base is beyond every cap.
    base.saturating_mul(1 << times.min(20))
}
