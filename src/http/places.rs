//! The places of a listener: how many connections there may be, and who makes room when one more
//! comes.
//!
//! A stranger can open connections and say nothing, and a bound that merely stops accepting would
//! let him keep everybody out. So connections give way: first those that do nothing, then those
//! that only look busy, with a request that nobody knows or an answer that is not taken, and among
//! these first those that never proved anything, of whatever address has the most of them, the
//! oldest first. A request by somebody who is known keeps its connection until it is answered; its
//! time has a bound of its own.

mod running;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) use running::{Counted, sender_is_known};
use running::{Running, Stage, Work};

use crate::config::ListenerLimits;
use crate::edge::clock::Clock;
use crate::telemetry;

/// So many of a listener's places are freed at once: choosing costs a look at every connection.
const SHARE_EVICTED: usize = 64;
/// A connection needs some trips around the world before its first request: until then it stays.
const YOUNG: Duration = Duration::from_secs(2);
/// A stranger's request, and an answer on its way, need some trips too.
const PATIENCE: Duration = Duration::from_secs(5);
/// When everybody is at work, somebody may become idle without a word.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Every connection of a listener.
#[derive(Debug)]
pub(super) struct Places {
    listener: &'static str,
    most: usize,
    /// Requests of strangers and answers on their way: each costs memory, as a connection does.
    loose: AtomicUsize,
    loose_max: usize,
    taken: Mutex<Taken>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// In the order in which they came.
    by_age: BTreeMap<u64, Arc<Seat>>,
    /// Those of them that were told to go.
    leaving: usize,
}

/// What is known of one connection.
#[derive(Debug)]
struct Seat {
    since: Instant,
    neighbourhood: IpAddr,
    work: Mutex<Work>,
    evicted: CancellationToken,
}

/// Who gives way to a new connection, the first one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Rank {
    busy: bool,
    proven: bool,
}

/// The place of one connection; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    seat: Arc<Seat>,
}

impl Places {
    pub(super) fn new(listener: &'static str, limits: &ListenerLimits) -> Arc<Self> {
        let most = limits.connections_max.max(1);
        let streams = usize::try_from(limits.http2_streams_max).unwrap_or(usize::MAX);
        Arc::new(Self {
            listener,
            most,
            loose: AtomicUsize::new(0),
            // Nobody alone can exceed it.
            loose_max: most.saturating_add(streams),
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
            self.evict(&mut taken, Taken::who_gives_way);
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        let seat = Arc::new(Seat {
            since: Instant::now(),
            neighbourhood: neighbourhood(from),
            work: Mutex::default(),
            evicted: CancellationToken::new(),
        });
        taken.by_age.insert(number, Arc::clone(&seat));
        metrics::gauge!(telemetry::CONNECTIONS, "listener" => self.listener).increment(1);
        let places = Arc::clone(self);
        Some(Place {
            places,
            number,
            seat,
        })
    }

    /// Tells some of these connections to go, unless others are on their way already.
    fn evict(&self, taken: &mut Taken, who: impl FnOnce(&Taken) -> Vec<u64>) {
        if taken.leaving > 0 {
            return;
        }
        let count = self.most.div_ceil(SHARE_EVICTED);
        for number in who(taken).into_iter().take(count) {
            taken.by_age[&number].evicted.cancel();
            taken.leaving += 1;
            metrics::counter!(telemetry::CONNECTIONS_EVICTED, "listener" => self.listener)
                .increment(1);
        }
    }

    /// Counts a request from one stage to the next.
    fn count(&self, before: Option<Stage>, after: Option<Stage>) {
        let is_loose = |stage: Option<Stage>| stage.is_some_and(Stage::is_loose);
        match (is_loose(before), is_loose(after)) {
            (false, true) => {
                let loose = self.loose.fetch_add(1, Ordering::Relaxed) + 1;
                if loose > self.loose_max {
                    let excess = loose - self.loose_max;
                    self.evict(&mut self.lock(), |taken| taken.who_has_most(excess));
                }
            }
            (true, false) => {
                self.loose.fetch_sub(1, Ordering::Relaxed);
            }
            (true, true) | (false, false) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Lists the connections that do nothing; where there are none, those that only look busy.
    fn who_gives_way(&self) -> Vec<u64> {
        // From the newest on, each is numbered within its neighbourhood: who has a high number is
        // old, and one of many.
        let mut neighbours: HashMap<(Rank, IpAddr), usize> = HashMap::new();
        let mut found: Vec<(Rank, Reverse<usize>, u64)> = Vec::new();
        for (number, seat) in self.by_age.iter().rev() {
            let Some(rank) = seat.rank() else { continue };
            let nth = neighbours.entry((rank, seat.neighbourhood)).or_default();
            *nth += 1;
            if seat.since.elapsed() >= YOUNG {
                found.push((rank, Reverse(*nth), *number));
            }
        }
        found.sort_unstable();
        let busy = found.first().is_some_and(|(rank, ..)| rank.busy);
        let equals = found.into_iter().take_while(|(rank, ..)| rank.busy == busy);
        equals.map(|(_, _, number)| number).collect()
    }

    /// Lists the connections that make us hold more than one request or answer, and nothing for
    /// anybody who is known: who has the most first, and no more of them than have the excess.
    fn who_has_most(&self, excess: usize) -> Vec<u64> {
        let loose = self.by_age.iter().filter_map(|(number, seat)| {
            let work = seat.work();
            let mut stages = work.running.values();
            let all_loose = stages.all(|(stage, _)| stage.is_loose());
            (all_loose && work.running.len() > 1).then(|| (Reverse(work.running.len()), *number))
        });
        let mut loose: Vec<_> = loose.collect();
        loose.sort_unstable();
        let mut covered = 0;
        let needed = loose.into_iter().take_while(|(Reverse(count), _)| {
            let is_needed = covered < excess;
            covered += count;
            is_needed
        });
        needed.map(|(_, number)| number).collect()
    }
}

impl Seat {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when it gives way; none while there is work in hand that keeps it.
    fn rank(&self) -> Option<Rank> {
        let work = self.work();
        let waits =
            |(stage, since): &(Stage, Instant)| stage.is_loose() && since.elapsed() >= PATIENCE;
        work.running.values().all(waits).then(|| Rank {
            busy: !work.running.is_empty(),
            proven: work.proven,
        })
    }
}

impl Place {
    /// Ends when the connection has to go.
    pub(super) async fn evicted(&self) {
        self.seat.evicted.cancelled().await;
    }

    /// Tells whether a request has ever come.
    pub(super) fn was_asked(&self) -> bool {
        self.seat.work().next > 0
    }

    /// Tells since when an answer is on its way; of several, the oldest.
    pub(super) fn answering_since(&self) -> Option<Instant> {
        let work = self.seat.work();
        let answered = work.running.values();
        let answered = answered.filter(|(stage, _)| *stage == Stage::Answered);
        answered.map(|(_, since)| *since).min()
    }

    /// Notes that a request has come.
    fn request(&self) -> Running {
        let mut work = self.seat.work();
        let number = work.next;
        work.next += 1;
        work.running.insert(number, (Stage::Asked, Instant::now()));
        drop(work);
        self.places.count(None, Some(Stage::Asked));
        Running {
            places: Arc::clone(&self.places),
            seat: Arc::clone(&self.seat),
            number,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.by_age.remove(&self.number);
        if self.seat.evicted.is_cancelled() {
            taken.leaving -= 1;
        }
        drop(taken);
        metrics::gauge!(telemetry::CONNECTIONS, "listener" => self.places.listener).decrement(1);
        self.places.left.notify_one();
    }
}

/// One customer of a network has a whole /64 of IPv6.
fn neighbourhood(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        ip @ IpAddr::V4(_) => ip,
    }
}
