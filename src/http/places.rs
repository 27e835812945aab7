//! The places of a listener: how many connections there may be, and who makes room when one more
//! comes.
//!
//! A stranger can open connections and say nothing, and a bound that merely stops accepting would
//! let him keep everybody out. So the connections that do nothing give way: first those that never
//! had a request of theirs answered with success, of whatever address has the most of them, the
//! oldest first. One that has a request in hand is never cut; its time has a bound of its own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Response;
use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::edge::clock::Clock;

/// So many of a listener's places are freed at once: choosing costs a look at every connection.
const SHARE_EVICTED: usize = 64;
/// A connection needs some trips around the world before its first request: until then it stays.
const YOUNG: Duration = Duration::from_secs(2);
/// When everybody is at work, somebody may become idle without a word.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Every connection of a listener.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Mutex<Taken>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// In the order in which they came.
    by_age: BTreeMap<u64, Arc<Seat>>,
}

/// What is known of one connection.
#[derive(Debug)]
struct Seat {
    since: Instant,
    neighbourhood: IpAddr,
    asked: AtomicBool,
    /// Requests that are not answered to the end.
    running: AtomicUsize,
    /// One of its requests succeeded.
    proven: AtomicBool,
    evicted: CancellationToken,
}

/// The place of one connection; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    seat: Arc<Seat>,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            taken: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// Takes a place for a connection from this address, if need be that of others.
    pub(super) async fn take(self: &Arc<Self>, from: IpAddr, clock: &Clock) -> Place {
        loop {
            let left = self.left.notified();
            if let Some(place) = self.try_take(from) {
                return place;
            }
            tokio::select! {
                () = left => {}
                () = clock.sleep(LOOK_AGAIN) => {}
            }
        }
    }

    fn try_take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let mut taken = self.lock();
        if taken.by_age.len() >= self.most {
            taken.evict(self.most.div_ceil(SHARE_EVICTED));
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        let seat = Arc::new(Seat {
            since: Instant::now(),
            neighbourhood: neighbourhood(from),
            asked: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            proven: AtomicBool::new(false),
            evicted: CancellationToken::new(),
        });
        taken.by_age.insert(number, Arc::clone(&seat));
        let places = Arc::clone(self);
        Some(Place {
            places,
            number,
            seat,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Tells up to so many idle connections to go, unless some are on their way already.
    fn evict(&self, count: usize) {
        if self.by_age.values().any(|seat| seat.evicted.is_cancelled()) {
            return;
        }
        // From the newest on, each is numbered within its neighbourhood: who has a high number is
        // old, and one of many.
        let mut neighbours: HashMap<(bool, IpAddr), usize> = HashMap::new();
        let mut idle: Vec<(bool, Reverse<usize>, u64)> = Vec::new();
        for (number, seat) in self.by_age.iter().rev() {
            if seat.running.load(Ordering::Relaxed) > 0 {
                continue;
            }
            let proven = seat.proven.load(Ordering::Relaxed);
            let nth = neighbours.entry((proven, seat.neighbourhood)).or_default();
            *nth += 1;
            if seat.since.elapsed() >= YOUNG {
                idle.push((proven, Reverse(*nth), *number));
            }
        }
        idle.sort_unstable();
        for (_, _, number) in idle.into_iter().take(count) {
            self.by_age[&number].evicted.cancel();
        }
    }
}

impl Place {
    /// Ends when the connection has to go.
    pub(super) async fn evicted(&self) {
        self.seat.evicted.cancelled().await;
    }

    /// Tells whether a request has ever come.
    pub(super) fn was_asked(&self) -> bool {
        self.seat.asked.load(Ordering::Relaxed)
    }

    /// Notes that a request has come.
    pub(super) fn request(&self) -> Running {
        self.seat.asked.store(true, Ordering::Relaxed);
        Running::of(Arc::clone(&self.seat))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().by_age.remove(&self.number);
        self.places.left.notify_one();
    }
}

/// A request that is being answered, until the last byte of the answer.
#[derive(Debug)]
pub(super) struct Running(Arc<Seat>);

impl Running {
    fn of(seat: Arc<Seat>) -> Self {
        seat.running.fetch_add(1, Ordering::Relaxed);
        Self(seat)
    }

    /// Ties the request's end to that of its answer.
    pub(super) fn answered(self, answer: Response<Body>) -> Response<Body> {
        if answer.status().is_success() {
            self.0.proven.store(true, Ordering::Relaxed);
        }
        answer.map(|body| {
            Body::new(Answer {
                body,
                _running: self,
            })
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The routes as one connection sees them: its requests are counted.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    routes: S,
    place: Arc<Place>,
}

impl<S> Counted<S> {
    pub(super) fn new(routes: S, place: Arc<Place>) -> Self {
        Self { routes, place }
    }
}

impl<S, R> Service<R> for Counted<S>
where
    S: Service<R, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.routes.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let running = self.place.request();
        let answer = self.routes.call(request);
        answer.map_ok(|answer| running.answered(answer)).boxed()
    }
}

/// The body of an answer, which keeps its connection at work.
struct Answer {
    body: Body,
    _running: Running,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// One customer of a network has a whole /64 of IPv6.
fn neighbourhood(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        ip @ IpAddr::V4(_) => ip,
    }
}
