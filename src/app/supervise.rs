//! What keeps running: a panic is logged and the role, or what the roles lean on, starts again,
//! after a pause.

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
        let (role, readiness) = (self.role, self.readiness.clone());
        let told = move |running| match running {
            true => readiness.running(role),
            false => readiness.down(role, "restarting"),
        };
        let (clock, stop) = (self.clock.clone(), self.stop.clone());
        self.tracker
            .spawn(keep(role.as_str(), clock, stop, start, told));
    }
}

/// Runs what `start` makes until the stop; starts it again whenever it ends before, and tells
/// whether it runs.
async fn keep<F, R>(
    name: &'static str,
    clock: Clock,
    stop: CancellationToken,
    start: F,
    told: impl Fn(bool),
) where
    F: Fn() -> R,
    R: Future<Output = ()> + Send + 'static,
{
    loop {
        let ended = tokio::spawn(start()).await;
        if stop.is_cancelled() {
            return;
        }
        let why = match ended {
            Ok(()) => "it ended by itself".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::error!(role = name, why, "a role died; it starts again");
        told(false);
        clock.sleep(RESTART_PAUSE).await;
        told(true);
    }
}

/// What the roles lean on, in every process. None of it is the truth, and all of it is back after
/// a moment, so the process stays ready.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) broker: Broker,
    pub(super) log: Log,
    pub(super) views: Views,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
}

impl Base {
    /// Keeps the views, the connection and the gauges.
    pub(super) fn keep(&self) {
        self.keep_one("views", follow_views);
        self.keep_one("connection", keep_broker);
        self.keep_one("gauges", keep_gauges);
    }

    /// Keeps what `start` makes of all this.
    pub(super) fn keep_one<F, R>(&self, name: &'static str, start: F)
    where
        F: Fn(Base) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (base, clock, stop) = (self.clone(), self.clock.clone(), self.stop.clone());
        let start = move || start(base.clone());
        tokio::spawn(keep(name, clock, stop, start, |_| {}));
    }
}

/// Folds the log into the views until the stop, anew whenever it cannot be followed.
async fn follow_views(base: Base) {
    let Base {
        log, clock, stop, ..
    } = &base;
    while !stop.is_cancelled() {
        if let Err(error) = base.views.follow(log, clock, stop).await {
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
async fn keep_broker(base: Base) {
    let Base {
        broker, log, clock, ..
    } = &base;
    let mut unanswered = 0;
    while base
        .stop
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
async fn keep_gauges(base: Base) {
    let Base {
        views, log, clock, ..
    } = &base;
    while base
        .stop
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

#[cfg(test)]
mod tests;
