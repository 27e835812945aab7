//! More connections than a listener may have: who does nothing gives way, a stranger before one who
//! has proved himself, the oldest of the largest crowd first.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use kling_relay::config::ListenerLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{DEADLINE, Served, held, hello, read_to_end, start};
use crate::broker::until;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PLACES: usize = 8;

/// A listener with few places; without TLS, since what counts is who says something.
async fn crowded(router: Router) -> Served {
    let limits = ListenerLimits {
        connections_max: PLACES,
        header_timeout: 10 * DEADLINE,
        ..ListenerLimits::default()
    };
    start(limits, router, false, DEADLINE).await
}

/// A connection from one of the loopback's addresses.
async fn from(served: &Served, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let address = SocketAddr::from(([127, 0, 0, last], 0));
    socket.bind(address).unwrap();
    socket.connect(served.address).await.unwrap()
}

/// Tells whether a request is answered, to its last byte.
async fn asks(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    let ask = async {
        stream.write_all(GET).await.ok()?;
        while !answer.ends_with(b"hello") {
            let read = stream.read_buf(&mut answer).await.ok()?;
            (read > 0).then_some(())?;
        }
        Some(())
    };
    timeout(DEADLINE, ask).await.expect("an end").is_some()
}

/// Waits until nobody is so young any more that he is spared.
async fn settled() {
    let begun = Instant::now();
    until("they have been there for a while", DEADLINE, async || {
        begun.elapsed() > Duration::from_millis(2_200)
    })
    .await;
}

#[tokio::test]
async fn the_oldest_of_the_largest_crowd_gives_way() {
    let served = crowded(hello()).await;
    let mut lonely = from(&served, 2).await;
    let mut crowd = Vec::new();
    for _ in 0..PLACES - 1 {
        crowd.push(from(&served, 1).await);
    }
    settled().await;
    let mut new = Vec::new();
    for _ in 0..3 {
        let mut stream = from(&served, 3).await;
        assert!(asks(&mut stream).await, "there is no room");
        read_to_end(&mut crowd.remove(0)).await;
        new.push(stream);
    }
    assert!(asks(&mut lonely).await, "one alone stays, however old");
    for stream in &mut crowd {
        assert!(asks(stream).await, "the younger stay");
    }
}

#[tokio::test]
async fn who_had_a_success_outlasts_who_never_asked() {
    let served = crowded(hello()).await;
    let mut proven = from(&served, 1).await;
    assert!(asks(&mut proven).await);
    let mut silent = Vec::new();
    for n in 0..PLACES - 1 {
        silent.push(from(&served, 2 + u8::try_from(n).unwrap()).await);
    }
    settled().await;
    let mut new = from(&served, 1).await;
    assert!(asks(&mut new).await, "there is no room");
    read_to_end(&mut silent.remove(0)).await;
    assert!(asks(&mut proven).await, "it is older, and stays");
}

#[tokio::test]
async fn who_is_at_work_is_not_cut_at_once() {
    let (router, entered, leave) = held();
    let served = crowded(router).await;
    let mut at_work = Vec::new();
    for _ in 0..PLACES {
        let mut stream = from(&served, 1).await;
        stream.write_all(GET).await.unwrap();
        timeout(DEADLINE, entered.notified()).await.unwrap();
        at_work.push(stream);
    }
    settled().await;
    // Nobody can make room: the next one waits until an answer is through.
    let mut waiting = from(&served, 1).await;
    waiting.write_all(GET).await.unwrap();
    let early = timeout(super::DEADLINE / 100, entered.notified()).await;
    assert!(early.is_err(), "it was let in");
    leave.notify_waiters();
    for stream in &mut at_work {
        let mut head = [0; 12];
        timeout(DEADLINE, stream.read_exact(&mut head))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    }
    timeout(DEADLINE, entered.notified())
        .await
        .expect("it is let in");
}
