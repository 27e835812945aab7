//! The battery of signatures at a real receiver: rotated, withdrawn, cut, swapped, stale, doubled,
//! caught and sent again, and gone missing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::RequestBuilder;
use sha2::Sha256;

use super::logs::Kept;
use super::world::{BODY, NEW_KEY, OTHER_SECRET, SECRET, Setup, World, expects, path, task};

/// Signs bytes of any kind, which the vendor's library does not.
fn sign(secret: &str, id: &str, at: i64, body: &[u8]) -> String {
    let key = STANDARD
        .decode(secret.trim_start_matches("whsec_"))
        .unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(&key)
        .unwrap()
        .chain_update(format!("{id}.{at}."))
        .chain_update(body)
        .finalize();
    format!("v1,{}", STANDARD.encode(mac.into_bytes()))
}

/// A callback with exactly these headers.
fn with(world: &World, path: &str, headers: [&str; 3], body: &[u8]) -> RequestBuilder {
    world
        .post(path, body.to_vec())
        .header("webhook-id", headers[0])
        .header("webhook-timestamp", headers[1])
        .header("webhook-signature", headers[2])
}

async fn knowing(secrets: &'static [&'static str]) -> World {
    World::start(Setup {
        secrets,
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn a_rotation_signs_twice_and_either_secret_proves() {
    for known in [&[SECRET][..], &[OTHER_SECRET]] {
        let world = knowing(known).await;
        let now = world.clock.now().as_second();
        let both = [SECRET, OTHER_SECRET].map(|secret| sign(secret, "1", now, BODY.as_bytes()));
        let path = path(NEW_KEY, &task("a"));
        let headers = ["1", &now.to_string(), &both.join(" ")];
        expects(with(&world, &path, headers, BODY.as_bytes()), 200).await;
        assert_eq!(world.stored().await, 1);
    }
}

#[tokio::test]
async fn after_an_emergency_the_old_secret_proves_nothing() {
    let world = knowing(&[OTHER_SECRET]).await;
    let path = path(NEW_KEY, &task("a"));
    expects(world.signed(&path, SECRET, "1", BODY), 401).await;
    expects(world.signed("/callbacks", SECRET, "1", BODY), 401).await;
    assert_eq!(world.stored().await, 0);
    expects(world.signed(&path, OTHER_SECRET, "1", BODY), 200).await;
}

#[tokio::test]
async fn what_is_cut_or_swapped_is_refused() {
    let world = World::start(Setup::default()).await;
    let (path, now) = (path(NEW_KEY, &task("a")), world.clock.now().as_second());
    let (at, body) = (now.to_string(), BODY.as_bytes());
    let good = sign(SECRET, "1", now, body);
    for length in (0..good.len()).step_by(7) {
        expects(with(&world, &path, ["1", &at, &good[..length]], body), 401).await;
    }
    for length in [0, 1, body.len() / 2, body.len() - 1] {
        expects(with(&world, &path, ["1", &at, &good], &body[..length]), 401).await;
    }
    // Two deliveries of one sender, each with the other's part.
    let other = sign(SECRET, "2", now, body);
    let later = (now + 1).to_string();
    for headers in [
        ["1", &at, &other],
        ["2", &at, &good],
        ["1", &later, &good],
        [&at, "1", &good],
        ["1", &good, &at],
        [&good, &at, "1"],
        ["1.", &at, &good],
        ["", &at, &good],
    ] {
        expects(with(&world, &path, headers, body), 401).await;
    }
    assert_eq!(world.stored().await, 0);
    expects(with(&world, &path, ["1", &at, &good], body), 200).await;
}

#[tokio::test]
async fn a_header_twice_is_refused_whichever_is_right() {
    let world = World::start(Setup::default()).await;
    let path = path(NEW_KEY, &task("a"));
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        for value in ["1", "v1,AAAA", "1781080794"] {
            let doubled = world.signed(&path, SECRET, "1", BODY).header(name, value);
            expects(doubled, 401).await;
        }
    }
    assert_eq!(world.stored().await, 0);
}

#[tokio::test]
async fn a_signature_lives_for_three_hundred_seconds_both_ways() {
    let world = World::start(Setup::default()).await;
    let now = world.clock.now().as_second();
    for (n, (age, status)) in [(299, 200), (302, 401), (-299, 200), (-302, 401)]
        .into_iter()
        .enumerate()
    {
        let (path, at) = (path(NEW_KEY, &task(&n.to_string())), now - age);
        let signature = sign(SECRET, "1", at, BODY.as_bytes());
        let headers = ["1", &at.to_string(), &signature];
        expects(with(&world, &path, headers, BODY.as_bytes()), status).await;
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_verified_as_they_are() {
    let world = World::start(Setup::default()).await;
    let (path, now) = (path(NEW_KEY, &task("a")), world.clock.now().as_second());
    let at = now.to_string();
    let mut body = BODY.as_bytes().to_vec();
    let place = body.iter().position(|byte| *byte == b'p').unwrap();
    body[place] = 0xff;
    // Genuine, so it is told what is wrong with it; a signature of other bytes does not get so far.
    let good = sign(SECRET, "1", now, &body);
    expects(with(&world, &path, ["1", &at, &good], &body), 400).await;
    let of_text = sign(SECRET, "1", now, BODY.as_bytes());
    expects(with(&world, &path, ["1", &at, &of_text], &body), 401).await;
    assert_eq!(world.stored().await, 0);
}

#[tokio::test]
async fn a_caught_callback_sent_again_proves_nothing_new() {
    let world = World::start(Setup::default()).await;
    let (mine, other) = (path(NEW_KEY, &task("a")), path(NEW_KEY, &task("b")));
    let now = world.clock.now().as_second();
    let (at, body) = (now.to_string(), BODY.as_bytes());
    let good = sign(SECRET, "1", now, body);
    let headers = ["1", at.as_str(), good.as_str()];
    expects(with(&world, &mine, headers, body), 200).await;
    // At once, to where it came: the same callback, stored once.
    expects(with(&world, &mine, headers, body), 200).await;
    assert_eq!(world.stored().await, 1);
    // To another task, whose path the catcher does not have.
    let proof = mine.rsplit('/').next().unwrap();
    let guessed = format!("/callbacks/acme/{}/{proof}", task("b"));
    expects(with(&world, &guessed, headers, body), 401).await;
    // With that path as well it is stored as that task's, and the completer sets it aside, since it
    // does not name it.
    expects(with(&world, &other, headers, body), 200).await;
    let subject = format!("kling.callback.v1.acme.{}", task("b"));
    assert_eq!(world.last(&subject).await.0, "signed");
    assert_eq!(world.stored().await, 2);
    // Later than five minutes it is nothing, wherever it goes.
    world.clock.set_offset_ms(302_000);
    for path in [&mine, &other, "/callbacks"] {
        expects(with(&world, path, headers, body), 401).await;
    }
    assert_eq!(world.stored().await, 2);
}

#[tokio::test]
async fn an_account_that_stops_signing_raises_an_alarm_in_ten_minutes() {
    let logs = Kept::default();
    let _guard = logs.install();
    let world = World::start(Setup::default()).await;
    let alarms = || logs.text().matches("come without a signature").count();
    let post = async |n: u32, signed: bool| {
        let (path, body) = (path(NEW_KEY, &task("a")), BODY.replace('1', &n.to_string()));
        let request = match signed {
            true => world.signed(&path, SECRET, "1", &body),
            false => world.post(&path, body),
        };
        expects(request, 200).await;
    };
    post(2, true).await;
    assert_eq!(alarms(), 0);
    post(3, false).await;
    post(4, false).await;
    assert_eq!(alarms(), 1, "once, not for each");
    world.clock.set_offset_ms(10 * 60 * 1_000);
    post(5, false).await;
    assert_eq!(alarms(), 2, "again after ten minutes");
    post(6, true).await;
    post(7, false).await;
    assert_eq!(alarms(), 2, "not sooner because it signed in between");
}
