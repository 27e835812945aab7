//! How a service ends: no more work, what is in hand finished, and a bound on each wait, also for a
//! broker that does not answer.

use std::future::Future;
use std::time::Duration;

use super::App;

/// For what takes no time unless something is stuck.
const MOMENT: Duration = Duration::from_millis(500);

impl App {
    /// Stops taking work, finishes what is in hand within the configured bounds, and disconnects.
    pub async fn stop(self) {
        self.readiness.stopping();
        self.stop.cancel();
        let (base, public): (Vec<_>, Vec<_>) = self
            .listeners
            .into_iter()
            .partition(|(name, _)| *name == "admin");
        let work = async {
            for (_, listener) in public {
                listener.finished().await;
            }
            self.roles.wait().await;
        };
        // Each drains within that time; the moment is for what waits for the broker elsewhere.
        within("the stages", self.drain_timeout + MOMENT, work).await;
        self.stop_base.cancel();
        let base = async {
            if let Some(mut money) = self.edges.money {
                money.stopped().await;
            }
            for (_, listener) in base {
                listener.finished().await;
            }
        };
        within("the money writer", self.drain_timeout + MOMENT, base).await;
        within("the broker connection", MOMENT, self.edges.broker.drain()).await;
        if let Some(server) = self.server {
            server.stop().await;
        }
        tracing::info!("stopped");
    }
}

/// Leaves behind what does not end in time, as a kill would: what it did not finish has no answer
/// and no acknowledgement, and is taken up again.
async fn within(what: &str, bound: Duration, work: impl Future<Output = ()>) {
    if tokio::time::timeout(bound, work).await.is_err() {
        tracing::warn!(what, "did not end in time and is left behind");
    }
}
