//! Bounds: what a stranger can make a listener hold, and how it stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use kling_relay::config::ListenerLimits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{DEADLINE, hasty, held, hello, read_to_end, start, tls};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// How an HTTP/2 client begins: its preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[tokio::test]
async fn a_silent_client_is_let_go() {
    let served = tls(hasty(), hello()).await;
    // Before the handshake.
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    assert!(read_to_end(&mut stream).await.is_empty());
    // After it, in either protocol.
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let mut stream = served.connect(alpn).await;
        let read = read_to_end(&mut stream).await;
        assert!(!read.starts_with(b"HTTP/1.1 200"), "{read:?}");
    }
    // Having begun HTTP/2 and asked nothing.
    let mut stream = served.connect(b"h2").await;
    stream.write_all(PREFACE).await.unwrap();
    read_to_end(&mut stream).await;
}

#[tokio::test]
async fn headers_must_come_in_time() {
    let served = tls(hasty(), hello()).await;
    let mut stream = served.connect(b"http/1.1").await;
    stream.write_all(&GET[..20]).await.unwrap();
    let read = read_to_end(&mut stream).await;
    assert!(!read.starts_with(b"HTTP/1.1 200"), "{read:?}");
    // A second request on a connection that has had its first, too.
    let mut stream = served.connect(b"http/1.1").await;
    stream.write_all(GET).await.unwrap();
    stream.write_all(&GET[..20]).await.unwrap();
    let read = String::from_utf8(read_to_end(&mut stream).await).unwrap();
    assert_eq!(read.matches("HTTP/1.1 200").count(), 1, "{read}");
}

#[tokio::test]
async fn a_late_first_byte_wins_no_time() {
    let header_timeout = Duration::from_secs(3);
    let limits = ListenerLimits {
        header_timeout,
        ..ListenerLimits::default()
    };
    let served = tls(limits, hello()).await;
    let started = Instant::now();
    let mut stream = served.connect(b"http/1.1").await;
    let early = timeout(header_timeout * 7 / 10, read_to_end(&mut stream)).await;
    assert!(early.is_err(), "it was let go too early");
    stream.write_all(&GET[..20]).await.unwrap();
    read_to_end(&mut stream).await;
    assert!(started.elapsed() < header_timeout * 13 / 10);
}

#[tokio::test]
async fn a_late_first_byte_wins_no_time_for_a_handshake() {
    let handshake_timeout = Duration::from_secs(3);
    let limits = ListenerLimits {
        handshake_timeout,
        ..ListenerLimits::default()
    };
    let served = tls(limits, hello()).await;
    let started = Instant::now();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let early = timeout(handshake_timeout * 7 / 10, read_to_end(&mut stream)).await;
    assert!(early.is_err(), "it was let go too early");
    // The first byte of a TLS handshake.
    stream.write_all(&[0x16]).await.unwrap();
    read_to_end(&mut stream).await;
    assert!(started.elapsed() < handshake_timeout * 13 / 10);
}

#[tokio::test]
async fn headers_have_a_size() {
    let limits = ListenerLimits {
        headers_max_bytes: 8 << 10,
        ..ListenerLimits::default()
    };
    let served = tls(limits, hello()).await;
    let large = "x".repeat(9 << 10);
    let http1 = served.client().http1_only().build().unwrap();
    let answer = http1
        .get(served.url("/"))
        .header("x-large", &large)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 431);
    let http2 = served.client().http2_prior_knowledge().build().unwrap();
    let answer = http2
        .get(served.url("/"))
        .header("x-large", &large)
        .send()
        .await;
    // The client may be told before it has finished sending.
    assert!(answer.is_err() || answer.unwrap().status() == 431);
    let fits = "x".repeat(4 << 10);
    for client in [http1, http2] {
        let answer = client
            .get(served.url("/"))
            .header("x-fits", &fits)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn headers_have_a_number() {
    let served = tls(ListenerLimits::default(), hello()).await;
    for count in [200, 10_000] {
        let mut head = "GET / HTTP/1.1\r\nHost: localhost\r\n".to_owned();
        (0..count).for_each(|n| head.push_str(&format!("x-{n}: y\r\n")));
        head.push_str("\r\n");
        let mut stream = served.connect(b"http/1.1").await;
        // The server may hang up while we still write.
        let _ = stream.write_all(head.as_bytes()).await;
        let read = read_to_end(&mut stream).await;
        assert!(read.starts_with(b"HTTP/1.1 431"), "{count}: {read:?}");
    }
    let http2 = served.client().http2_prior_knowledge().build().unwrap();
    let many = (0..10_000).fold(http2.get(served.url("/")), |request, n| {
        request.header(format!("x-{n}"), "y")
    });
    let answer = many.send().await;
    assert!(answer.is_err() || answer.unwrap().status() == 431);
}

#[tokio::test]
async fn a_request_has_its_time_and_a_panic_costs_one_answer() {
    let limits = ListenerLimits {
        request_timeout: Duration::from_millis(100),
        ..ListenerLimits::default()
    };
    let router = hello()
        .route("/slow", get(std::future::pending::<()>))
        .route("/body", post(async |body: String| body))
        .route(
            "/panic",
            get(async || -> &'static str { panic!("on purpose") }),
        );
    let served = tls(limits, router).await;
    let client = served.client().build().unwrap();
    let status = async |path: &str| client.get(served.url(path)).send().await.unwrap().status();
    assert_eq!(status("/slow").await, 408);
    assert_eq!(status("/panic").await, 500);
    assert_eq!(status("/").await, 200);
    // A body that stops coming.
    let mut stream = served.connect(b"http/1.1").await;
    let head = b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc";
    stream.write_all(head).await.unwrap();
    let read = read_to_end(&mut stream).await;
    assert!(read.starts_with(b"HTTP/1.1 408"), "{read:?}");
}

#[tokio::test]
async fn answers_of_every_size_come_whole() {
    for size in [0, 1, 2, 100_000, 3_000_000] {
        let router = Router::new().route("/", get(async move || "x".repeat(size)));
        let served = tls(ListenerLimits::default(), router).await;
        for client in [
            served.client().http1_only(),
            served.client().http2_prior_knowledge(),
        ] {
            let answer = client.build().unwrap().get(served.url("/")).send().await;
            let answer = answer.unwrap();
            assert_eq!(answer.content_length(), Some(size as u64));
            assert_eq!(answer.text().await.unwrap().len(), size);
        }
    }
}

#[tokio::test]
async fn an_old_connection_takes_no_further_request() {
    let limits = ListenerLimits {
        connection_age_max: Duration::from_millis(100),
        request_timeout: Duration::from_millis(100),
        header_timeout: 10 * DEADLINE,
        ..ListenerLimits::default()
    };
    let served = tls(limits, hello()).await;
    let mut stream = served.connect(b"http/1.1").await;
    stream.write_all(GET).await.unwrap();
    let read = String::from_utf8(read_to_end(&mut stream).await).unwrap();
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");
    // A connection of HTTP/2 as well, though this client does not answer the server's goodbye.
    let mut stream = served.connect(b"h2").await;
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&request(1)).await.unwrap();
    read_to_end(&mut stream).await;
}

/// The frame of an HTTP/2 GET of `/` that ends its stream, all headers from the static table but
/// the authority `a`.
pub(super) fn request(stream: u32) -> Vec<u8> {
    let block = [0x82, 0x87, 0x84, 0x41, 0x01, b'a'];
    frame(1, 0x05, stream, &block)
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("it is short")
        .to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn a_client_that_resets_and_resets_is_cut_off() {
    let served = tls(ListenerLimits::default(), hello()).await;
    let mut stream = served.connect(b"h2").await;
    stream.write_all(PREFACE).await.unwrap();
    let mut flood = Vec::new();
    for n in 0..2_000 {
        let id = 2 * n + 1;
        flood.extend(request(id));
        flood.extend(frame(3, 0, id, &8_u32.to_be_bytes()));
    }
    // The server may hang up while we still write.
    let _ = stream.write_all(&flood).await;
    let started = Instant::now();
    let read = read_to_end(&mut stream).await;
    // GOAWAY with ENHANCE_YOUR_CALM ends it, long before any timeout.
    let calm = [0, 0, 0, 11];
    let gone = read
        .windows(17)
        .any(|f| f[3] == 7 && f[4..9] == [0; 5] && f[13..17] == calm);
    assert!(gone || read.is_empty(), "{read:?}");
    assert!(started.elapsed() < ListenerLimits::default().header_timeout);
}

#[tokio::test]
async fn a_stop_lets_requests_finish_and_takes_no_new_ones() {
    let (router, entered, leave) = held();
    let mut served = tls(ListenerLimits::default(), router).await;
    let client = served.client().build().unwrap();
    let running = tokio::spawn(client.get(served.url("/")).send());
    timeout(DEADLINE, entered.notified()).await.unwrap();
    served.stop.cancel();
    super::eventually("the listener closes", || async {
        TcpStream::connect(served.address).await.is_err()
    })
    .await;
    leave.notify_one();
    let answer = running.await.unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "finished");
    timeout(DEADLINE, served.listener.take().unwrap().finished())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stop_has_a_bound() {
    let entered = Arc::new(Notify::new());
    let inside = Arc::clone(&entered);
    let stuck = get(async move || {
        inside.notify_one();
        std::future::pending::<()>().await;
    });
    let router = Router::new().route("/", stuck);
    let drain = Duration::from_millis(100);
    let mut served = start(ListenerLimits::default(), router, false, drain).await;
    let client = served.client().build().unwrap();
    let running = tokio::spawn(client.get(served.url("/")).send());
    timeout(DEADLINE, entered.notified()).await.unwrap();
    served.stop.cancel();
    let finished = served.listener.take().unwrap().finished();
    timeout(DEADLINE, finished)
        .await
        .expect("the drain has an end");
    running.await.unwrap().unwrap_err();
}
