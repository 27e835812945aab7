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

use super::places::sender_is_known;
use super::room::{self, Room, Unread};
use super::server::plain_fallbacks;
use crate::config;
use crate::stage::receiver::{Door, Receiver, Verdict};
use crate::telemetry;

/// When a refused sender should come again, seconds: a broker that lost its leader needs up to 8.
const RETRY_AFTER_SECONDS: u16 = 10;
/// The bare path is open to anybody who can send bytes, so it gets a small part of the memory.
const ACCOUNT_SHARE: usize = 8;
/// The result of a callback on its task's own address whose signature does not hold.
const BAD_SIGNATURE: &str = "bad-signature";

/// What a caller is told; each has one text.
#[derive(Clone, Copy)]
enum Answer {
    Judged(Verdict),
    Unread(Unread),
}

struct Routes {
    receiver: Receiver,
    task_room: Room,
    account_room: Room,
}

/// Makes the callback routes.
pub fn router(receiver: Receiver, config: &config::Receiver) -> Router {
    // An alert on a counter needs its zero.
    metrics::counter!(telemetry::CALLBACKS_RECEIVED, "result" => BAD_SIGNATURE).increment(0);
    let routes = Routes {
        receiver,
        task_room: Room::new(config.bodies_max_bytes),
        // One body always fits.
        account_room: Room::new(
            (config.bodies_max_bytes / ACCOUNT_SHARE).max(config.body_max_bytes),
        ),
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
    async fn take(&self, door: Option<Door>, room: &Room, request: Request<Body>) -> Answer {
        let Some(door) = door else {
            return Answer::Judged(Verdict::Refused);
        };
        match door {
            Door::Task(_) => sender_is_known(request.extensions()),
            // Proven by the signature of a whole body only.
            Door::Account => {}
        }
        let (head, body) = request.into_parts();
        let length = room::length(&head.headers);
        let admitted = match self.receiver.admit(&door, &head.headers, length) {
            Ok(admitted) => admitted,
            Err(verdict) => return Answer::Judged(verdict),
        };
        let held = room
            .read(&head.headers, body, admitted.body_max_bytes)
            .await;
        match held {
            Ok(held) => {
                let body = held.body.clone();
                Answer::Judged(self.receiver.receive(door, &head.headers, body).await)
            }
            Err(unread) => Answer::Unread(unread),
        }
    }
}

/// Counts and words an answer. The text depends on the answer alone.
fn answer(answer: Answer) -> Response {
    let (result, status, text) = match answer {
        Answer::Judged(Verdict::Stored) => ("stored", StatusCode::OK, "ok\n"),
        Answer::Judged(Verdict::Duplicate) => ("duplicate", StatusCode::OK, "ok\n"),
        Answer::Judged(Verdict::Refused) => ("refused", StatusCode::UNAUTHORIZED, "unauthorized\n"),
        Answer::Judged(Verdict::BadSignature) => {
            (BAD_SIGNATURE, StatusCode::UNAUTHORIZED, "unauthorized\n")
        }
        Answer::Judged(Verdict::TooOften(_)) => {
            ("too-often", StatusCode::TOO_MANY_REQUESTS, "come again\n")
        }
        Answer::Judged(Verdict::Malformed) => {
            ("malformed", StatusCode::BAD_REQUEST, "not a callback\n")
        }
        Answer::Unread(Unread::CutOff) => ("cut-off", StatusCode::BAD_REQUEST, "not a callback\n"),
        Answer::Unread(Unread::TooLarge) => {
            ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "too large\n")
        }
        Answer::Judged(Verdict::Unavailable) => (
            "unavailable",
            StatusCode::SERVICE_UNAVAILABLE,
            "come again\n",
        ),
        Answer::Unread(Unread::Busy) => ("busy", StatusCode::SERVICE_UNAVAILABLE, "come again\n"),
    };
    metrics::counter!(telemetry::CALLBACKS_RECEIVED, "result" => result).increment(1);
    let mut response = (status, text).into_response();
    let wait = match (answer, status) {
        (Answer::Judged(Verdict::TooOften(seconds)), _) => Some(HeaderValue::from(seconds)),
        (_, StatusCode::SERVICE_UNAVAILABLE) => Some(HeaderValue::from(RETRY_AFTER_SECONDS)),
        _ => None,
    };
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    response
}
