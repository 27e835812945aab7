//! What strangers, and whoever has one leaked address, can keep from everybody else: no place, no
//! room in the stream, no memory.

use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use kling_relay::config::{self, ListenerLimits};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::limits::{frame, request};
use super::logs::Kept;
use super::world::{BODY, NEW_KEY, OTHER_SECRET, SECRET, Setup, World, expects, path, task};
use super::{DEADLINE, Served, hello, read_to_end, tls};
use crate::broker::until;

const PLACES: usize = 8;
/// So long even strangers keep what they have begun.
const PATIENCE: Duration = Duration::from_millis(5_500);

/// Begins HTTP/2 with a window of no byte or one, and asks so often: no answer's body can be sent
/// to its end.
async fn takes_nothing(served: &Served, streams: u32, window: u8) -> TlsStream<TcpStream> {
    let mut stream = served.connect(b"h2").await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, window]));
    (0..streams).for_each(|n| bytes.extend(request(2 * n + 1)));
    stream.write_all(&bytes).await.expect("it is taken");
    stream
}

async fn waited(time: Duration) {
    let begun = Instant::now();
    until("time has passed", DEADLINE, async || begun.elapsed() > time).await;
}

#[tokio::test]
async fn an_answer_that_nobody_takes_ends_its_connection() {
    let limits = ListenerLimits {
        request_timeout: Duration::from_millis(200),
        // Pings may stay unanswered for longer than the test.
        header_timeout: 10 * DEADLINE,
        ..ListenerLimits::default()
    };
    let served = tls(limits, hello()).await;
    for window in [0, 1] {
        let mut stalled = takes_nothing(&served, 1, window).await;
        read_to_end(&mut stalled).await;
    }
}

#[tokio::test]
async fn who_takes_no_answer_makes_room() {
    // A success or none: it makes no difference.
    let nothing = Router::new().fallback(async || (StatusCode::NOT_FOUND, "not found"));
    for (router, window) in [(hello(), 0), (nothing, 1)] {
        let limits = ListenerLimits {
            connections_max: PLACES,
            header_timeout: 10 * DEADLINE,
            ..ListenerLimits::default()
        };
        let served = tls(limits, router).await;
        let mut stalled = Vec::new();
        for _ in 0..PLACES {
            stalled.push(takes_nothing(&served, 1, window).await);
        }
        waited(PATIENCE).await;
        let client = served.client().build().unwrap();
        let answer = client.get(served.url("/")).send().await;
        answer.expect("there is room");
        read_to_end(&mut stalled[0]).await;
    }
}

#[tokio::test]
async fn who_asks_most_and_takes_nothing_goes_first() {
    let limits = ListenerLimits {
        // So many that two could be told to go at once.
        connections_max: 65,
        http2_streams_max: 16,
        header_timeout: 10 * DEADLINE,
        ..ListenerLimits::default()
    };
    let served = tls(limits, hello()).await;
    let mut less = Vec::new();
    for _ in 0..5 {
        less.push(takes_nothing(&served, 12, 0).await);
    }
    let mut most = takes_nothing(&served, 16, 1).await;
    let _one_more = takes_nothing(&served, 8, 0).await;
    read_to_end(&mut most).await;
    for less in &mut less {
        let early = timeout(Duration::from_millis(100), read_to_end(less)).await;
        assert!(early.is_err(), "it was cut too");
    }
}

/// Begins a callback whose body does not come.
async fn slow(world: &World, path: &str, headers: &str) -> TlsStream<TcpStream> {
    slow_of(BODY.len(), world, path, headers).await
}

async fn slow_of(length: usize, world: &World, path: &str, headers: &str) -> TlsStream<TcpStream> {
    let mut stream = world.served.connect(b"http/1.1").await;
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{headers}");
    stream
        .write_all(head.as_bytes())
        .await
        .expect("it is taken");
    stream.write_all(b"\r\n").await.expect("it is taken");
    stream
}

#[tokio::test]
async fn a_slow_body_keeps_its_place_on_a_tasks_own_address_only() {
    let mut setup = Setup::default();
    setup.receiver.limits.connections_max = PLACES;
    let world = World::start(setup).await;
    let mut strangers = Vec::new();
    for _ in 0..PLACES {
        strangers.push(slow(&world, "/callbacks", "webhook-id: 1\r\n").await);
    }
    waited(PATIENCE).await;
    let mut known = Vec::new();
    for n in 0..PLACES {
        known.push(slow(&world, &path(NEW_KEY, &task(&n.to_string())), "").await);
    }
    for stranger in &mut strangers {
        read_to_end(stranger).await;
    }
    waited(PATIENCE).await;
    let next = TcpStream::connect(world.served.address).await.unwrap();
    let cut = timeout(DEADLINE / 40, read_to_end(&mut known[0])).await;
    assert!(cut.is_err(), "it was cut");
    drop(next);
    for stream in &mut known {
        stream.write_all(BODY.as_bytes()).await.unwrap();
    }
    until("all of them are stored", DEADLINE, async || {
        world.stored().await == PLACES as u64
    })
    .await;
}

#[tokio::test]
async fn a_leaked_address_fills_no_stream_and_holds_nobody_up() {
    let world = World::start(Setup::default()).await;
    let (leaked, other) = (path(NEW_KEY, &task("a")), path(NEW_KEY, &task("b")));
    let mut refused = 0;
    for n in 0..30 {
        let body = BODY.replacen('1', &format!("{n}000"), 1);
        let answer = world.post(&leaked, body).send().await.unwrap();
        match answer.status().as_u16() {
            200 => {}
            429 => {
                assert!(answer.headers().contains_key("retry-after"));
                refused += 1;
            }
            status => panic!("{status}"),
        }
    }
    assert_eq!((world.stored().await, refused), (10, 20));
    expects(world.signed(&leaked, SECRET, "1", BODY), 200).await;
    expects(world.signed(&other, SECRET, "2", BODY), 200).await;
    expects(world.post(&other, BODY), 200).await;
    assert_eq!(world.stored().await, 13);
}

#[tokio::test]
async fn what_is_not_signed_is_small() {
    let world = World::start(Setup::default()).await;
    let path = path(NEW_KEY, &task("a"));
    let padded = |bytes: usize| BODY.to_owned() + &" ".repeat(bytes - BODY.len());
    expects(world.post(&path, padded(65_536)), 200).await;
    expects(world.post(&path, padded(65_537)), 413).await;
    expects(world.signed(&path, SECRET, "1", &padded(1_000_000)), 200).await;
}

#[tokio::test]
async fn slow_bodies_of_one_task_take_no_memory_from_the_others() {
    let world = World::start(Setup::default()).await;
    let (leaked, other) = (path(NEW_KEY, &task("a")), path(NEW_KEY, &task("b")));
    let mut bodies = Vec::new();
    for _ in 0..8 {
        bodies.push(slow(&world, &leaked, "webhook-id: 1\r\n").await);
    }
    until("too many are in hand", DEADLINE, async || {
        let answer = world.signed(&leaked, SECRET, "1", BODY).send().await;
        answer.unwrap().status() == 429
    })
    .await;
    expects(world.signed(&other, SECRET, "1", BODY), 200).await;
    // Those without a signature are counted apart.
    expects(world.post(&leaked, BODY), 200).await;
}

#[tokio::test]
async fn large_bodies_of_many_tasks_leave_room_for_small_ones() {
    let world = World::start(Setup::default()).await;
    let leaked: Vec<_> = (0..16)
        .map(|n| path(NEW_KEY, &task(&n.to_string())))
        .collect();
    let mut bodies = Vec::new();
    for path in &leaked {
        for _ in 0..4 {
            bodies.push(slow_of(1 << 20, &world, path, "webhook-id: 1\r\n").await);
        }
    }
    let large = BODY.to_owned() + &" ".repeat(1_000_000);
    for path in &leaked {
        until("its large bodies are in hand", DEADLINE, async || {
            let answer = world.signed(path, SECRET, "1", &large).send().await;
            answer.unwrap().status() != 200
        })
        .await;
    }
    for path in [path(NEW_KEY, &task("b")), leaked[0].clone()] {
        expects(world.signed(&path, SECRET, "1", BODY), 200).await;
    }
}

#[tokio::test]
async fn a_wrong_secret_and_a_wrong_clock_are_said_once_and_counted() {
    let recorder = kling_relay::telemetry::recorder("test");
    let logs = Kept::default();
    let _guard = logs.install();
    let world = World::start(Setup {
        receiver: config::Receiver::default(),
        ..Setup::default()
    })
    .await;
    let path = path(NEW_KEY, &task("a"));
    let said = |words: &str| logs.text().matches(words).count();
    for _ in 0..2 {
        expects(world.signed(&path, OTHER_SECRET, "1", BODY), 401).await;
    }
    assert_eq!(said("fits no secret"), 1);
    let late = world.signed(&path, SECRET, "1", BODY);
    world.clock.set_offset_ms(301_000);
    expects(late, 401).await;
    assert_eq!(
        (said("fits no secret"), said("set its clock right")),
        (1, 1)
    );
    // Strangers on the bare path raise no alarm.
    world.clock.set_offset_ms(2_000_000);
    expects(world.signed("/callbacks", OTHER_SECRET, "1", BODY), 401).await;
    assert_eq!(said("fits no secret"), 1);
    let rendered = recorder.render();
    assert!(rendered.contains("callbacks_received_total{result=\"bad-signature\"}"));
}
