//! How often each message in hand has failed for its own sake.
//!
//! The broker counts deliveries, and those that only waited for the broker among them; a message
//! must not be given up because the broker was away for long.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Failures by sequence, of this process: another one begins to count anew.
#[derive(Debug)]
pub(super) struct Failures {
    most: usize,
    by_sequence: Mutex<BTreeMap<u64, u64>>,
}

impl Failures {
    /// Keeps count of at most so many messages.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            by_sequence: Mutex::default(),
        }
    }

    /// Returns how often the message has failed.
    pub(super) fn of(&self, seq: u64) -> u64 {
        self.lock().get(&seq).copied().unwrap_or(0)
    }

    /// Notes one more failure.
    pub(super) fn add(&self, seq: u64) {
        let mut failures = self.lock();
        *failures.entry(seq).or_default() += 1;
        // The oldest was most likely finished by another replica; if not, it is tried more often.
        if failures.len() > self.most {
            failures.pop_first();
        }
    }

    /// Forgets a message that is finished.
    pub(super) fn forget(&self, seq: u64) {
        self.lock().remove(&seq);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.by_sequence
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
