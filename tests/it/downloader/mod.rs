//! `succeeded` to storage and `stored`, on a real broker.

mod world;

use std::time::Duration;

use jiff::Timestamp;
use kling_relay::model::event::EventKind;
use kling_relay::stage::downloader::Gate;
use kling_relay::stage::runner::Outcome;
use url::Url;

use self::world::{PNG, World, output};
use crate::download::hostile::Reply;

fn image(base: &str, name: &str) -> kling_relay::model::observation::Output {
    output("image", &format!("{base}/{name}?Signature=SECRET"))
}

#[track_caller]
fn check_set_aside(outcome: &Outcome, world: &World, words: &[&str]) {
    let Outcome::SetAside(reason) = outcome else {
        panic!("expected it to be set aside: {outcome:?}");
    };
    assert!(reason.contains(world.task_id.as_str()), "{reason}");
    assert!(!reason.contains("SECRET"), "{reason}");
    for word in words {
        assert!(reason.contains(word), "{word:?} is not in {reason:?}");
    }
}

#[tokio::test]
async fn every_output_is_stored_and_said_once() {
    let world =
        World::new(|base| vec![image(base, "1"), output("element", ""), image(base, "3")]).await;
    let other = [PNG, b"other"].concat();
    // Two at once over one address: each may get either answer.
    world.cdn.push(Reply::ok(&[], PNG));
    world.cdn.push(Reply::ok(&[], &other));
    assert_eq!(world.handle(1).await, Outcome::Done);
    let task = world.task().await;
    let places: Vec<_> = task
        .assets
        .iter()
        .map(|a| a.key.split('/').nth(2).unwrap())
        .collect();
    assert!(
        places[0].starts_with("1-") && places[1].starts_with("3-"),
        "{places:?}"
    );
    for asset in &task.assets {
        assert_eq!(asset.media_type, "image/png");
        let file = Url::parse(&asset.uri).unwrap().to_file_path().unwrap();
        assert_eq!(std::fs::read(file).unwrap().len() as u64, asset.bytes);
    }
    assert!(task.relay.stored_at.is_some());
    let said = world.last(EventKind::Stored).await.unwrap();
    assert!(!String::from_utf8_lossy(&said.payload).contains("SECRET"));
    // Delivered again: nothing is asked, nothing is said.
    assert_eq!(world.handle(2).await, Outcome::Done);
    assert_eq!(world.last(EventKind::Stored).await.unwrap().seq, said.seq);
    assert!(world.kling.asked().is_empty());
    assert_eq!(
        std::fs::read_dir(world.folder.path().join("spool"))
            .unwrap()
            .count(),
        2
    );
}

#[tokio::test]
async fn a_task_without_files_is_stored_without_assets() {
    let world = World::new(|_| vec![output("element", "")]).await;
    assert_eq!(world.handle(1).await, Outcome::Done);
    let task = world.task().await;
    assert!(task.assets.is_empty() && task.relay.stored_at.is_some());
}

#[tokio::test]
async fn two_at_once_say_it_once() {
    let world = World::new(|base| vec![image(base, "1")]).await;
    world.cdn.push(Reply::ok(&[], PNG));
    world.cdn.push(Reply::ok(&[], PNG));
    let (one, other) = tokio::join!(world.handle(1), world.handle(1));
    assert_eq!((one, other), (Outcome::Done, Outcome::Done));
    let history = world.log.history(&world.task_id).await.unwrap();
    let said = history
        .iter()
        .filter(|event| event.subject.ends_with(".stored"))
        .count();
    assert_eq!(said, 1);
}

#[tokio::test]
async fn an_address_that_is_gone_is_replaced_by_asking_kling_once() {
    let world = World::new(|base| vec![image(base, "old"), image(base, "gone")]).await;
    world
        .cdn
        .push(Reply::new("403 Forbidden", &[], b"").length(0));
    world
        .cdn
        .push(Reply::new("404 Not Found", &[], b"").length(0));
    world.cdn.push(Reply::ok(&[], PNG));
    world.cdn.push(Reply::ok(&[], PNG));
    world.kling_says(&[world.cdn.url("/new"), world.cdn.url("/newer")]);
    assert_eq!(world.handle(1).await, Outcome::Done);
    let mut paths: Vec<_> = world
        .cdn
        .asked()
        .iter()
        .map(|a| a.path().to_owned())
        .collect();
    paths[..2].sort();
    paths[2..].sort();
    assert_eq!(
        paths,
        [
            "/gone?Signature=SECRET",
            "/old?Signature=SECRET",
            "/new",
            "/newer"
        ]
    );
    assert_eq!(world.kling.asked().len(), 1);
    assert_eq!(world.task().await.assets.len(), 2);
}

#[tokio::test]
async fn fresh_addresses_that_are_gone_too_are_tried_later() {
    let world = World::new(|base| vec![image(base, "1")]).await;
    world
        .cdn
        .push(Reply::new("403 Forbidden", &[], b"").length(0));
    world
        .cdn
        .push(Reply::new("403 Forbidden", &[], b"").length(0));
    world.kling_says(&[world.cdn.url("/2")]);
    assert!(matches!(world.handle(1).await, Outcome::Retry(_)));
    // Kling is out of reach.
    world
        .cdn
        .push(Reply::new("403 Forbidden", &[], b"").length(0));
    world.kling.push(Reply::new("500 E", &[], b"").length(0));
    assert!(matches!(world.handle(2).await, Outcome::Retry(_)));
    assert!(world.task().await.relay.stored_at.is_none());
}

#[tokio::test]
async fn what_kling_no_longer_offers_is_set_aside() {
    let world = World::new(|base| vec![image(base, "1"), output("image", "")]).await;
    world.cdn.push(Reply::ok(&[], PNG));
    world.kling_says(&[world.cdn.url("/1")]);
    check_set_aside(
        &world.handle(1).await,
        &world,
        &["output 2 (image)", "no longer offers"],
    );
    assert!(world.task().await.relay.stored_at.is_none());
}

#[tokio::test]
async fn a_forbidden_address_is_set_aside_without_a_call() {
    let world = World::new(|_| vec![output("video", "https://evil.test/SECRET?x")]).await;
    check_set_aside(
        &world.handle(1).await,
        &world,
        &["evil.test", "storage.allowed_hosts"],
    );
    assert!(world.kling.asked().is_empty() && world.cdn.asked().is_empty());
}

#[tokio::test]
async fn wrong_content_is_tried_again_before_it_is_set_aside() {
    let world = World::new(|base| vec![image(base, "1")]).await;
    for delivered in 1..=3 {
        world.cdn.push(Reply::ok(&[], b"<html></html>"));
        let outcome = world.handle(delivered).await;
        if delivered < 3 {
            assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
        } else {
            check_set_aside(&outcome, &world, &["localhost", "text/html"]);
        }
    }
}

#[tokio::test]
async fn a_servers_wish_for_a_later_try_is_heeded() {
    let world = World::new(|base| vec![image(base, "1")]).await;
    world
        .cdn
        .push(Reply::new("503 E", &["Retry-After: 90"], b"").length(0));
    match world.handle(1).await {
        Outcome::RetryAt(wait, _) => assert_eq!(wait, Duration::from_secs(90)),
        other => panic!("{other:?}"),
    }
    world
        .cdn
        .push(Reply::new("503 E", &["Retry-After: 999999"], b"").length(0));
    match world.handle(1).await {
        Outcome::RetryAt(wait, _) => assert_eq!(wait, Duration::from_secs(600)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_expires_first_gets_the_next_turn() {
    let gate = Gate::new(1);
    let at = |second| Timestamp::from_second(second).unwrap();
    let first = gate.enter(at(900)).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut waiting = Vec::new();
    for expires in [500, 100, 300, 200] {
        let (gate, tell) = (gate.clone(), tell.clone());
        waiting.push(tokio::spawn({
            let gate = gate.clone();
            async move {
                let turn = gate.enter(at(expires)).await;
                tell.send(expires).unwrap();
                drop(turn);
            }
        }));
        let known = waiting.len();
        crate::broker::until("it waits", Duration::from_secs(5), async || {
            gate.waiting() == known
        })
        .await;
    }
    // One that has given up must not swallow a turn.
    waiting[3].abort();
    assert!(waiting.pop().unwrap().await.unwrap_err().is_cancelled());
    drop(first);
    let all = futures::future::join_all(waiting);
    tokio::time::timeout(Duration::from_secs(5), all)
        .await
        .expect("every turn is passed on");
    let order = [told.recv().await, told.recv().await, told.recv().await];
    assert_eq!(order, [Some(100), Some(300), Some(500)]);
    // The turn is free again.
    let again = tokio::time::timeout(Duration::from_secs(5), gate.enter(at(1))).await;
    assert!(again.is_ok());
}
