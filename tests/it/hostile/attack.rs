//! What strangers do to a listener: connections that say nothing or nearly nothing, bodies and
//! headers without end, deep JSON, resets. Each goes on until the value is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kling_relay::edge::clock::Clock;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How an HTTP/2 client begins: its preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// Between two signs of life of a slow client: below every timeout of ours.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// Between two strangers of a crowd: the handshakes cost the attacker as much as us.
const ARRIVAL_EVERY: Duration = Duration::from_millis(2);

/// Ways of doing next to nothing.
const QUIET_MANNERS: usize = 5;
/// Ways of doing too much.
const LOUD_MANNERS: usize = 6;

/// Strangers at work.
pub(crate) struct Attack {
    inner: Arc<Inner>,
    strangers: JoinSet<()>,
}

struct Inner {
    address: SocketAddr,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    /// A path that proves: somebody's callback address has leaked.
    leaked: String,
    open: AtomicUsize,
    /// By manner: connections that stood, and rounds that went out.
    stood: [AtomicUsize; QUIET_MANNERS],
    rounds: [AtomicUsize; LOUD_MANNERS],
    clock: Clock,
}

/// Counts a connection as long as it stands.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn count(open: &'a AtomicUsize) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Attack {
    pub(crate) fn new(
        address: SocketAddr,
        http1: Arc<ClientConfig>,
        http2: Arc<ClientConfig>,
        leaked: String,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                address,
                http1,
                http2,
                leaked,
                open: AtomicUsize::new(0),
                stood: Default::default(),
                rounds: Default::default(),
                clock: Clock::system(),
            }),
            strangers: JoinSet::new(),
        }
    }

    /// Connections that stand at this moment, the handshake done if there is one.
    pub(crate) fn open(&self) -> usize {
        self.inner.open.load(Ordering::Relaxed)
    }

    /// Connections of the crowd that have stood so far, by manner.
    pub(crate) fn stood(&self) -> [usize; QUIET_MANNERS] {
        let figure = |counted: &AtomicUsize| counted.load(Ordering::Relaxed);
        self.inner.stood.each_ref().map(figure)
    }

    /// Rounds of the loud attacks that went out so far, by manner: until all was sent, or until the
    /// server would have no more.
    pub(crate) fn rounds(&self) -> [usize; LOUD_MANNERS] {
        let figure = |counted: &AtomicUsize| counted.load(Ordering::Relaxed);
        self.inner.rounds.each_ref().map(figure)
    }

    /// Tells whether strangers of every manner have been there.
    pub(crate) fn is_complete(&self) -> bool {
        let (stood, rounds) = (self.stood(), self.rounds());
        stood.iter().chain(&rounds).all(|count| *count > 0)
    }

    /// Opens so many connections that do next to nothing, and opens each again when it is closed.
    pub(crate) fn crowd(&mut self, count: usize, pause: Duration) {
        for n in 0..count {
            let inner = Arc::clone(&self.inner);
            self.strangers.spawn(async move {
                let begin = ARRIVAL_EVERY * u32::try_from(n).unwrap_or(u32::MAX);
                inner.clock.sleep(begin).await;
                loop {
                    // Whatever ends it: the server has hung up, and the stranger comes again.
                    let _ = inner.loiter(n % QUIET_MANNERS).await;
                    inner.clock.sleep(pause).await;
                }
            });
        }
    }

    /// Sends what is too large, too deep or too often, one after the other, so many at once.
    pub(crate) fn loud(&mut self, count: usize, pause: Duration) {
        for n in 0..count {
            let inner = Arc::clone(&self.inner);
            self.strangers.spawn(async move {
                for round in n.. {
                    // Whatever ends it; what went out was counted.
                    let _ = inner.shout(round % LOUD_MANNERS).await;
                    inner.clock.sleep(pause).await;
                }
            });
        }
    }
}

impl Inner {
    async fn connect(&self, tls: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("it is a name");
        let connector = TlsConnector::from(Arc::clone(tls));
        connector.connect(name, stream).await
    }

    async fn loiter(&self, manner: usize) -> std::io::Result<()> {
        if manner == 0 {
            // Before the handshake.
            let mut stream = TcpStream::connect(self.address).await?;
            let _open = self.stands(manner);
            return until_closed(&mut stream).await;
        }
        let tls = if manner == 2 {
            &self.http2
        } else {
            &self.http1
        };
        let mut stream = self.connect(tls).await?;
        let _open = self.stands(manner);
        match manner {
            // After it, and after HTTP/2 has begun.
            1 => until_closed(&mut stream).await,
            2 => {
                stream.write_all(PREFACE).await?;
                until_closed(&mut stream).await
            }
            // A header every now and then, and a byte of a body.
            3 => {
                stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\n").await?;
                self.drip(&mut stream, b"x: y\r\n").await
            }
            _ => {
                // Without these the body would not be read at all.
                let signed = "webhook-id: 1\r\nwebhook-timestamp: 1\r\nwebhook-signature: v1,x";
                let head = format!("POST /callbacks HTTP/1.1\r\nHost: a\r\n{signed}");
                let head = format!("{head}\r\nContent-Length: 1000\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                self.drip(&mut stream, b"x").await
            }
        }
    }

    fn stands(&self, manner: usize) -> Open<'_> {
        self.stood[manner].fetch_add(1, Ordering::Relaxed);
        Open::count(&self.open)
    }

    async fn drip(&self, stream: &mut TlsStream<TcpStream>, drop: &[u8]) -> std::io::Result<()> {
        let mut read = [0; 1_024];
        loop {
            tokio::select! {
                () = self.clock.sleep(SIGN_OF_LIFE) => stream.write_all(drop).await?,
                got = stream.read(&mut read) => if got? == 0 { return Ok(()) },
            }
        }
    }

    /// One round: counted once there was a connection, whoever ended it.
    async fn shout(&self, manner: usize) -> std::io::Result<()> {
        let tls = if manner == 5 {
            &self.http2
        } else {
            &self.http1
        };
        let mut stream = self.connect(tls).await?;
        let said = self.say(&mut stream, manner).await;
        self.rounds[manner].fetch_add(1, Ordering::Relaxed);
        said?;
        until_closed(&mut stream).await
    }

    async fn say(&self, to: &mut TlsStream<TcpStream>, manner: usize) -> std::io::Result<()> {
        match manner {
            // 100 MB, to a door that is closed, to the open one with and without a length.
            0 => flood(to, "/callbacks/a/b/c", Some(100 << 20)).await,
            1 => flood(to, &self.leaked, Some(100 << 20)).await,
            2 => flood(to, &self.leaked, None).await,
            3 => {
                let mut head = "POST /callbacks HTTP/1.1\r\nHost: a\r\n".to_owned();
                (0..10_000).for_each(|n| head.push_str(&format!("x-{n}: y\r\n")));
                to.write_all(format!("{head}\r\n").as_bytes()).await
            }
            // As deep as a body may be long.
            4 => {
                let depth = 1_000_000;
                let path = &self.leaked;
                let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {depth}");
                let body = "[".repeat(depth);
                let text = format!("{head}\r\nConnection: close\r\n\r\n{body}");
                to.write_all(text.as_bytes()).await
            }
            _ => to.write_all(&resets()).await,
        }
    }
}

/// Requests that end their stream, each with its reset at once.
fn resets() -> Vec<u8> {
    let mut resets = PREFACE.to_vec();
    for n in 0..1_000_u32 {
        let stream = (2 * n + 1).to_be_bytes();
        resets.extend([0, 0, 6, 1, 5]);
        resets.extend(stream);
        resets.extend([0x82, 0x87, 0x84, 0x41, 0x01, b'a']);
        resets.extend([0, 0, 4, 3, 0]);
        resets.extend(stream);
        resets.extend(8_u32.to_be_bytes());
    }
    resets
}

async fn flood(
    to: &mut TlsStream<TcpStream>,
    path: &str,
    length: Option<usize>,
) -> std::io::Result<()> {
    let framing = match length {
        Some(length) => format!("Content-Length: {length}"),
        None => "Transfer-Encoding: chunked".to_owned(),
    };
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
    to.write_all(head.as_bytes()).await?;
    let mut piece = vec![b'x'; 64 << 10];
    if length.is_none() {
        piece = [b"10000\r\n".as_slice(), &piece, b"\r\n"].concat();
    }
    for _ in 0..1_600 {
        to.write_all(&piece).await?;
    }
    Ok(())
}

/// Reads until the server hangs up.
async fn until_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut read = [0; 1_024];
    while stream.read(&mut read).await? > 0 {}
    Ok(())
}
