//! What one task's address may bring. It never expires, and whoever has it can post: without a
//! bound, one leaked address would fill the callbacks' stream, or hold the memory for all bodies.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::model::ids::TaskId;

/// Unsigned callbacks of one task that may come at once: Kling sends three or four, and again what
/// it thinks was lost.
const UNSIGNED_BURST: NonZeroU32 = NonZeroU32::new(10).expect("it is not 0");
/// And afterwards one in so long: in the week for which they are kept, one address fills no third
/// of the stream.
const UNSIGNED_EVERY: Duration = Duration::from_secs(60);
/// Tasks whose unsigned callbacks are counted at once; a hundred bytes each.
const TASKS_MAX: usize = 1 << 16;
/// Small bodies of one task in hand at once: of those with a signature, and of those without.
const IN_HAND_MAX: usize = 4;
/// Large ones: anybody can write something that looks like a signature.
const LARGE_IN_HAND_MAX: usize = 1;
/// When to come again after too many at once, seconds.
const IN_HAND_WAIT_S: u64 = 10;

/// Counts what comes by task.
pub(super) struct Allowances {
    unsigned: DefaultKeyedRateLimiter<TaskId>,
    in_hand: Arc<InHand>,
    clock: DefaultClock,
}

type InHand = Mutex<HashMap<(TaskId, Kind), usize>>;

/// What a callback says that it brings; each kind of a task's is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Unsigned,
    Signed,
    /// It has a signature, and more than an unsigned one may bring.
    Large,
}

impl Kind {
    fn in_hand_max(self) -> usize {
        match self {
            Kind::Unsigned | Kind::Signed => IN_HAND_MAX,
            Kind::Large => LARGE_IN_HAND_MAX,
        }
    }
}

impl Default for Allowances {
    fn default() -> Self {
        let quota = Quota::with_period(UNSIGNED_EVERY).expect("it is not 0");
        Self {
            unsigned: RateLimiter::keyed(quota.allow_burst(UNSIGNED_BURST)),
            in_hand: Arc::default(),
            clock: DefaultClock::default(),
        }
    }
}

impl fmt::Debug for Allowances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Allowances")
    }
}

impl Allowances {
    /// Counts an unsigned callback.
    ///
    /// # Errors
    /// In how many seconds the next one may come.
    pub(super) fn unsigned(&self, task: &TaskId) -> Result<(), u64> {
        if self.unsigned.len() >= TASKS_MAX {
            self.unsigned.retain_recent();
        }
        if self.unsigned.len() >= TASKS_MAX {
            return Err(UNSIGNED_EVERY.as_secs());
        }
        self.unsigned.check_key(task).map_err(|denied| {
            let wait = denied.wait_time_from(self.clock.now());
            wait.as_secs() + 1
        })
    }

    /// Counts a callback while it is in hand.
    ///
    /// # Errors
    /// In how many seconds to come again, when too many of the task's are.
    pub(super) fn take(&self, task: &TaskId, kind: Kind) -> Result<Taken, u64> {
        let key = (task.clone(), kind);
        let mut in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        let count = in_hand.entry(key.clone()).or_default();
        if *count >= kind.in_hand_max() {
            return Err(IN_HAND_WAIT_S);
        }
        *count += 1;
        Ok(Taken {
            in_hand: Arc::clone(&self.in_hand),
            key,
        })
    }
}

/// One callback in hand, until this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    in_hand: Arc<InHand>,
    key: (TaskId, Kind),
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = in_hand.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                in_hand.remove(&self.key);
            }
        }
    }
}
