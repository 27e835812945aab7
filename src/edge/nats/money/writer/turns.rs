//! Turns between the writers of several processes on one ledger.
//!
//! A writer that commits back to back on what it remembers starves the others: each reads the
//! ledger, and has lost before its batch arrives. So whoever has met another lately gives way after
//! each success for as long as a batch takes, and looks again before the next; whoever has lost
//! tries again sooner than that. Alone, a writer never waits.

use std::time::{Duration, Instant};

/// How long after a conflict a writer counts on not being alone.
const CONTENDED_FOR: Duration = Duration::from_secs(2);
/// Bounds of what a batch is taken to last: every wait is a few times that.
const BATCH_MIN: Duration = Duration::from_millis(1);
const BATCH_MAX: Duration = Duration::from_millis(40);
/// A loser's longest wait is a batch, doubled as often at most.
const DOUBLINGS_MAX: u32 = 3;

/// What a writer knows of the others.
#[derive(Debug)]
pub(super) struct Turns {
    /// When it last lost against another.
    met: Option<Instant>,
    /// How long a batch takes of late.
    batch: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            met: None,
            batch: BATCH_MIN,
        }
    }
}

impl Turns {
    /// Notes how long a batch took.
    pub(super) fn took(&mut self, batch: Duration) {
        let smoothed = (self.batch * 3 + batch) / 4;
        self.batch = smoothed.clamp(BATCH_MIN, BATCH_MAX);
    }

    /// Notes that another writer was first.
    pub(super) fn lost(&mut self) {
        self.met = Some(Instant::now());
    }

    /// Returns how long to give way after a success; `None` while alone.
    pub(super) fn give_way(&self) -> Option<Duration> {
        let contended = self.met.is_some_and(|met| met.elapsed() < CONTENDED_FOR);
        contended.then(|| between(self.batch, self.batch * 3))
    }

    /// Returns how long to wait after having lost that often in a row.
    pub(super) fn after_loss(&self, tries: u32) -> Duration {
        let longest = self.batch * (1 << tries.min(DOUBLINGS_MAX));
        between(Duration::ZERO, longest)
    }
}

fn between(least: Duration, most: Duration) -> Duration {
    rand::random_range(least..=most)
}
