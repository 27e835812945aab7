//! Cuts, lies, silence and refusals: what is tried again, and from where.

use std::time::Duration;

use kling_relay::edge::fetch::{FetchError, Interruption};

use super::hostile::{Reply, Then};
use super::{World, interruption, mp4};

#[tokio::test]
async fn a_cut_download_goes_on_where_it_stopped() {
    let content = mp4(600_000);
    let (first, rest) = content.split_at(200_000);
    let (second, third) = rest.split_at(200_000);
    let tag = "ETag: \"v1\"";
    let part = |from: usize, body: &[u8]| {
        let range = format!("Content-Range: bytes {from}-599999/600000");
        Reply::new("206 Partial Content", &[tag, &range], body).length(600_000 - from)
    };
    let world = World::new(vec![
        Reply::new("200 OK", &[tag], first)
            .length(600_000)
            .then(Then::Break),
        part(200_000, second).then(Then::Close),
        part(400_000, third),
    ])
    .await;
    let fetched = world.fetch().await.unwrap();
    world.check_file(&fetched, &content);
    let asked = world.server.asked();
    assert_eq!(asked[1].header("range"), Some("bytes=200000-"));
    assert_eq!(asked[1].header("if-range"), Some("\"v1\""));
    assert_eq!(asked[2].header("range"), Some("bytes=400000-"));
    assert_eq!(world.server.sent(), 600_000, "no byte is sent twice");
}

#[tokio::test]
async fn the_time_of_the_last_change_serves_without_a_strong_tag() {
    let content = mp4(1_000);
    let changed = "Last-Modified: Sat, 01 Aug 2026 00:00:00 GMT";
    let world = World::new(vec![
        Reply::new("200 OK", &["ETag: W/\"v1\"", changed], &content[..400])
            .length(1_000)
            .then(Then::Break),
        Reply::new(
            "206 Partial Content",
            &[changed, "Content-Range: bytes 400-999/1000"],
            &content[400..],
        )
        .length(600),
    ])
    .await;
    let fetched = world.fetch().await.unwrap();
    world.check_file(&fetched, &content);
    let if_range = "Sat, 01 Aug 2026 00:00:00 GMT";
    assert_eq!(world.server.asked()[1].header("if-range"), Some(if_range));
}

#[tokio::test]
async fn changed_content_starts_afresh() {
    let (old, new) = (mp4(50_000), mp4(40_000));
    let cut = || Reply::new("200 OK", &["ETag: \"v1\""], &old[..20_000]).length(50_000);
    let range = "Content-Range: bytes 20000-39999/40000";
    let world = World::new(vec![
        // The server notices.
        cut().then(Then::Break),
        Reply::ok(&["ETag: \"v2\""], &new),
        // The server does not, but its answer tells.
        cut().then(Then::Break),
        Reply::new(
            "206 Partial Content",
            &["ETag: \"v2\"", range],
            &new[20_000..],
        )
        .length(20_000),
        Reply::ok(&["ETag: \"v2\""], &new),
        // The file has become shorter than what is there.
        cut().then(Then::Break),
        Reply::new("416 Range Not Satisfiable", &[], b"").length(0),
        Reply::ok(&["ETag: \"v2\""], &new),
    ])
    .await;
    for _ in 0..3 {
        let fetched = world.fetch().await.unwrap();
        world.check_file(&fetched, &new);
    }
    let ranges: Vec<_> = world
        .server
        .asked()
        .iter()
        .map(|a| a.header("range").is_some())
        .collect();
    assert_eq!(
        ranges,
        [false, true, false, true, false, false, true, false]
    );
}

#[tokio::test]
async fn without_a_validator_nothing_is_resumed() {
    let content = mp4(1_000);
    let world = World::new(vec![
        Reply::new("200 OK", &[], &content[..500])
            .length(1_000)
            .then(Then::Break),
        Reply::ok(&[], &content),
    ])
    .await;
    let fetched = world.fetch().await.unwrap();
    world.check_file(&fetched, &content);
    assert_eq!(world.server.asked()[1].header("range"), None);
}

#[tokio::test]
async fn a_lie_about_the_length_is_no_file() {
    let content = mp4(1_000);
    let mut world = World::new(Vec::new()).await;
    world.config.attempts_max = 2;
    for _ in 0..2 {
        world
            .server
            .push(Reply::new("200 OK", &[], &content).length(2_000));
    }
    let (_, why) = interruption(world.fetch().await);
    assert!(matches!(why, Interruption::Connection(_)), "{why:?}");
    // More than announced: what is too much belongs to no answer.
    world
        .server
        .push(Reply::new("200 OK", &[], &content).length(900));
    let fetched = world.fetch().await.unwrap();
    world.check_file(&fetched, &content[..900]);
}

#[tokio::test]
async fn chunks_that_end_early_are_a_cut() {
    let chunk = [b"3e8\r\n".as_slice(), &mp4(1_000), b"\r\n"].concat();
    let mut world = World::new(Vec::new()).await;
    world.config.attempts_max = 1;
    world.server.push(Reply::new(
        "200 OK",
        &["Transfer-Encoding: chunked"],
        &chunk,
    ));
    let (_, why) = interruption(world.fetch().await);
    assert!(matches!(why, Interruption::Connection(_)), "{why:?}");
    let whole = [chunk.as_slice(), b"0\r\n\r\n"].concat();
    world.server.push(Reply::new(
        "200 OK",
        &["Transfer-Encoding: chunked"],
        &whole,
    ));
    let fetched = world.fetch().await.unwrap();
    world.check_file(&fetched, &mp4(1_000));
}

#[tokio::test]
async fn silence_and_dripping_end_by_the_clock() {
    let mut world = World::new(Vec::new()).await;
    world.config.attempts_max = 1;
    world.config.idle_timeout = Duration::from_millis(200);
    let stalled = Reply::new("200 OK", &[], &mp4(100))
        .length(1_000)
        .then(Then::Stall);
    world.server.push(stalled);
    let (_, why) = interruption(world.fetch().await);
    assert!(matches!(why, Interruption::Idle), "{why:?}");
    // Not even a head.
    world.server.push(Reply {
        head: String::new(),
        body: Vec::new(),
        then: Then::Stall,
    });
    let (_, why) = interruption(world.fetch().await);
    assert!(matches!(why, Interruption::Idle), "{why:?}");
    world.config.total_timeout = Duration::from_millis(500);
    world.server.push(
        Reply::new("200 OK", &[], &mp4(100))
            .length(9_000)
            .then(Then::Drip),
    );
    let (_, why) = interruption(world.fetch().await);
    assert!(matches!(why, Interruption::TooSlow), "{why:?}");
}

#[tokio::test]
async fn statuses_are_told_apart_by_what_to_do_next() {
    let world = World::new(Vec::new()).await;
    for status in [
        "401 U",
        "403 Forbidden",
        "404 Not Found",
        "410 Gone",
        "451 L",
    ] {
        world.server.push(Reply::new(status, &[], b"").length(0));
        match world.fetch().await {
            Err(FetchError::Gone { status: found, .. }) => {
                assert!(status.starts_with(&found.to_string()));
            }
            other => panic!("{status}: {other:?}"),
        }
    }
    let content = mp4(100);
    for status in ["500 E", "502 E", "503 E", "429 E", "408 E"] {
        world
            .server
            .push(Reply::new(status, &["Retry-After: 0"], b"").length(0));
    }
    let (_, why) = interruption(world.fetch().await);
    assert!(matches!(why, Interruption::Status(408)), "{why:?}");
    world.server.push(Reply::new("503 E", &[], b"").length(0));
    world.server.push(Reply::ok(&[], &content));
    let fetched = world.fetch().await.unwrap();
    world.check_file(&fetched, &content);
    drop(fetched);
    // A long wait is for a later delivery, not for a held download permit.
    world
        .server
        .push(Reply::new("429 E", &["Retry-After: 90"], b"").length(0));
    let (after, _) = interruption(world.fetch().await);
    assert_eq!(after, Some(Duration::from_secs(90)));
}
