//! The consume loop: pull, handle, acknowledge, drain. The only place that acknowledges.
//!
//! A message ends acknowledged after its effect is durable, or set aside with a reason. Between two
//! deliveries the broker waits; a handler that takes long is kept alive by in-progress beats.

mod failures;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{AckKind, Message as JetStreamMessage};
use futures::StreamExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::failures::Failures;
use crate::config;
use crate::decide::retry::backoff;
use crate::edge::clock::Clock;
use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::record::Recorded;
use crate::edge::nats::topology::{self, Consumer};
use crate::model::dead_letter::DeadLetter;
use crate::telemetry;

/// What a handler makes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The effect is durable, or there is none: acknowledge.
    Done,
    /// Again after the runner's back-off, for this reason.
    Retry(String),
    /// Again after the runner's back-off, however often: nothing is wrong with the message, the
    /// broker is away or full.
    Later(String),
    /// Again after that time, however often: it is not the message's turn.
    LaterAt(Duration, String),
    /// Again after that time, for this reason.
    RetryAt(Duration, String),
    /// Nothing more can be done here: keep it for a person, with this reason.
    SetAside(String),
}

impl From<LogError> for Outcome {
    fn from(error: LogError) -> Self {
        let why = telemetry::chain(&error).to_string();
        match error {
            LogError::Corrupt { .. } => Outcome::SetAside(why),
            LogError::Unavailable { .. }
            | LogError::Unknown { .. }
            | LogError::Full { .. }
            | LogError::Misconfigured { .. } => Outcome::Later(why),
        }
    }
}

/// A message in hand.
#[derive(Clone, Debug)]
pub struct Message {
    /// The message, and where it stands in its stream.
    pub recorded: Recorded,
    /// How often it was delivered, this time included.
    pub delivered: u64,
    /// Which try this is: 1, and 1 more for each earlier one that failed for the message's own
    /// sake. Deliveries that waited for the broker do not count.
    pub attempt: u64,
}

/// One stage's decision about one message: load, decide, commit.
pub trait Handler: Send + Sync + 'static {
    /// The stage's name in dead letters and metrics.
    const STAGE: &'static str;

    /// Handles a message. It may be called again with the same one.
    fn handle(&self, message: &Message) -> impl Future<Output = Outcome> + Send;
}

/// Runs handlers over durable consumers.
#[derive(Clone, Debug)]
pub struct Runner {
    log: Log,
    clock: Clock,
    rules: config::Runner,
}

/// What the messages of one consumer share.
struct InHand<H> {
    handler: Arc<H>,
    /// So many at once.
    permits: Arc<Semaphore>,
    failures: Arc<Failures>,
    work: TaskTracker,
}

impl Runner {
    /// Makes a runner with its bounds.
    #[must_use]
    pub fn new(log: Log, clock: Clock, rules: config::Runner) -> Self {
        Self { log, clock, rules }
    }

    /// Consumes a stage's stream, and what an operator has delivered to it again, until stopped.
    pub async fn run<H: Handler>(
        &self,
        consumer: Consumer,
        handler: Arc<H>,
        stop: CancellationToken,
    ) {
        tokio::join!(
            self.run_one(consumer, Arc::clone(&handler), stop.clone()),
            self.run_one(consumer.replays(), handler, stop),
        );
    }

    /// Consumes until stopped, then waits for the messages in hand, at most `drain_timeout`.
    async fn run_one<H: Handler>(
        &self,
        consumer: Consumer,
        handler: Arc<H>,
        stop: CancellationToken,
    ) {
        let work = TaskTracker::new();
        let in_hand = InHand {
            handler,
            permits: Arc::new(Semaphore::new(self.rules.in_flight_max)),
            failures: Arc::new(Failures::new(topology::ack_pending_max(&self.rules))),
            work: work.clone(),
        };
        let mut outages = 0;
        while !stop.is_cancelled() {
            let opened = Box::pin(self.log.consume(consumer, &self.rules));
            let Some(opened) = stop.run_until_cancelled(opened).await else {
                break;
            };
            let ended = match opened {
                Ok(messages) => {
                    // The broker answers: what it went through before is over.
                    outages = 0;
                    self.take(messages, &in_hand, &stop).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                outages += 1;
                let wait = self.backoff(outages);
                tracing::warn!(stage = H::STAGE, error = %telemetry::chain(&error),
                    wait_ms = wait.as_millis(), "cannot consume; trying again");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.clock.sleep(wait) => {}
                }
            }
        }
        work.close();
        if tokio::time::timeout(self.rules.drain_timeout, work.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                stage = H::STAGE,
                "messages in hand did not end in time; \
                they will be delivered again"
            );
        }
    }

    /// Takes messages until stopped, or until the broker gives none any more.
    async fn take<H: Handler>(
        &self,
        mut messages: pull::Stream,
        in_hand: &InHand<H>,
        stop: &CancellationToken,
    ) -> Result<(), LogError> {
        loop {
            let permit = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                permit = Arc::clone(&in_hand.permits).acquire_owned() => permit,
            };
            let message = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = messages.next() => match message {
                    Some(Ok(message)) => message,
                    Some(Err(_)) | None => {
                        return Err(LogError::Unavailable { operation: "pull messages" });
                    }
                },
            };
            let (runner, handler) = (self.clone(), Arc::clone(&in_hand.handler));
            let failures = Arc::clone(&in_hand.failures);
            in_hand.work.spawn(async move {
                runner.settle(handler, message, &failures).await;
                drop(permit);
            });
        }
    }

    async fn settle<H: Handler>(
        &self,
        handler: Arc<H>,
        raw: JetStreamMessage,
        failures: &Failures,
    ) {
        let Some(message) = self.open(&raw, failures) else {
            // Not from a consumer: nothing to acknowledge.
            return;
        };
        let message = Arc::new(message);
        let outcome = self.beat_while(&raw, handler, Arc::clone(&message)).await;
        let (seq, attempts_max) = (message.recorded.seq, u64::from(self.rules.attempts_max));
        if let Outcome::Retry(_) | Outcome::RetryAt(..) = outcome {
            failures.add(seq);
        }
        let answer = match outcome {
            Outcome::Done => {
                self.forget(H::STAGE, &message).await;
                AckKind::Ack
            }
            Outcome::SetAside(reason) => self.set_aside(H::STAGE, &message, reason).await,
            Outcome::Retry(why) | Outcome::RetryAt(_, why) if message.attempt >= attempts_max => {
                self.set_aside(H::STAGE, &message, format!("gave up: {why}"))
                    .await
            }
            Outcome::Retry(why) | Outcome::Later(why) => self.again(H::STAGE, &message, None, &why),
            Outcome::RetryAt(wait, why) | Outcome::LaterAt(wait, why) => {
                self.again(H::STAGE, &message, Some(wait), &why)
            }
        };
        if let AckKind::Ack = answer {
            failures.forget(seq);
        }
        if let Err(error) = raw.ack_with(answer).await {
            // A lost acknowledgement only costs a redelivery, and the log answers that.
            tracing::debug!(stage = H::STAGE, %error, "could not acknowledge");
        }
    }

    /// Runs the handler on a task of its own, so that a panic is a retry and not the end of the
    /// stage.
    async fn beat_while<H: Handler>(
        &self,
        raw: &JetStreamMessage,
        handler: Arc<H>,
        message: Arc<Message>,
    ) -> Outcome {
        let mut handling = tokio::spawn(async move { handler.handle(&message).await });
        loop {
            tokio::select! {
                outcome = &mut handling => {
                    return outcome.unwrap_or_else(|e| Outcome::Retry(format!("panicked: {e}")));
                }
                () = self.clock.sleep(self.rules.ack_wait / 3) => {
                    // A beat that is lost is made good by the next one.
                    let _ = raw.ack_with(AckKind::Progress).await;
                }
            }
        }
    }

    fn open(&self, raw: &JetStreamMessage, failures: &Failures) -> Option<Message> {
        let delivered = u64::try_from(raw.info().ok()?.delivered).unwrap_or(1);
        let recorded = Recorded::delivered(raw)?.original();
        Some(Message {
            delivered,
            attempt: 1 + failures.of(recorded.seq),
            recorded,
        })
    }

    fn again(&self, stage: &str, message: &Message, wait: Option<Duration>, why: &str) -> AckKind {
        let wait = wait.unwrap_or_else(|| self.backoff(message.delivered));
        tracing::info!(
            stage,
            stream_seq = message.recorded.seq,
            delivered = message.delivered,
            wait_ms = wait.as_millis(),
            why,
            "will try again"
        );
        AckKind::Nak(Some(wait))
    }

    async fn set_aside(&self, stage: &str, message: &Message, reason: String) -> AckKind {
        let letter = DeadLetter {
            stage: stage.to_owned(),
            reason,
            attempts: message.delivered,
            subject: message.recorded.subject.clone(),
            sequence: message.recorded.seq,
        };
        match self.log.set_aside(&message.recorded, &letter).await {
            Ok(()) => {
                tracing::error!(
                    stage,
                    stream_seq = message.recorded.seq,
                    reason = letter.reason,
                    "set aside; see `kling-relay dead list`"
                );
                self.forget(stage, message).await;
                AckKind::Ack
            }
            Err(error) => {
                // What cannot be set aside is not acknowledged.
                let why = format!("cannot be set aside: {}", telemetry::chain(&error));
                self.again(stage, message, None, &why)
            }
        }
    }

    /// Takes a message that was set aside, and is handled now, off the list.
    async fn forget(&self, stage: &str, message: &Message) {
        let Some(letter) = message.recorded.letter() else {
            return;
        };
        let subject = &message.recorded.subject;
        if let Err(error) = self.log.forget_letter(letter, subject).await {
            // It stays on the list; handling it once more changes nothing.
            tracing::warn!(stage, letter, error = %telemetry::chain(&error),
                "a handled message is still listed as set aside");
        }
    }

    fn backoff(&self, attempt: u64) -> Duration {
        let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
        backoff(
            attempt,
            self.rules.backoff_base,
            self.rules.backoff_cap,
            rand::random(),
        )
    }
}
