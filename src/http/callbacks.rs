//! The callback routes: who may come in, how much they may bring, and the constant answers. Proof
//! and storage are the receiver's.
//!
//! A callback's path is a capability, so nothing here is logged or measured by path. Paths are
//! taken as they stand: what we mint needs no decoding, and a wrong one is refused, not corrected.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::server::plain_fallbacks;
use crate::config;
use crate::stage::receiver::{Door, Receiver, Verdict};
use crate::telemetry;

/// When a refused sender should come again, seconds: a broker that lost its leader needs up to 8.
const RETRY_AFTER_SECONDS: u16 = 10;
/// The bare path is open to anybody who can send bytes, so it gets a small part of the memory.
const ACCOUNT_SHARE: usize = 8;
/// The grain in which memory for bodies is counted, bytes.
const GRAIN_BYTES: usize = 1 << 10;

/// What a caller is told; each has one text.
#[derive(Clone, Copy)]
enum Answer {
    Judged(Verdict),
    TooLarge,
    /// The body did not arrive whole.
    CutOff,
    /// Too many bodies are in hand.
    Busy,
}

struct Routes {
    receiver: Receiver,
    body_max_bytes: usize,
    task_room: Semaphore,
    account_room: Semaphore,
}

/// Makes the callback routes.
pub fn router(receiver: Receiver, config: &config::Receiver) -> Router {
    let room = |bytes: usize| Semaphore::new(grains(bytes));
    let routes = Routes {
        receiver,
        body_max_bytes: config.body_max_bytes,
        task_room: room(config.bodies_max_bytes),
        // One body always fits.
        account_room: room((config.bodies_max_bytes / ACCOUNT_SHARE).max(config.body_max_bytes)),
    };
    let router = Router::new()
        .route("/callbacks", post(account_callback))
        // Whatever stands below is a right proof or a wrong one; a shape tells a stranger nothing.
        .route("/callbacks/", post(task_callback))
        .route("/callbacks/{*rest}", post(task_callback))
        .with_state(Arc::new(routes));
    plain_fallbacks(router)
}

async fn task_callback(State(routes): State<Arc<Routes>>, request: Request<Body>) -> Response {
    let door = routes.open(request.uri().path());
    answer(routes.take(door, &routes.task_room, request).await)
}

async fn account_callback(State(routes): State<Arc<Routes>>, request: Request<Body>) -> Response {
    let door = routes.receiver.open_account();
    answer(routes.take(door, &routes.account_room, request).await)
}

impl Routes {
    /// Finds the door of a path of exactly three segments below the first. Any other path is a
    /// wrong proof, and costs what one costs.
    fn open(&self, path: &str) -> Option<Door> {
        let below = path.strip_prefix("/callbacks/").unwrap_or_default();
        let mut segments = below.split('/');
        let mut next = || segments.next().unwrap_or_default();
        let (tenant, task, proof) = (next(), next(), next());
        let door = self.receiver.open(tenant, task, proof);
        door.filter(|_| segments.next().is_none())
    }

    /// Reads the body once there is a door for it and room, and hands it over.
    async fn take(&self, door: Option<Door>, room: &Semaphore, request: Request<Body>) -> Answer {
        let Some(door) = door else {
            return Answer::Judged(Verdict::Refused);
        };
        let (head, body) = request.into_parts();
        let _held = match self.make_room(room, head.headers.get(header::CONTENT_LENGTH)) {
            Ok(held) => held,
            Err(answer) => return answer,
        };
        match self.read(body).await {
            Ok(body) => Answer::Judged(self.receiver.receive(door, &head.headers, body).await),
            Err(answer) => answer,
        }
    }

    /// Sets memory aside for a body, as much as it says it needs, or the most.
    fn make_room<'a>(
        &self,
        room: &'a Semaphore,
        length: Option<&HeaderValue>,
    ) -> Result<SemaphorePermit<'a>, Answer> {
        let length: Option<usize> = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = length.unwrap_or(self.body_max_bytes);
        if bytes > self.body_max_bytes {
            return Err(Answer::TooLarge);
        }
        let wanted = u32::try_from(grains(bytes)).unwrap_or(u32::MAX);
        room.try_acquire_many(wanted).map_err(|_| Answer::Busy)
    }

    async fn read(&self, body: Body) -> Result<Bytes, Answer> {
        let mut pieces = body.into_data_stream();
        let mut whole = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| Answer::CutOff)?;
            if whole.len() + piece.len() > self.body_max_bytes {
                return Err(Answer::TooLarge);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

fn grains(bytes: usize) -> usize {
    bytes.div_ceil(GRAIN_BYTES).max(1)
}

/// Counts and words an answer. The text depends on the answer alone.
fn answer(answer: Answer) -> Response {
    let (result, status, text) = match answer {
        Answer::Judged(Verdict::Stored) => ("stored", StatusCode::OK, "ok\n"),
        Answer::Judged(Verdict::Duplicate) => ("duplicate", StatusCode::OK, "ok\n"),
        Answer::Judged(Verdict::Refused) => ("refused", StatusCode::UNAUTHORIZED, "unauthorized\n"),
        Answer::Judged(Verdict::Malformed) => {
            ("malformed", StatusCode::BAD_REQUEST, "not a callback\n")
        }
        Answer::CutOff => ("cut-off", StatusCode::BAD_REQUEST, "not a callback\n"),
        Answer::TooLarge => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "too large\n"),
        Answer::Judged(Verdict::Unavailable) => (
            "unavailable",
            StatusCode::SERVICE_UNAVAILABLE,
            "come again\n",
        ),
        Answer::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE, "come again\n"),
    };
    metrics::counter!(telemetry::CALLBACKS_RECEIVED, "result" => result).increment(1);
    let mut response = (status, text).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let wait = HeaderValue::from(RETRY_AFTER_SECONDS);
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    response
}
