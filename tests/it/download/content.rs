//! What arrives: checked, bounded, or refused.

use kling_relay::edge::fetch::BadContent;

use super::hostile::{Reply, Then};
use super::{World, check_bad, mp4};

#[tokio::test]
async fn a_file_arrives_checked_and_leaves_no_trace() {
    let content = mp4(700_000);
    let world = World::new(vec![Reply::ok(&["ETag: \"a\""], &content)]).await;
    let fetched = world.fetch().await.unwrap();
    world.check_file(&fetched, &content);
    let asked = &world.server.asked()[0];
    assert_eq!(asked.header("accept-encoding"), Some("identity"));
    assert_eq!(asked.header("range"), None);
    assert_eq!(world.spool.free_bytes(), 1 << 20);
    let path = fetched.file.path().to_owned();
    drop(fetched);
    assert!(!path.exists());
    assert_eq!(world.spool.free_bytes(), 2 << 20);
}

#[tokio::test]
async fn the_size_is_bounded_announced_or_not() {
    let too_large = || BadContent::TooLarge { max_bytes: 1 << 20 };
    let head = mp4(5_000);
    let chunk = [b"1388\r\n".as_slice(), &head, b"\r\n"].concat();
    let world = World::new(vec![
        Reply::new("200 OK", &[], &head)
            .length(5 << 20)
            .then(Then::Stall),
        Reply::new("200 OK", &["Transfer-Encoding: chunked"], &chunk).then(Then::Endless),
    ])
    .await;
    check_bad(world.fetch().await, too_large());
    check_bad(world.fetch().await, too_large());
    // What the sockets in between hold may be on top.
    assert!(world.server.sent() < 16 << 20, "{}", world.server.sent());
}

#[tokio::test]
async fn an_answer_without_a_knowable_end_is_refused() {
    let world = World::new(vec![Reply::new("200 OK", &[], &mp4(1_000))]).await;
    check_bad(world.fetch().await, BadContent::NoLength);
}

#[tokio::test]
async fn content_of_another_kind_is_refused_early() {
    let page = [b"<!DOCTYPE html><html>".as_slice(), &[b' '; 100_000]].concat();
    let media_type = |found| BadContent::MediaType {
        found,
        expected: "video/mp4".to_owned(),
    };
    let world = World::new(vec![
        Reply::new("200 OK", &["Content-Type: video/mp4"], &page)
            .length(900_000)
            .then(Then::Stall),
        Reply::ok(
            &["Content-Type: video/mp4"],
            b"<!DOCTYPE html><html></html>",
        ),
        Reply::ok(
            &["Content-Type: video/mp4"],
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        ),
        Reply::ok(&[], b"{}"),
        Reply::ok(&["Content-Type: video/mp4"], b""),
        Reply::new("200 OK", &["Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        Reply::new("204 No Content", &[], b""),
    ])
    .await;
    check_bad(world.fetch().await, media_type("text/html"));
    check_bad(world.fetch().await, media_type("text/html"));
    check_bad(world.fetch().await, media_type("image/png"));
    check_bad(world.fetch().await, media_type("application/octet-stream"));
    check_bad(world.fetch().await, BadContent::Empty);
    check_bad(world.fetch().await, BadContent::Empty);
    check_bad(world.fetch().await, BadContent::Empty);
}

#[tokio::test]
async fn a_content_encoding_is_refused() {
    let world = World::new(vec![Reply::ok(&["Content-Encoding: gzip"], &mp4(100))]).await;
    check_bad(world.fetch().await, BadContent::Encoded);
}
