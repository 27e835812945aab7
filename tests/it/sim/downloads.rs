//! Files: unique, signed, in ranges, and every way in which they do not arrive.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{World, accepted};

#[tokio::test]
async fn no_two_outputs_have_the_same_bytes() {
    let world = World::start().await;
    let mut digests = BTreeSet::new();
    for name in ["a", "b"] {
        let body = json!({ "model_name": "kling-v2-1", "prompt": "p", "n": 2,
            "external_task_id": name });
        accepted(world.post("/v1/images/generations", &body).await);
        let task = world.ended(name).await;
        assert_eq!(task.urls.len(), 2);
        for url in task.urls {
            let file = world.client.get(url).send().await.unwrap();
            assert_eq!(file.headers()["content-type"], "image/png");
            let bytes = file.bytes().await.unwrap();
            assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"));
            check_chunks(&bytes[8..]);
            digests.insert(Sha256::digest(&bytes).to_vec());
        }
    }
    for name in ["c", "d"] {
        let body = json!({ "prompt": "p", "duration": 3, "external_task_id": name });
        accepted(world.post("/v1/audio/text-to-audio", &body).await);
        for url in world.ended(name).await.urls {
            let bytes = world
                .client
                .get(url)
                .send()
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
            digests.insert(Sha256::digest(&bytes).to_vec());
        }
    }
    assert_eq!(digests.len(), 8);
}

/// Walks the chunks of a PNG file; those of the embedded pictures prove the checksum below.
fn check_chunks(mut bytes: &[u8]) {
    let mut names = Vec::new();
    while let [a, b, c, d, rest @ ..] = bytes {
        let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (typed, rest) = rest.split_at(size + 4);
        let (crc, rest) = rest.split_at(4);
        assert_eq!(crc, checksum(typed).to_be_bytes(), "{names:?}");
        names.push(String::from_utf8_lossy(&typed[..4]).into_owned());
        bytes = rest;
    }
    assert_eq!(names.first().map(String::as_str), Some("IHDR"));
    assert_eq!(names[names.len() - 2..], ["tEXt", "IEND"]);
}

fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| {
        if crc & 1 == 1 {
            (crc >> 1) ^ 0xedb8_8320
        } else {
            crc >> 1
        }
    };
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), step)
    })
}

#[tokio::test]
async fn downloads_know_ranges_and_refuse_bad_signatures() {
    let world = World::start().await;
    world.create("range", "").await;
    let url = world.ended("range").await.urls[0].clone();
    let whole = world.client.get(&url).send().await.unwrap();
    let etag = whole.headers()["etag"].clone();
    let whole = whole.bytes().await.unwrap();

    let range = |value: &str| world.client.get(&url).header("range", value);
    let part = range("bytes=100-199").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(
        part.headers()["content-range"],
        format!("bytes 100-199/{}", whole.len())
    );
    assert_eq!(part.bytes().await.unwrap(), whole[100..200]);
    let rest = range("bytes=100-")
        .header("if-range", etag)
        .send()
        .await
        .unwrap();
    assert_eq!(rest.bytes().await.unwrap(), whole[100..]);
    let tail = range("bytes=-5").send().await.unwrap();
    assert_eq!(tail.bytes().await.unwrap(), whole[whole.len() - 5..]);
    let changed = range("bytes=100-")
        .header("if-range", "\"x\"")
        .send()
        .await
        .unwrap();
    assert_eq!(changed.status(), 200);
    assert_eq!(range("bytes=9999999-").send().await.unwrap().status(), 416);

    for spoilt in [
        url.replace("Signature=", "Signature=A"),
        url.replace("Expires=", "Expires=9"),
        url.replace("Key-Pair-Id=K", "Key-Pair-Id=X"),
        url.split_once('?').unwrap().0.to_owned(),
        url.replace("/0-0.mp4", "/1-0.mp4"),
    ] {
        assert_eq!(
            world.client.get(&spoilt).send().await.unwrap().status(),
            403,
            "{spoilt}"
        );
    }
    let stats = world.control.stats().downloads;
    assert_eq!((stats.requests, stats.ranges, stats.refused), (6, 4, 5));
}

#[tokio::test]
async fn a_signed_url_lives_thirty_days() {
    let world = World::start().await;
    world.create("expiry", "").await;
    let task = world.ended("expiry").await;
    let expires = task.urls[0]
        .split("Expires=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap();
    assert_eq!(
        expires.parse::<i64>().unwrap(),
        task.updated_ms / 1000 + 2_592_000
    );
}

#[tokio::test]
async fn downloads_go_wrong_as_asked() {
    let world = World::start().await;
    let mut urls = Vec::new();
    for tag in [
        "truncatex1",
        "500x2",
        "slow:100ms",
        "expired",
        "wrong-type",
        "empty",
        "redirect:http://127.0.0.1:1/x",
    ] {
        world.create(tag, &format!("[sim:cdn={tag}]")).await;
        urls.push(world.ended(tag).await.urls.remove(0));
    }
    let get = async |at: usize| world.client.get(&urls[at]).send().await.unwrap();
    let cut = get(0).await;
    assert_eq!(cut.status(), 200);
    let announced = cut.content_length().unwrap();
    let mut pieces = cut.bytes_stream();
    let mut arrived = 0;
    let broke = loop {
        match pieces.next().await {
            Some(Ok(piece)) => arrived += piece.len() as u64,
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(
        broke && arrived == announced / 2,
        "{arrived} of {announced}"
    );
    assert!(get(0).await.bytes().await.is_ok(), "only once");
    assert_eq!(get(1).await.status(), 500);
    assert_eq!(get(1).await.status(), 500);
    assert_eq!(get(1).await.status(), 200);
    let slow = get(2).await;
    let announced = slow.content_length().unwrap();
    assert_eq!(slow.bytes().await.unwrap().len() as u64, announced);
    assert_eq!(get(3).await.status(), 403);
    let page = get(4).await;
    assert!(
        page.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert_eq!(get(5).await.bytes().await.unwrap().len(), 0);
    let moved = get(6).await;
    assert_eq!(
        (moved.status().as_u16(), &moved.headers()["location"]),
        (302, &"http://127.0.0.1:1/x".parse().unwrap())
    );
    let stats = world.control.stats().downloads;
    assert_eq!((stats.requests, stats.faulted, stats.refused), (9, 7, 1));
}
