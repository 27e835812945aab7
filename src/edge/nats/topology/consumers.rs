//! The durable consumers of the stages: names, filters and bounds.

use serde_json::{Value, json};

use super::{CALLBACKS, LOG, REPLAY, STORED_CALLBACKS, nanos};
use crate::config;

/// Messages unacknowledged at once, over all replicas, for each one that a replica may hold:
/// delayed ones count, and must not stop the others.
const ACK_PENDING_FACTOR: usize = 16;

/// The durable consumers: one per stage that works through a stream, and one for what an operator
/// has delivered to it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consumer {
    /// Callbacks and observations.
    Completer,
    /// Successes, to be stored.
    Downloader,
    /// Ends, to be settled.
    Accountant,
    /// Failures, to be tried again where the policy allows it.
    Retrier,
    /// Budget alerts, to be posted.
    Alerter,
    /// Callbacks, again.
    CompleterReplays,
    /// Successes, again.
    DownloaderReplays,
    /// Ends, again.
    AccountantReplays,
    /// Failures, again.
    RetrierReplays,
    /// Budget alerts, again.
    AlerterReplays,
}

impl Consumer {
    /// Every consumer.
    pub const ALL: [Consumer; 10] = [
        Consumer::Completer,
        Consumer::Downloader,
        Consumer::Accountant,
        Consumer::Retrier,
        Consumer::Alerter,
        Consumer::CompleterReplays,
        Consumer::DownloaderReplays,
        Consumer::AccountantReplays,
        Consumer::RetrierReplays,
        Consumer::AlerterReplays,
    ];

    /// Returns the consumer's name on the broker, in logs and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Consumer::Completer => "completer",
            Consumer::Downloader => "downloader",
            Consumer::Accountant => "accountant",
            Consumer::Retrier => "retrier",
            Consumer::Alerter => "alerter",
            Consumer::CompleterReplays => "completer-replays",
            Consumer::DownloaderReplays => "downloader-replays",
            Consumer::AccountantReplays => "accountant-replays",
            Consumer::RetrierReplays => "retrier-replays",
            Consumer::AlerterReplays => "alerter-replays",
        }
    }

    /// Returns the stage's consumer of that name.
    #[must_use]
    pub fn of_stage(name: &str) -> Option<Consumer> {
        Consumer::stages().find(|consumer| consumer.name() == name)
    }

    /// Lists the stages' own consumers.
    pub fn stages() -> impl Iterator<Item = Consumer> {
        Consumer::ALL
            .into_iter()
            .filter(|consumer| consumer.stream() != REPLAY)
    }

    /// Returns the consumer of what is delivered again to the same stage.
    #[must_use]
    pub fn replays(self) -> Consumer {
        match self {
            Consumer::Completer | Consumer::CompleterReplays => Consumer::CompleterReplays,
            Consumer::Downloader | Consumer::DownloaderReplays => Consumer::DownloaderReplays,
            Consumer::Accountant | Consumer::AccountantReplays => Consumer::AccountantReplays,
            Consumer::Retrier | Consumer::RetrierReplays => Consumer::RetrierReplays,
            Consumer::Alerter | Consumer::AlerterReplays => Consumer::AlerterReplays,
        }
    }

    /// Returns the stream that it reads.
    #[must_use]
    pub fn stream(self) -> &'static str {
        match self {
            Consumer::Completer => CALLBACKS,
            Consumer::Downloader | Consumer::Accountant | Consumer::Retrier | Consumer::Alerter => {
                LOG
            }
            Consumer::CompleterReplays
            | Consumer::DownloaderReplays
            | Consumer::AccountantReplays
            | Consumer::RetrierReplays
            | Consumer::AlerterReplays => REPLAY,
        }
    }

    /// Tells whether a message of that subject concerns the stage.
    #[must_use]
    pub fn reads(self, subject: &str) -> bool {
        let last = |text: &str| text.rsplit('.').next().map(str::to_owned);
        let wanted = last(subject);
        let mut filters = self.filters().iter();
        filters.any(|filter| filter.ends_with('>') || last(filter) == wanted)
    }

    /// Returns the subjects that it reads.
    #[must_use]
    pub fn filters(self) -> &'static [&'static str] {
        match self {
            Consumer::Completer => &[STORED_CALLBACKS],
            Consumer::Downloader => &["kling.v1.*.task.*.succeeded"],
            Consumer::Accountant => &["kling.v1.*.task.*.succeeded", "kling.v1.*.task.*.failed"],
            Consumer::Retrier => &["kling.v1.*.task.*.failed"],
            Consumer::RetrierReplays => &["kling.replay.v1.retrier.>"],
            Consumer::Alerter => &["kling.v1.*.budget.*.alert"],
            Consumer::AlerterReplays => &["kling.replay.v1.alerter.>"],
            Consumer::CompleterReplays => &["kling.replay.v1.completer.>"],
            Consumer::DownloaderReplays => &["kling.replay.v1.downloader.>"],
            Consumer::AccountantReplays => &["kling.replay.v1.accountant.>"],
        }
    }
}

/// Returns how many messages of one consumer are unacknowledged at once, over all replicas.
#[must_use]
pub fn ack_pending_max(runner: &config::Runner) -> usize {
    runner.in_flight_max.saturating_mul(ACK_PENDING_FACTOR)
}

/// Returns what a durable consumer must be, in the broker's own words.
///
/// `max_deliver` is unlimited, since a message that reached a bound would stop without a word; the
/// stage sets it aside instead.
#[must_use]
pub fn consumer(consumer: Consumer, runner: &config::Runner) -> Value {
    json!({
        "name": consumer.name(),
        "durable_name": consumer.name(),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": nanos(runner.ack_wait),
        "max_deliver": -1,
        "filter_subjects": consumer.filters(),
        "replay_policy": "instant",
        "max_ack_pending": ack_pending_max(runner),
        "inactive_threshold": 0,
        "headers_only": false,
        "mem_storage": false,
        "backoff": null,
    })
}
