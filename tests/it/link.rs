//! A way between two parties that a test can slow down, silence or cut, and stop at a word: plain
//! TCP, whatever is spoken over it.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kling_relay::edge::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How things pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// At once.
    Clear,
    /// Each piece this much later.
    Slow(Duration),
    /// Not at all, and nobody is told; what was sent arrives when it clears.
    Silent,
    /// Not at all: connections break, and new ones are closed.
    Cut,
}

/// Where a stop strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The word has not arrived.
    Before,
    /// The word has arrived, and its answer does not come back.
    After,
}

struct Armed {
    word: Vec<u8>,
    stop: Stop,
    reached: oneshot::Sender<()>,
}

#[derive(Clone)]
struct Shared {
    targets: Arc<Vec<u16>>,
    next: Arc<AtomicUsize>,
    weather: watch::Sender<Weather>,
    /// Connections made so far, when those that stand were forgotten.
    forgotten: watch::Sender<usize>,
    armed: Arc<Mutex<Option<Armed>>>,
}

/// A port of ours that leads to others. Dropped, it breaks what stands.
pub(crate) struct Link {
    pub(crate) port: u16,
    shared: Shared,
    _stop: DropGuard,
}

impl Link {
    /// Leads to these ports on loopback: each connection to the next one that takes it.
    pub(crate) async fn to(targets: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Shared {
            targets: Arc::new(targets.to_vec()),
            next: Arc::default(),
            weather: watch::Sender::new(Weather::Clear),
            forgotten: watch::Sender::new(0),
            armed: Arc::default(),
        };
        let stop = CancellationToken::new();
        let (accepting, token) = (shared.clone(), stop.clone());
        tokio::spawn(token.run_until_cancelled_owned(accept(listener, accepting, stop.clone())));
        Self {
            port,
            shared,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// Forgets the connections that stand, as a router does that lost its table: nothing passes
    /// over them any more and nobody is told; new ones are as good as ever.
    pub(crate) fn forget(&self) {
        let made = self.shared.next.load(Ordering::Relaxed);
        self.shared.forgotten.send_replace(made);
    }

    /// Falls silent when a word goes out; tells when it has.
    pub(crate) fn silent_at(&self, word: &str, stop: Stop) -> oneshot::Receiver<()> {
        let (reached, told) = oneshot::channel();
        let word = word.as_bytes().to_vec();
        let armed = Armed {
            word,
            stop,
            reached,
        };
        *self.shared.armed.lock().unwrap() = Some(armed);
        told
    }
}

async fn accept(listener: TcpListener, shared: Shared, stop: CancellationToken) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(carry(client, shared)),
        );
    }
}

async fn carry(client: TcpStream, shared: Shared) {
    let mut weather = shared.weather.subscribe();
    let clears = weather
        .wait_for(|weather| *weather != Weather::Silent)
        .await;
    if clears.is_ok_and(|weather| *weather == Weather::Cut) {
        return;
    }
    let number = shared.next.fetch_add(1, Ordering::Relaxed);
    let Some(server) = connect(&shared.targets, number).await else {
        return;
    };
    // Small pieces must not wait for more.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (mut weather, mut made) = (shared.weather.subscribe(), shared.forgotten.subscribe());
    // Each block ends with no guard in hand: it must not be kept over the next wait.
    let cut = async {
        let _ = weather.wait_for(|weather| *weather == Weather::Cut).await;
    };
    let forgotten = async {
        let _ = made.wait_for(|made| number < *made).await;
    };
    let mut up = pin!(pump(from_client, to_server, &shared, true));
    let mut down = pin!(pump(from_server, to_client, &shared, false));
    tokio::select! {
        () = cut => {}
        () = &mut up => {}
        () = &mut down => {}
        () = forgotten => std::future::pending().await,
    }
}

async fn connect(targets: &[u16], first: usize) -> Option<TcpStream> {
    for n in 0..targets.len() {
        let port = targets[(first + n) % targets.len()];
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
            return Some(stream);
        }
    }
    None
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, listens: bool) {
    let mut weather = shared.weather.subscribe();
    let mut buffer = vec![0_u8; 65_536];
    let mut tail: Vec<u8> = Vec::new();
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let piece = &buffer[..read];
        let stop = if listens {
            strike(shared, &mut tail, piece)
        } else {
            None
        };
        if stop != Some(Stop::After) {
            let cleared = weather
                .wait_for(|weather| *weather != Weather::Silent)
                .await;
            let Ok(weather) = cleared.map(|weather| *weather) else {
                return;
            };
            match weather {
                // What a silence held back is lost with the line.
                Weather::Cut => return,
                Weather::Slow(by) => Clock::system().sleep(by).await,
                Weather::Clear | Weather::Silent => {}
            }
        }
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}

/// Falls silent if the word is in what has just come, also if it began in what came before.
fn strike(shared: &Shared, tail: &mut Vec<u8>, piece: &[u8]) -> Option<Stop> {
    let mut armed = shared.armed.lock().unwrap();
    let word = &armed.as_ref()?.word;
    tail.extend_from_slice(piece);
    if !tail.windows(word.len()).any(|window| window == word) {
        let keep = tail.len().min(word.len() - 1);
        tail.drain(..tail.len() - keep);
        return None;
    }
    tail.clear();
    let armed = armed.take()?;
    shared.weather.send_replace(Weather::Silent);
    // Nobody may wait for it any more.
    let _ = armed.reached.send(());
    Some(armed.stop)
}
