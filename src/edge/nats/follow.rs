//! Following the log: everything that matches, past and to come, in order and without a gap, over
//! restarts and elections of the broker.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Config, Stream};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use futures::stream::{self, BoxStream, StreamExt};

use super::log::{Log, LogError};
use super::record::Recorded;
use super::topology;

/// A sign of life from the broker; after two without one the follower begins anew where it was.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(30);
/// How long the broker keeps a follower's place after it has gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Messages under way at once.
const AHEAD_MESSAGES: usize = 256;
/// Between two tries to begin anew.
const PAUSE: Duration = Duration::from_millis(200);

/// The log as it goes on; it never ends.
pub type Follow = BoxStream<'static, Result<Recorded, LogError>>;

impl Log {
    /// Follows everything that matches, from a sequence on. It never ends; an outage of the broker
    /// is bridged.
    ///
    /// # Errors
    /// [`LogError`] when it cannot begin. Items are never errors today.
    pub async fn follow(&self, filters: Vec<String>, from_seq: u64) -> Result<Follow, LogError> {
        let mut follower = Follower {
            log: self.clone(),
            filters,
            next_seq: from_seq.max(1),
            seen: 0,
            messages: None,
        };
        follower.begin().await?;
        let items = stream::unfold(follower, |mut follower| async move {
            let message = follower.next().await;
            Some((Ok(message), follower))
        });
        Ok(items.boxed())
    }
}

struct Follower {
    log: Log,
    filters: Vec<String>,
    next_seq: u64,
    /// Messages of the running consumer: a jump in its own count is a lost message.
    seen: u64,
    messages: Option<Stream>,
}

impl Follower {
    async fn begin(&mut self) -> Result<(), LogError> {
        let unavailable = || LogError::Unavailable {
            operation: "follow the log",
        };
        let config = Config {
            filter_subjects: self.filters.clone(),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.next_seq,
            },
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGOTTEN_AFTER,
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        };
        let jetstream = self.log.inner.broker.jetstream();
        let consumer = jetstream
            .create_consumer_on_stream(config, topology::LOG)
            .await
            .map_err(|_| unavailable())?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(AHEAD_MESSAGES)
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|_| unavailable())?;
        self.messages = Some(messages);
        self.seen = 0;
        Ok(())
    }

    async fn next(&mut self) -> Recorded {
        loop {
            let Some(messages) = &mut self.messages else {
                if let Err(error) = self.begin().await {
                    tracing::debug!(%error, "a follower cannot begin anew yet");
                    self.log.inner.clock.sleep(PAUSE).await;
                }
                continue;
            };
            match messages.next().await {
                Some(Ok(message)) => match self.take(&message) {
                    Some(recorded) => return recorded,
                    None => self.messages = None,
                },
                // Whatever it is, the place is known: begin anew there.
                Some(Err(_)) | None => self.messages = None,
            }
        }
    }

    fn take(&mut self, message: &async_nats::jetstream::Message) -> Option<Recorded> {
        if message.info().ok()?.consumer_sequence != self.seen + 1 {
            return None;
        }
        let recorded = Recorded::delivered(message)?;
        self.seen += 1;
        self.next_seq = recorded.seq + 1;
        Some(recorded)
    }
}
