//! The content network: signed, expiring URLs; ranges; and every way a download can go wrong.
//!
//! Source: platform reference 6.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::clock;
use super::media::{self, File};
use super::server::Sim;
use super::signature::hmac;
use super::tags::{self, CdnFault};

const KEY_PAIR: &str = "KSIMULATOR0001";

/// The signed URL of one file of one output.
pub(super) fn url(sim: &Sim, place: Place, expires_s: i64) -> String {
    let path = place.path();
    let signature = sign(sim, &path, expires_s);
    let base = sim
        .config
        .outputs
        .base_url
        .as_deref()
        .unwrap_or(&sim.base_url);
    let cache_key = &hex::encode(Sha256::digest(&path))[..16];
    format!(
        "{base}/cdn/{path}?cacheKey={cache_key}&x-kcdn-pid=112452&Expires={expires_s}\
         &Signature={signature}&Key-Pair-Id={KEY_PAIR}"
    )
}

fn sign(sim: &Sim, path: &str, expires_s: i64) -> String {
    let mac = hmac(
        &sim.cdn_key,
        &[path.as_bytes(), b"?", expires_s.to_string().as_bytes()],
    );
    URL_SAFE_NO_PAD.encode(mac)
}

/// Where a file lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) task: u64,
    pub(super) output: usize,
    /// Which of the output's files.
    pub(super) index: usize,
    pub(super) file: File,
}

impl Place {
    fn path(self) -> String {
        let Self {
            task,
            output,
            index,
            file,
        } = self;
        let (folder, end) = (file.folder(), file.extension());
        format!("bs2/upload-ylab-stunt-sgp/muse/simulator/{folder}/{task}/{output}-{index}.{end}")
    }

    /// Reads a path back; the caller compares it with [`Place::path`] through the signature.
    fn parse(path: &str) -> Option<(u64, usize, usize)> {
        let mut parts = path.rsplit('/');
        let (name, _) = parts.next()?.split_once('.')?;
        let (output, index) = name.split_once('-')?;
        Some((
            parts.next()?.parse().ok()?,
            output.parse().ok()?,
            index.parse().ok()?,
        ))
    }
}

/// The query of a signed URL.
#[derive(Debug, Deserialize)]
pub(super) struct Signed {
    #[serde(rename = "Expires", default)]
    expires_s: i64,
    #[serde(rename = "Signature", default)]
    signature: String,
    #[serde(rename = "Key-Pair-Id", default)]
    key_pair: String,
}

/// `GET /cdn/…`
pub(super) async fn download(
    Shared(sim): Shared<Arc<Sim>>,
    Path(path): Path<String>,
    Query(signed): Query<Signed>,
    headers: HeaderMap,
) -> Response {
    let good = signed.key_pair == KEY_PAIR
        && signed.signature == sign(&sim, &path, signed.expires_s)
        && signed.expires_s > clock::now_s();
    let found = if good { find(&sim, &path) } else { None };
    let Some((place, fault)) = found else {
        sim.state().stats.downloads.refused += 1;
        let page = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>";
        let xml = [(header::CONTENT_TYPE, "application/xml")];
        return (StatusCode::FORBIDDEN, xml, page).into_response();
    };
    let label = format!(
        "kling-relay simulator {}-{}-{}",
        place.task, place.output, place.index
    );
    let variant = usize::try_from(place.task >> 22).unwrap_or(0) + place.output;
    let padding = sim.config.outputs.padding_bytes;
    let body = Bytes::from(media::bytes(place.file, variant, &label, padding));
    let etag = format!("\"{}\"", hex::encode(Sha256::digest(&body)));
    let range = Range::read(&headers, &etag, body.len());
    count(&sim, &range, body.len(), fault.is_some());
    match fault {
        Some(CdnFault::Status(status)) => StatusCode::from_u16(status)
            .unwrap_or(StatusCode::BAD_GATEWAY)
            .into_response(),
        Some(CdnFault::WrongType) => Html("<html><body>Not here</body></html>").into_response(),
        Some(CdnFault::Empty) => [(header::CONTENT_TYPE, place.file.media_type())].into_response(),
        Some(CdnFault::Redirect(url)) => {
            (StatusCode::FOUND, [(header::LOCATION, url)]).into_response()
        }
        Some(CdnFault::Truncate) => serve(place.file, &etag, range, body, Pace::Cut),
        Some(CdnFault::Slow(time)) => serve(place.file, &etag, range, body, Pace::Over(time)),
        Some(CdnFault::Expired) | None => serve(place.file, &etag, range, body, Pace::Plain),
    }
}

fn count(sim: &Sim, range: &Range, size: usize, faulted: bool) {
    let mut state = sim.state();
    let downloads = &mut state.stats.downloads;
    downloads.requests += 1;
    downloads.faulted += u64::from(faulted);
    downloads.bytes += match *range {
        Range::Whole => size as u64,
        Range::Part { start, end } => (end - start) as u64,
        Range::Unsatisfiable => 0,
    };
    downloads.ranges += u64::from(!matches!(range, Range::Whole));
}

/// The file at a path, and what goes wrong with this request for it.
fn find(sim: &Sim, path: &str) -> Option<(Place, Option<CdnFault>)> {
    let (task, output, index) = Place::parse(path)?;
    let mut state = sim.state();
    let task = state
        .tasks
        .get_mut(&task)
        .filter(|task| output < task.outputs.len())?;
    let file = *media::files(task.product.yields).get(index)?;
    let known = task
        .downloads
        .iter()
        .position(|(key, _)| *key == (output, index));
    let known = known.unwrap_or_else(|| {
        task.downloads.push(((output, index), 0));
        task.downloads.len() - 1
    });
    let attempt = task.downloads[known].1;
    task.downloads[known].1 += 1;
    let fault = tags::at(&task.faults.cdn, attempt).cloned();
    Some((
        Place {
            task: task.id,
            output,
            index,
            file,
        },
        fault,
    ))
}

/// Which bytes are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    Whole,
    Part { start: usize, end: usize },
    Unsatisfiable,
}

impl Range {
    fn read(headers: &HeaderMap, etag: &str, size: usize) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if text(header::IF_RANGE).is_some_and(|condition| condition != etag) {
            return Self::Whole;
        }
        let Some(range) = text(header::RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
            return Self::Whole;
        };
        let Some((first, last)) = range.split_once('-') else {
            return Self::Whole;
        };
        let (start, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(start), Ok(last)) => (start, last.saturating_add(1).min(size)),
            (Ok(start), Err(_)) => (start, size),
            (Err(_), Ok(suffix)) => (size.saturating_sub(suffix), size),
            (Err(_), Err(_)) => return Self::Whole,
        };
        if start >= end {
            Self::Unsatisfiable
        } else {
            Self::Part { start, end }
        }
    }
}

/// How the bytes leave.
enum Pace {
    Plain,
    /// Half of them, then the connection is cut.
    Cut,
    /// Evenly over this time.
    Over(Duration),
}

fn serve(file: File, etag: &str, range: Range, body: Bytes, pace: Pace) -> Response {
    let size = body.len();
    let (status, part) = match range {
        Range::Whole => (StatusCode::OK, body),
        Range::Part { start, end } => (StatusCode::PARTIAL_CONTENT, body.slice(start..end)),
        Range::Unsatisfiable => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response();
        }
    };
    let mut response = (
        status,
        [
            (header::CONTENT_TYPE, file.media_type().to_owned()),
            (header::CONTENT_LENGTH, part.len().to_string()),
            (header::ETAG, etag.to_owned()),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
        ],
    )
        .into_response();
    if let Range::Part { start, end } = range
        && let Ok(value) = format!("bytes {start}-{}/{size}", end - 1).parse()
    {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    *response.body_mut() = match pace {
        Pace::Plain => Body::from(part),
        Pace::Cut => cut(part),
        Pace::Over(time) => slowly(part, time),
    };
    response
}

fn cut(part: Bytes) -> Body {
    let half = part.slice(..part.len() / 2);
    let broken = async {
        // Without a pause the half would be thrown away together with the connection.
        clock::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::other("cut by the simulator"))
    };
    Body::from_stream(stream::iter([Ok(half)]).chain(stream::once(broken)))
}

fn slowly(part: Bytes, time: Duration) -> Body {
    const PIECES: usize = 20;
    let pause = time / 20;
    let size = part.len().div_ceil(PIECES).max(1);
    let pieces: Vec<Bytes> = (0..part.len())
        .step_by(size)
        .map(|at| part.slice(at..(at + size).min(part.len())))
        .collect();
    Body::from_stream(stream::iter(pieces).then(move |piece| async move {
        clock::sleep(pause).await;
        Ok::<_, std::io::Error>(piece)
    }))
}
