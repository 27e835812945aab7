//! Memory for the bodies of a listener: each sets aside what it says that it needs before any of
//! it is read, so that no number of callers can make us hold more than the bound.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The grain in which memory is counted, bytes.
const GRAIN_BYTES: usize = 1 << 10;
/// What a value of a parsed JSON document takes, a key beside it not counted, bytes.
const JSON_VALUE_BYTES: usize = 72;

/// Why a body is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than it may be.
    TooLarge,
    /// It did not arrive whole.
    CutOff,
    /// Too many others are in hand.
    Busy,
}

/// The memory of all bodies in hand, or the share of it that one caller may have.
#[derive(Debug)]
pub(super) struct Room {
    bytes: usize,
    free: Semaphore,
    whole: Option<Arc<Room>>,
}

/// A body, and its part of the room for as long as this is kept.
#[derive(Debug)]
pub(super) struct Held<'a> {
    room: &'a Room,
    pub(super) body: Bytes,
    parts: Vec<SemaphorePermit<'a>>,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        let free = Semaphore::new(grains(bytes));
        Self {
            bytes,
            free,
            whole: None,
        }
    }

    /// Makes the share of one caller: one part of so many.
    pub(super) fn share(whole: &Arc<Self>, parts: usize) -> Self {
        Self {
            whole: Some(Arc::clone(whole)),
            ..Self::new(whole.bytes / parts)
        }
    }

    /// Reads a body once there is room for it: as much as it says it needs, or the most.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        max_bytes: usize,
    ) -> Result<Held<'_>, Unread> {
        let length = length(headers);
        let bytes = length.unwrap_or(max_bytes);
        if bytes > max_bytes {
            return Err(Unread::TooLarge);
        }
        let parts = self.set_aside(bytes)?;
        let mut pieces = body.into_data_stream();
        let mut whole = BytesMut::with_capacity(length.unwrap_or_default());
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| Unread::CutOff)?;
            if whole.len() + piece.len() > max_bytes {
                return Err(Unread::TooLarge);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Held {
            room: self,
            body: whole.freeze(),
            parts,
        })
    }

    fn set_aside(&self, bytes: usize) -> Result<Vec<SemaphorePermit<'_>>, Unread> {
        if bytes > self.bytes {
            return Err(Unread::TooLarge);
        }
        let wanted = u32::try_from(grains(bytes)).unwrap_or(u32::MAX);
        let part = self.free.try_acquire_many(wanted);
        let mut parts = vec![part.map_err(|_| Unread::Busy)?];
        if let Some(whole) = &self.whole {
            parts.extend(whole.set_aside(bytes)?);
        }
        Ok(parts)
    }
}

impl Held<'_> {
    /// Sets aside what the body will take once it is parsed: of two bytes (`0,`) a value becomes
    /// one of 72.
    pub(super) fn will_be_parsed(&mut self) -> Result<(), Unread> {
        let more = self
            .room
            .set_aside(json_values(&self.body) * JSON_VALUE_BYTES)?;
        self.parts.extend(more);
        Ok(())
    }
}

/// Returns how many bytes the body is said to have.
pub(super) fn length(headers: &HeaderMap) -> Option<usize> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

fn grains(bytes: usize) -> usize {
    bytes.div_ceil(GRAIN_BYTES).max(1)
}

/// Counts at least as many values as a JSON document has, keys included.
fn json_values(body: &[u8]) -> usize {
    let (mut values, mut in_text, mut escaped) = (1, false, false);
    for byte in body {
        match (in_text, byte) {
            _ if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_text = !in_text,
            (false, b'[' | b'{' | b',' | b':') => values += 1,
            (true | false, _) => {}
        }
    }
    values
}
