//! Who downloads next: what expires first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use tokio::sync::oneshot;

/// A bound on the downloads of the process. Among those who wait, the one whose address expires
/// first gets the next turn; of equals, the one who came first.
#[derive(Clone, Debug)]
pub struct Gate {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug)]
struct Queue {
    free: usize,
    came: u64,
    waiting: BTreeMap<(Timestamp, u64), oneshot::Sender<Turn>>,
}

/// The right to download until it is dropped.
#[derive(Debug)]
pub struct Turn {
    /// None once the turn has been passed on.
    gate: Option<Gate>,
}

impl Gate {
    /// Makes a gate for that many downloads at once, at least one.
    #[must_use]
    pub fn new(turns: usize) -> Self {
        let queue = Queue {
            free: turns.max(1),
            came: 0,
            waiting: BTreeMap::new(),
        };
        Self {
            queue: Arc::new(Mutex::new(queue)),
        }
    }

    /// Waits for a turn.
    pub async fn enter(&self, expires_at: Timestamp) -> Turn {
        let called = {
            let mut queue = self.lock();
            if queue.free > 0 {
                queue.free -= 1;
                return self.turn();
            }
            let (call, called) = oneshot::channel();
            queue.came += 1;
            let place = (expires_at, queue.came);
            queue.waiting.insert(place, call);
            called
        };
        called
            .await
            .expect("a waiting place is left only by calling it")
    }

    /// Returns how many wait, those included who have given up since.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn turn(&self) -> Turn {
        Turn {
            gate: Some(self.clone()),
        }
    }

    /// Gives a turn that has ended to the next who still waits.
    fn pass_on(&self) {
        loop {
            let next = {
                let mut queue = self.lock();
                match queue.waiting.pop_first() {
                    Some((_, next)) => next,
                    None => {
                        queue.free += 1;
                        return;
                    }
                }
            };
            match next.send(self.turn()) {
                Ok(()) => return,
                // This one has given up. The turn must not pass itself on while it is dropped.
                Err(mut turn) => turn.gate = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.pass_on();
        }
    }
}
