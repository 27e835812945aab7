//! Messages delivered again, to one consumer each: with the same id, marked, and never under a
//! subject that anybody else reads.

use async_nats::HeaderMap;
use serde_json::json;

use super::log::{Log, LogError, ReadFrom};
use super::record::Recorded;
use super::topology;
use super::wire::{self, Outgoing};

const REPLAY: &str = "kling-replay";
const SEQUENCE: &str = "kling-replay-sequence";
const LETTER: &str = "kling-replay-letter";
/// What a message says of how it was set aside, or delivered again, before.
const MARKS: [&str; 2] = ["kling-replay", "kling-dead-"];

/// A message to be delivered again.
#[derive(Clone, Copy, Debug)]
pub struct Again<'a> {
    /// Names the whole replay: every message carries it.
    pub replay: &'a str,
    /// To whom.
    pub consumer: &'a str,
    /// The subject that it came on first.
    pub subject: &'a str,
    /// Its sequence in its stream.
    pub sequence: u64,
    /// Its place on `KLING_DEAD`, if it was set aside: forgotten there once it is handled.
    pub letter: Option<u64>,
}

impl Log {
    /// Delivers a message again to one consumer. Doing it twice within the stream's duplicate
    /// window changes nothing.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::Full`] when the stream is: what is delivered again stays for its
    /// time, read or not.
    pub async fn deliver_again(
        &self,
        message: &Recorded,
        again: Again<'_>,
    ) -> Result<(), LogError> {
        let operation = "deliver a message again";
        if !topology::is_token(again.consumer) {
            return Err(LogError::Misconfigured {
                operation,
                code: 0,
                reason: "the consumer's name cannot stand in a subject".to_owned(),
            });
        }
        let mut headers = unmarked(&message.headers);
        headers.insert(REPLAY, again.replay);
        headers.insert(SEQUENCE, again.sequence.to_string());
        if let Some(letter) = again.letter {
            headers.insert(LETTER, letter.to_string());
        }
        let once = format!("{}.{}.{}", again.replay, again.consumer, message.seq);
        headers.insert(wire::MESSAGE_ID, wire::header_text(&once, 256));
        let message = Outgoing {
            subject: topology::replay_subject(again.consumer, again.subject),
            headers,
            payload: message.payload.clone(),
        };
        self.publish("replay", operation, message).await.map(|_| ())
    }

    /// Returns the original sequence of the last message that a replay has delivered to a
    /// consumer; `None` if it has delivered none, or none that is still kept.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn delivered_again(
        &self,
        replay: &str,
        consumer: &str,
    ) -> Result<Option<u64>, LogError> {
        let (mut last, mut next) = (None, 1);
        loop {
            let filter = topology::replays_of(consumer);
            let from = ReadFrom::Sequence(next);
            let page = self
                .read_stream(topology::REPLAY, &filter, from, 1_000)
                .await?;
            let Some(newest) = page.last() else {
                return Ok(last);
            };
            next = newest.seq + 1;
            let own = page.iter().filter(|found| found.replay() == Some(replay));
            last = own.filter_map(Recorded::first_sequence).max().max(last);
        }
    }

    /// Forgets a message that was set aside. One that is not there any more, or no longer the
    /// same, is left alone.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn forget_letter(&self, letter: u64, subject: &str) -> Result<(), LogError> {
        let Some(found) = self.letter(letter).await? else {
            return Ok(());
        };
        if super::dead::read_dead_letter(&found).is_none_or(|found| found.subject != subject) {
            return Ok(());
        }
        let inner = &self.inner;
        let query = json!({ "seq": letter, "no_erase": true });
        wire::delete(&inner.broker, topology::DEAD, &query, inner.read_timeout)
            .await
            .map_err(|failure| LogError::of_read("forget a message set aside", failure))
    }
}

impl Recorded {
    /// Returns the replay that delivered the message again.
    #[must_use]
    pub fn replay(&self) -> Option<&str> {
        self.header(REPLAY)
    }

    /// Returns the sequence that a message delivered again had at first.
    #[must_use]
    pub fn first_sequence(&self) -> Option<u64> {
        self.header(SEQUENCE)?.parse().ok()
    }

    /// Returns the place on `KLING_DEAD` of a message that is handled again.
    #[must_use]
    pub fn letter(&self) -> Option<u64> {
        self.header(LETTER)?.parse().ok()
    }

    /// Returns the message as it was first: its own subject and sequence, if it is one that is
    /// delivered again.
    #[must_use]
    pub fn original(mut self) -> Self {
        let first = topology::parse_replay_subject(&self.subject).map(|(_, subject)| subject);
        if let (Some(subject), Some(sequence)) = (first, self.first_sequence()) {
            self.subject = subject.to_owned();
            self.seq = sequence;
        }
        self
    }
}

/// Leaves out the broker's own headers, which are instructions and would mean something else on
/// another stream, and the marks of an earlier way.
pub(super) fn unmarked(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, values) in headers.iter() {
        let lower = name.to_string().to_ascii_lowercase();
        let marked = MARKS.iter().any(|mark| lower.starts_with(mark));
        if !marked && !lower.starts_with("nats-") {
            for value in values {
                kept.append(name.clone(), value.clone());
            }
        }
    }
    kept
}
