//! A writer that keeps running: one that dies is followed by another, which begins with a look at
//! what the first may have left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::MoneyRules;
use super::job::Job;
use super::writer::Writer;
use crate::edge::nats::log::Log;

/// Before a writer that has died is followed by another.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// No connection has been seen yet: the log is repaired before anything is written.
const NONE_SEEN: u64 = 0;

/// How the writer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// It died, and begins again.
    Down,
    /// It has ended for good.
    Stopped,
}

/// Runs writers over one queue until one ends by itself. The wishes that a writer had in hand die
/// with it, unanswered, so their outcome is unknown to those who wait; the queue stays.
pub(super) async fn keep(
    log: Log,
    rules: MoneyRules,
    jobs: mpsc::Receiver<Job>,
    mut connections: u64,
    state: watch::Sender<State>,
    cancel: CancellationToken,
) {
    let jobs = Arc::new(Mutex::new(jobs));
    loop {
        let queue = Arc::clone(&jobs).lock_owned().await;
        let writer = Writer::new(log.clone(), rules.clone(), queue, connections);
        let Err(died) = tokio::spawn(writer.run(cancel.clone())).await else {
            break;
        };
        tracing::error!(
            why = died.to_string(),
            "the money writer died; it starts again"
        );
        state.send_replace(State::Down);
        log.inner.clock.sleep(RESTART_PAUSE).await;
        connections = NONE_SEEN;
        state.send_replace(State::Running);
    }
    state.send_replace(State::Stopped);
}
