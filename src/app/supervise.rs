//! Roles that keep running: a panic is logged and the role starts again, after a pause.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Role;
use crate::edge::clock::Clock;
use crate::edge::nats::Broker;
use crate::edge::nats::log::Log;
use crate::edge::nats::topology::Consumer;
use crate::http::health::Readiness;
use crate::model::task::Status;
use crate::stage::views::Views;
use crate::telemetry;

/// Before a role that has died starts again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at whether the broker answers.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks in vain, one after the other, before another server is tried: longer than an election.
const UNANSWERED_MAX: u32 = 3;
/// Between two looks at what the gauges show.
const GAUGES_EVERY: Duration = Duration::from_secs(10);

/// Keeps one role running.
#[derive(Clone)]
pub(super) struct Supervisor {
    role: Role,
    readiness: Readiness,
    tracker: TaskTracker,
    clock: Clock,
    stop: CancellationToken,
}

impl Supervisor {
    pub(super) fn new(
        role: Role,
        readiness: Readiness,
        tracker: TaskTracker,
        clock: Clock,
        stop: CancellationToken,
    ) -> Self {
        Self {
            role,
            readiness,
            tracker,
            clock,
            stop,
        }
    }

    /// Runs what `start` makes until the stop; starts it again whenever it ends before.
    pub(super) fn keep<F, R>(&self, start: F)
    where
        F: Fn() -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let own = self.clone();
        self.tracker.spawn(async move {
            loop {
                let ended = tokio::spawn(start()).await;
                if own.stop.is_cancelled() {
                    return;
                }
                let why = match ended {
                    Ok(()) => "it ended by itself".to_owned(),
                    Err(error) => error.to_string(),
                };
                tracing::error!(
                    role = own.role.as_str(),
                    why,
                    "a role died; it starts again"
                );
                own.readiness.down(own.role, "restarting");
                own.clock.sleep(RESTART_PAUSE).await;
                own.readiness.running(own.role);
            }
        });
    }
}

/// Folds the log into the views until the stop, anew whenever it cannot be followed.
pub(super) async fn follow_views(views: Views, log: Log, clock: Clock, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = views.follow(&log, &clock, &stop).await {
            tracing::warn!(error = %telemetry::chain(&error), "the views start anew");
            tokio::select! {
                () = stop.cancelled() => {}
                () = clock.sleep(RESTART_PAUSE) => {}
            }
        }
    }
}

/// Leaves a server that is connected and cannot read the log: one that is cut off from the rest of
/// its cluster keeps its clients, and would keep this one for as long as it is alone.
pub(super) async fn keep_broker(broker: Broker, log: Log, clock: Clock, stop: CancellationToken) {
    let mut unanswered = 0;
    while stop
        .run_until_cancelled(clock.sleep(LOOK_EVERY))
        .await
        .is_some()
    {
        let answers = !broker.is_connected() || log.last_sequence().await.is_ok();
        unanswered = if answers { 0 } else { unanswered + 1 };
        if unanswered >= UNANSWERED_MAX {
            tracing::warn!(
                "the broker is connected and cannot read the log; trying another server"
            );
            broker.reconnect().await;
            unanswered = 0;
        }
    }
}

/// Shows open tasks and consumer lag until the stop.
pub(super) async fn keep_gauges(views: Views, log: Log, clock: Clock, stop: CancellationToken) {
    while stop
        .run_until_cancelled(clock.sleep(GAUGES_EVERY))
        .await
        .is_some()
    {
        let counts = views.read().counts();
        for status in Status::ALL
            .into_iter()
            .filter(|status| !status.is_terminal())
        {
            let count = counts.get(&status).copied().unwrap_or(0);
            // A gauge is a float by definition; a count of tasks fits.
            metrics::gauge!(telemetry::TASKS_IN_FLIGHT, "status" => status.as_str())
                .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
        if let Ok(letters) = log.letter_count().await {
            metrics::gauge!(telemetry::DEAD_LETTERS_KEPT)
                .set(f64::from(u32::try_from(letters).unwrap_or(u32::MAX)));
        }
        for consumer in Consumer::ALL {
            if let Ok(lag) = log.lag(consumer).await {
                metrics::gauge!(telemetry::CONSUMER_LAG, "consumer" => consumer.name())
                    .set(f64::from(u32::try_from(lag).unwrap_or(u32::MAX)));
            }
        }
    }
}
