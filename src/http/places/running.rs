//! The requests of a connection: how far each has come, from its headers to the last byte of its
//! answer, and so whether it keeps the connection's place.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Extensions, Request, Response};
use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tower::Service;

use super::{Place, Places, Seat};

#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) next: u64,
    /// One of its requests came from somebody who is known, or succeeded.
    pub(super) proven: bool,
    /// Requests that are not answered to the end.
    pub(super) running: BTreeMap<u64, (Stage, Instant)>,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Somebody asks, perhaps a stranger who will never finish.
    Asked,
    /// Somebody who is known asks: by an API key, or by a callback's path.
    Known,
    /// The answer is on its way, and the other side may never take it.
    Answered,
    /// The answer has no end: events, for somebody who is known.
    Streaming,
}

impl Stage {
    /// Tells whether it is no reason to keep a connection for long.
    pub(super) fn is_loose(self) -> bool {
        match self {
            Stage::Asked | Stage::Answered => true,
            Stage::Known | Stage::Streaming => false,
        }
    }
}

/// A request that is being answered, until the last byte of the answer.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) places: Arc<Places>,
    pub(super) seat: Arc<Seat>,
    pub(super) number: u64,
}

impl Running {
    fn is_now(&self, stage: Stage, proves: bool) {
        let mut work = self.seat.work();
        work.proven |= proves;
        let before = work.running.insert(self.number, (stage, Instant::now()));
        drop(work);
        self.places
            .count(before.map(|(stage, _)| stage), Some(stage));
    }

    /// Ties the request's end to that of its answer.
    fn answered(running: Arc<Self>, answer: Response<Body>) -> Response<Body> {
        // Only callers who are known are sent anything without an end.
        let stage = match answer.size_hint().exact() {
            Some(_) => Stage::Answered,
            None => Stage::Streaming,
        };
        running.is_now(stage, answer.status().is_success());
        answer.map(|body| {
            Body::new(Answer {
                body,
                last: None,
                _running: running,
            })
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let before = self.seat.work().running.remove(&self.number);
        self.places.count(before.map(|(stage, _)| stage), None);
    }
}

/// Notes that a request comes from somebody who is known, so that it keeps its connection until it
/// is answered.
pub(in crate::http) fn sender_is_known(request: &Extensions) {
    if let Some(running) = request.get::<Arc<Running>>() {
        running.is_now(Stage::Known, true);
    }
}

/// The routes as one connection sees them: its requests are counted.
#[derive(Clone, Debug)]
pub(in crate::http) struct Counted<S> {
    routes: S,
    place: Arc<Place>,
}

impl<S> Counted<S> {
    pub(in crate::http) fn new(routes: S, place: Arc<Place>) -> Self {
        Self { routes, place }
    }
}

impl<S, B> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.routes.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let running = Arc::new(self.place.request());
        request.extensions_mut().insert(Arc::clone(&running));
        let answer = self.routes.call(request);
        answer
            .map_ok(|answer| Running::answered(running, answer))
            .boxed()
    }
}

/// The body of an answer, which keeps its connection at work. Its last byte is a frame of its own:
/// HTTP/2 takes the whole of a frame as soon as the other side wants one byte of it, and with the
/// last frame this is dropped. So that happens only once all the rest is wanted.
struct Answer {
    body: Body,
    last: Option<Bytes>,
    _running: Arc<Running>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(last) = self.last.take() {
            return Poll::Ready(Some(Ok(Frame::data(last))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let ended = self.body.is_end_stream() || self.body.size_hint().exact() == Some(0);
        let frame = frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|mut data| {
                    if ended && data.len() > 1 {
                        self.last = Some(data.split_off(data.len() - 1));
                    }
                    data
                })
            })
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.last {
            Some(last) => SizeHint::with_exact(last.len() as u64),
            None => self.body.size_hint(),
        }
    }
}
