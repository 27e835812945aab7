//! Whether the private server still stores what it is given. A stream that met a full disk answers
//! no write any more, also when there is room again, until its server is restarted.
//!
//! Source: broker reference 11.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::disk;
use crate::edge::clock::Clock;
use crate::edge::nats::log::{Log, LogError};

/// Between two looks while all is well.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two looks at a disk that is full.
const ROOM_EVERY: Duration = Duration::from_millis(500);
/// A server without that much room would stand still again at once.
const ROOM_MIN_BYTES: u64 = 8 << 20;
/// Probes in a row that a server with room may leave unanswered: its disk may be slow.
const UNANSWERED_MAX: u32 = 5;
/// A restart that did not help is not tried again at once; the wait doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(10);
const PAUSE_CAP: Duration = Duration::from_secs(600);

/// Looks after the writes of a private server.
#[derive(Clone, Debug)]
pub struct Writes {
    log: Log,
    data_dir: PathBuf,
    restart: Arc<Notify>,
    clock: Clock,
}

impl Writes {
    pub(super) fn new(log: Log, data_dir: PathBuf, restart: Arc<Notify>, clock: Clock) -> Self {
        Self {
            log,
            data_dir,
            restart,
            clock,
        }
    }

    /// Restarts a server whose streams store nothing any more, until the stop: after a full disk
    /// that takes a restart, even when there is room again.
    ///
    /// Source: broker reference 11.
    pub async fn keep(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.watch()).await;
    }

    async fn watch(self) {
        let mut pause = PAUSE_FIRST;
        loop {
            if !self.stands_still().await {
                pause = PAUSE_FIRST;
                self.clock.sleep(LOOK_EVERY).await;
                continue;
            }
            tracing::error!("the private nats-server stores nothing any more; it is restarted");
            self.restart.notify_one();
            // What needs longer than this to come back may need another restart.
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_CAP);
        }
    }

    /// Tells whether the server answers and its streams do not, though the disk has room; waits for
    /// the room if it has none.
    async fn stands_still(&self) -> bool {
        for _ in 0..UNANSWERED_MAX {
            if !matches!(self.log.probe().await, Err(LogError::Unknown { .. })) {
                return false;
            }
            if !self.has_room().await {
                tracing::error!(
                    data_dir = %self.data_dir.display(),
                    "the disk is full and nothing is stored: make room; the private nats-server is \
                     then restarted"
                );
                while !self.has_room().await {
                    self.clock.sleep(ROOM_EVERY).await;
                }
                return true;
            }
        }
        true
    }

    /// A system that does not say how much room there is is taken to have some.
    async fn has_room(&self) -> bool {
        let data_dir = self.data_dir.clone();
        let free = tokio::task::spawn_blocking(move || disk::free_bytes(&data_dir));
        let free = free.await.ok().flatten();
        free.is_none_or(|bytes| bytes >= ROOM_MIN_BYTES)
    }
}
