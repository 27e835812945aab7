//! The part of a file that has arrived: written, counted, hashed and judged as it comes in.

use std::io::{self, SeekFrom};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED, RETRY_AFTER,
    TRANSFER_ENCODING,
};
use reqwest::{Response, Version};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};

use super::error::{BadContent, FetchError, Interruption};
use super::media::{HEAD_BYTES, sniff};
use super::spool::SpoolFile;

/// Written to disk in pieces of this size.
const WRITE_BYTES: usize = 256 << 10;

/// A file that is being downloaded, over any number of tries.
pub(super) struct Partial {
    file: BufWriter<File>,
    max_bytes: u64,
    bytes: u64,
    /// The whole length, once a server has told it.
    total: Option<u64>,
    /// What tells that a later try gets the same content.
    validator: Option<HeaderValue>,
    hash: Sha256,
    head: Vec<u8>,
}

/// Why the body of an answer is not read.
pub(super) enum NotOpened {
    /// It is not what the output should be.
    Bad(BadContent),
    /// It does not go on where the last try stopped; the next one starts afresh.
    Changed,
}

impl Partial {
    pub(super) async fn create(file: &SpoolFile, max_bytes: u64) -> io::Result<Self> {
        let file = File::create(file.path()).await?;
        Ok(Self {
            file: BufWriter::with_capacity(WRITE_BYTES, file),
            max_bytes,
            bytes: 0,
            total: None,
            validator: None,
            hash: Sha256::new(),
            head: Vec::new(),
        })
    }

    /// Tells whether all announced bytes are there, so that there is nothing left to ask for.
    pub(super) fn is_complete(&self) -> bool {
        self.bytes > 0 && self.total == Some(self.bytes)
    }

    /// Returns how many bytes are there and what proves that the rest belongs to them.
    pub(super) fn resume_point(&self) -> Option<(u64, HeaderValue)> {
        let validator = self.validator.clone()?;
        (self.bytes > 0).then_some((self.bytes, validator))
    }

    /// Forgets everything.
    pub(super) async fn clear(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.get_mut().set_len(0).await?;
        self.file.seek(SeekFrom::Start(0)).await?;
        self.bytes = 0;
        self.total = None;
        self.validator = None;
        self.hash = Sha256::new();
        self.head.clear();
        Ok(())
    }

    /// Starts afresh on an answer with the whole file.
    pub(super) async fn restart(
        &mut self,
        response: &Response,
    ) -> Result<Result<(), NotOpened>, FetchError> {
        self.clear().await.map_err(FetchError::Spool)?;
        let headers = response.headers();
        let length = response.content_length();
        let bad = if is_encoded(headers) {
            Some(BadContent::Encoded)
        } else if length.is_none() && ends_with_the_connection(response) {
            Some(BadContent::NoLength)
        } else if length == Some(0) {
            Some(BadContent::Empty)
        } else if length.is_some_and(|length| length > self.max_bytes) {
            Some(self.too_large())
        } else {
            None
        };
        if let Some(why) = bad {
            return Ok(Err(NotOpened::Bad(why)));
        }
        self.total = length;
        self.validator = validator(headers);
        Ok(Ok(()))
    }

    /// Goes on with an answer that must hold exactly the missing rest.
    pub(super) async fn go_on(
        &mut self,
        response: &Response,
    ) -> Result<Result<(), NotOpened>, FetchError> {
        let headers = response.headers();
        if is_encoded(headers) {
            return Ok(Err(NotOpened::Bad(BadContent::Encoded)));
        }
        let range = content_range(headers);
        let is_rest = self.resume_point().is_some()
            && range.is_some_and(|(first, last, total)| {
                first == self.bytes
                    && last.checked_add(1) == Some(total)
                    && total <= self.max_bytes
                    && self.total.is_none_or(|known| known == total)
            })
            && (validator(headers).is_none() || validator(headers) == self.validator);
        if !is_rest {
            self.clear().await.map_err(FetchError::Spool)?;
            return Ok(Err(NotOpened::Changed));
        }
        self.total = range.map(|(_, _, total)| total);
        Ok(Ok(()))
    }

    /// Takes the next piece.
    pub(super) async fn push(
        &mut self,
        chunk: &[u8],
        expected: &[&str],
    ) -> Result<Result<(), BadContent>, FetchError> {
        let bytes = self.bytes + chunk.len() as u64;
        if bytes > self.max_bytes {
            return Ok(Err(self.too_large()));
        }
        if self.head.len() < HEAD_BYTES {
            let missing = HEAD_BYTES - self.head.len();
            self.head
                .extend_from_slice(&chunk[..chunk.len().min(missing)]);
            // Judged early: half a gigabyte of something else is not worth the wait.
            if self.head.len() == HEAD_BYTES
                && let Err(why) = self.media_type(expected)
            {
                return Ok(Err(why));
            }
        }
        self.file
            .write_all(chunk)
            .await
            .map_err(FetchError::Spool)?;
        self.hash.update(chunk);
        self.bytes = bytes;
        Ok(Ok(()))
    }

    /// Returns what is missing after the body has ended.
    pub(super) fn shortfall(&self) -> Option<Interruption> {
        let expected = self.total?;
        (self.bytes != expected).then_some(Interruption::Truncated {
            got: self.bytes,
            expected,
        })
    }

    /// Returns size, digest and media type of the whole file, now on disk.
    pub(super) async fn finish(
        mut self,
        expected: &[&str],
    ) -> Result<Result<(u64, String, &'static str), BadContent>, FetchError> {
        self.file.flush().await.map_err(FetchError::Spool)?;
        if self.bytes == 0 {
            return Ok(Err(BadContent::Empty));
        }
        let media_type = self.media_type(expected);
        let sha256 = hex::encode(self.hash.finalize());
        Ok(media_type.map(|media_type| (self.bytes, sha256, media_type)))
    }

    fn media_type(&self, expected: &[&str]) -> Result<&'static str, BadContent> {
        let found = sniff(&self.head);
        if expected.contains(&found) {
            return Ok(found);
        }
        Err(BadContent::MediaType {
            found,
            expected: expected.join(" or "),
        })
    }

    fn too_large(&self) -> BadContent {
        BadContent::TooLarge {
            max_bytes: self.max_bytes,
        }
    }
}

/// Tells whether the body has been compressed on the way.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Tells whether the body ends where the connection does, so that a cut looks like an end.
fn ends_with_the_connection(response: &Response) -> bool {
    response.version() < Version::HTTP_2 && !response.headers().contains_key(TRANSFER_ENCODING)
}

/// Returns what proves that two answers hold the same bytes: a strong entity tag, else the time of
/// the last change. A weak tag only promises the same meaning.
fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    let tag = headers.get(ETAG);
    let strong = tag.filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

/// Reads `bytes <first>-<last>/<total>`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, total.parse().ok()?))
}

/// Reads `Retry-After`: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}
