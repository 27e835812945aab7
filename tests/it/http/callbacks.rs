//! Callbacks as Kling and as strangers send them, against a real broker.

use std::time::Duration;

use kling_relay::config::{self, Unsigned};
use tokio::io::AsyncWriteExt;

use super::DEADLINE;
use super::logs::Kept;
use super::world::{
    BODY, NEW_KEY, OLD_KEY, OTHER_SECRET, SECRET, Setup, World, expects, keys, path, task,
};
use crate::broker;

#[tokio::test]
async fn a_signed_callback_is_stored_once_with_its_exact_bytes() {
    let world = World::start(Setup::default()).await;
    let (task, subject) = (task("a"), format!("kling.callback.v1.acme.{}", task("a")));
    let body = format!("  {BODY}\n");
    let path = path(NEW_KEY, &task);
    let (text, _) = expects(world.signed(&path, SECRET, "9876543210", &body), 200).await;
    assert_eq!(text, "ok\n");
    let signed = ("signed".to_owned(), body.clone().into_bytes());
    assert_eq!(world.last(&subject).await, signed);
    // Again, under another id: the same bytes with the same proof are the same callback.
    expects(world.signed(&path, SECRET, "9876543211", &body), 200).await;
    assert_eq!(world.stored().await, 1);
    // Without a signature it proves less, and may not stand in for the signed one, or the reverse.
    expects(world.post(&path, body.clone()), 200).await;
    assert_eq!(world.stored().await, 2);
    assert_eq!(world.last(&subject).await.0, "unsigned");
}

#[tokio::test]
async fn every_key_and_every_secret_of_a_rotation_proves() {
    let setup = Setup {
        secrets: &[OTHER_SECRET, SECRET],
        ..Setup::default()
    };
    let world = World::start(setup).await;
    for (n, key) in [NEW_KEY, OLD_KEY].into_iter().enumerate() {
        for (m, secret) in [SECRET, OTHER_SECRET].into_iter().enumerate() {
            let task = task(&format!("{n}{m}"));
            expects(world.signed(&path(key, &task), secret, "1", BODY), 200).await;
            let subject = format!("kling.callback.v1.acme.{task}");
            assert_eq!(world.last(&subject).await.0, "signed");
        }
    }
}

#[tokio::test]
async fn a_wrong_path_is_told_nothing_but_no() {
    let world = World::start(Setup::default()).await;
    let (mine, other) = (task("a"), task("b"));
    let right = path(NEW_KEY, &mine);
    let proof = right.rsplit('/').next().unwrap();
    let flipped = if right.ends_with('A') { "B" } else { "A" };
    let strange = keys(&["new:another-secret-of-thirty-two-bytes!!"]);
    let base = "https://relay.example.com".parse().unwrap();
    let strange = strange
        .mint(&base, &mine)
        .expose()
        .replace("https://relay.example.com", "");
    let wrong = [
        format!("/callbacks/acme/{other}/{proof}"),
        format!("/callbacks/beta/{mine}/{proof}"),
        format!(
            "/callbacks/beta/{}/{proof}",
            mine.as_str().replace("acme", "beta")
        ),
        format!("/callbacks/acme/{mine}/old.{}", &proof[4..]),
        format!("/callbacks/acme/{mine}/none.{}", &proof[4..]),
        format!("/callbacks/acme/{mine}/new."),
        format!("/callbacks/acme/{mine}/new"),
        format!("/callbacks/acme/{mine}/%ff%00"),
        format!("/callbacks/%20/{mine}/{proof}"),
        format!("/callbacks/acme/nothing/{proof}"),
        format!("{}{flipped}", &right[..right.len() - 1]),
        strange,
    ];
    let mut answers = Vec::new();
    for path in &wrong {
        // A signature does not open a door; neither does the form of a body, or its size.
        answers.push(expects(world.signed(path, SECRET, "1", BODY), 401).await);
        answers.push(expects(world.post(path, "not JSON"), 401).await);
        answers.push(expects(world.post(path, vec![b'x'; (1 << 20) + 1]), 401).await);
    }
    for (text, headers) in &mut answers {
        headers.remove("date");
        assert_eq!(
            (text.as_str(), headers.len()),
            ("unauthorized\n", 2),
            "{headers:?}"
        );
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(world.stored().await, 0);
    expects(world.signed(&right, SECRET, "1", BODY), 200).await;
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_a_missing_one_is_policy() {
    for (unsigned, status, stored) in [
        (Unsigned::Confirm, 200, 1),
        (Unsigned::Accept, 200, 1),
        (Unsigned::Reject, 401, 0),
    ] {
        let receiver = config::Receiver {
            unsigned,
            ..config::Receiver::default()
        };
        let world = World::start(Setup {
            receiver,
            ..Setup::default()
        })
        .await;
        let path = path(NEW_KEY, &task("a"));
        let signed = |secret| world.signed(&path, secret, "1", BODY);
        expects(signed(OTHER_SECRET), 401).await;
        expects(signed(SECRET).body(format!("{BODY} ")), 401).await;
        expects(signed(SECRET).header("webhook-id", "2"), 401).await;
        expects(
            world
                .post(&path, BODY)
                .header("webhook-signature", "v1,AAAA"),
            401,
        )
        .await;
        let late = signed(SECRET);
        world.clock.set_offset_ms(301_000);
        expects(late, 401).await;
        world.clock.set_offset_ms(0);
        assert_eq!(world.stored().await, 0);
        expects(world.post(&path, BODY), status).await;
        assert_eq!(world.stored().await, stored);
    }
}

#[tokio::test]
async fn without_secrets_a_signature_means_nothing() {
    let world = World::start(Setup {
        secrets: &[],
        ..Setup::default()
    })
    .await;
    let (task, subject) = (task("a"), format!("kling.callback.v1.acme.{}", task("a")));
    expects(
        world.signed(&path(NEW_KEY, &task), OTHER_SECRET, "1", BODY),
        200,
    )
    .await;
    assert_eq!(world.last(&subject).await.0, "unsigned");
    expects(world.signed("/callbacks", OTHER_SECRET, "1", BODY), 401).await;
    expects(world.post("/callbacks", BODY), 401).await;
    assert_eq!(world.stored().await, 1);
}

#[tokio::test]
async fn the_bare_path_takes_signed_callbacks_only() {
    let world = World::start(Setup::default()).await;
    expects(world.post("/callbacks", BODY), 401).await;
    expects(world.signed("/callbacks", OTHER_SECRET, "1", BODY), 401).await;
    expects(world.signed("/callbacks", SECRET, "77", "{}"), 400).await;
    assert_eq!(world.stored().await, 0);
    let test = r#"{"id":"5","status":"submitted","message":"","outputs":[]}"#;
    let (text, _) = expects(world.signed("/callbacks", SECRET, "9876543210", test), 200).await;
    assert_eq!(text, "ok\n");
    let (proof, payload) = world.last("kling.callback.v1._account.9876543210").await;
    assert_eq!(
        (proof.as_str(), payload.as_slice()),
        ("signed", test.as_bytes())
    );
    // An id that cannot stand in a subject does not choose one.
    expects(world.signed("/callbacks", SECRET, "a.b.>", BODY), 200).await;
    assert_eq!(world.stored().await, 2);
}

#[tokio::test]
async fn what_is_no_callback_is_not_stored() {
    let world = World::start(Setup::default()).await;
    let path = path(NEW_KEY, &task("a"));
    for body in [
        "",
        "not JSON",
        "[]",
        "{}",
        r#"{"id":"1"}"#,
        r#"{"event":"video.completed"}"#,
    ] {
        let (text, _) = expects(world.signed(&path, SECRET, "1", body), 400).await;
        assert_eq!(text, "not a callback\n");
        expects(world.post(&path, body), 400).await;
    }
    assert_eq!(world.stored().await, 0);
}

#[tokio::test]
async fn a_body_has_a_size() {
    let world = World::start(Setup::default()).await;
    let path = path(NEW_KEY, &task("a"));
    let padded = |bytes: usize| BODY.to_owned() + &" ".repeat(bytes - BODY.len());
    let signed = |body: String| world.signed(&path, SECRET, "1", &body);
    let (text, _) = expects(signed(padded((1 << 20) + 1)), 413).await;
    assert_eq!(text, "too large\n");
    // Without a length, in pieces.
    let pieces: Vec<Result<String, std::io::Error>> = vec![Ok(padded(1 << 20)), Ok(" ".to_owned())];
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    expects(signed(BODY.to_owned()).body(stream), 413).await;
    assert_eq!(world.stored().await, 0);
    expects(signed(padded(1_000_000)), 200).await;
}

#[tokio::test]
async fn other_paths_and_methods_are_told_so() {
    let world = World::start(Setup::default()).await;
    let right = path(NEW_KEY, &task("a"));
    for path in ["/", "/callback", "/callbacksx", "/metrics"] {
        let (text, _) = expects(world.post(path, BODY), 404).await;
        assert_eq!(text, "not found\n");
    }
    for path in [right.as_str(), "/callbacks", "/callbacks/a/b/c/d"] {
        let (text, _) = expects(world.client.get(world.served.url(path)), 405).await;
        assert_eq!(text, "method not allowed\n");
    }
}

#[tokio::test]
async fn every_path_below_callbacks_is_a_right_proof_or_a_wrong_one() {
    let world = World::start(Setup::default()).await;
    let right = path(NEW_KEY, &task("a"));
    let below = right.strip_prefix("/callbacks/").unwrap();
    let (told, _) = expects(world.post(&format!("{right}x"), BODY), 401).await;
    for path in [
        "/callbacks/".to_owned(),
        "/callbacks/a".to_owned(),
        "/callbacks/a/b".to_owned(),
        "/callbacks/a/b/c/d".to_owned(),
        "/callbacks//".to_owned(),
        "/callbacks////".to_owned(),
        format!("{right}/"),
        format!("{right}//"),
        format!("{right}/x"),
        format!("/callbacks/x/{below}"),
        format!("/callbacks//{below}"),
        format!("/callbacks/{}", "x/".repeat(1_000)),
    ] {
        let (text, _) = expects(world.signed(&path, SECRET, "1", BODY), 401).await;
        assert_eq!(text, told, "{path}");
    }
    assert_eq!(world.stored().await, 0);
    // What follows a question mark is no part of the path.
    expects(
        world.signed(&format!("{right}?x=1"), SECRET, "1", BODY),
        200,
    )
    .await;
}

#[tokio::test]
async fn a_callback_that_cannot_be_stored_is_asked_for_again() {
    let receiver = config::Receiver {
        store_timeout: Duration::from_millis(300),
        ..config::Receiver::default()
    };
    let mut world = World::start(Setup {
        receiver,
        ..Setup::default()
    })
    .await;
    let path = path(NEW_KEY, &task("a"));
    world.node.kill();
    let (text, headers) = expects(world.signed(&path, SECRET, "1", BODY), 503).await;
    assert_eq!(
        (text.as_str(), &headers["retry-after"]),
        ("come again\n", &"10".parse().unwrap())
    );
    world.node.restart();
    broker::until(
        "the callback is stored",
        Duration::from_secs(30),
        async || {
            let answer = world.signed(&path, SECRET, "1", BODY).send().await.unwrap();
            answer.status() == 200
        },
    )
    .await;
    assert_eq!(world.stored().await, 1);
}

#[tokio::test]
async fn a_full_stream_is_no_success() {
    let setup = Setup {
        callbacks_max_bytes: 100_000,
        ..Setup::default()
    };
    let world = World::start(setup).await;
    let padded = BODY.to_owned() + &" ".repeat(60_000);
    expects(world.post(&path(NEW_KEY, &task("a")), padded.clone()), 200).await;
    expects(world.post(&path(NEW_KEY, &task("b")), padded), 503).await;
    assert_eq!(world.stored().await, 1);
}

#[tokio::test]
async fn bodies_in_hand_have_a_bound() {
    let receiver = config::Receiver {
        body_max_bytes: 4 << 10,
        bodies_max_bytes: 4 << 10,
        ..config::Receiver::default()
    };
    let world = World::start(Setup {
        receiver,
        ..Setup::default()
    })
    .await;
    let path = path(NEW_KEY, &task("a"));
    let mut slow = world.served.connect(b"http/1.1").await;
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4096\r\n\r\n{{");
    slow.write_all(head.as_bytes()).await.unwrap();
    // The first byte of the other is on its way: wait until it holds the room.
    broker::until("the room is taken", DEADLINE, async || {
        let answer = world.signed(&path, SECRET, "1", BODY).send().await.unwrap();
        answer.status() == 503 && answer.headers().contains_key("retry-after")
    })
    .await;
    // What strangers hold on the bare path takes nothing from the tasks, nor the reverse.
    expects(world.signed("/callbacks", SECRET, "1", BODY), 200).await;
    drop(slow);
    broker::until("the room is free", DEADLINE, async || {
        let answer = world.signed(&path, SECRET, "1", BODY).send().await.unwrap();
        answer.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_capability_is_never_logged() {
    let logs = Kept::default();
    let _guard = logs.install();
    let world = World::start(Setup::default()).await;
    let right = path(NEW_KEY, &task("a"));
    let proof = right.rsplit('/').next().unwrap().to_owned();
    expects(world.signed(&right, SECRET, "1", BODY), 200).await;
    expects(world.signed(&right, SECRET, "1", "not JSON"), 400).await;
    expects(world.signed(&right, OTHER_SECRET, "1", BODY), 401).await;
    expects(world.post(&right, BODY), 200).await;
    let wrong = right.replace("acme", "beta");
    expects(world.post(&wrong, BODY), 401).await;
    let text = logs.text();
    assert!(
        text.contains("come without a signature"),
        "the alarm is raised: {text}"
    );
    assert!(
        !text.contains(&proof) && !text.contains("/callbacks"),
        "{text}"
    );
}
