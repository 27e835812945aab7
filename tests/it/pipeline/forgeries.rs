//! Somebody who knows a path, or thinks so.

use std::net::TcpListener;
use std::time::Duration;

use futures::StreamExt;
use kling_relay::model::ids::TaskId;
use kling_relay::model::task::Status;
use kling_relay::sim::{Control, Forgery, ForgeryKind};

use crate::world::{Expected, Options, World, legacy_video, video};

/// Where nobody should ever come.
struct Trap(TcpListener);

impl Trap {
    fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        format!(
            "https://localhost:{}/forged.mp4",
            self.0.local_addr().unwrap().port()
        )
    }

    fn must_be_empty(&self) {
        let caught = self.0.accept();
        assert!(caught.is_err(), "a forged address was fetched");
    }
}

async fn forge(control: &Control, kind: ForgeryKind, id: &TaskId, trap: &Trap) -> String {
    let forgery = Forgery {
        kind,
        external_id: Some(id.to_string()),
        url: None,
        video_url: trap.url(),
    };
    control.forge(&forgery).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_forgeries_moves_nothing_and_asks_nothing() {
    let world = World::start(Options::default()).await;
    let mut requests = vec![video("slow=2s"), legacy_video("slow=2s")];
    requests.extend((0..8).map(|_| video("")));
    let ids = world.submit_all(&requests).await;
    for id in &ids[..2] {
        world.reaches(id, Status::Submitted).await;
    }
    let (trap, control) = (Trap::set(), world.control());
    let kinds = [
        ForgeryKind::BadPath,
        ForgeryKind::SignedBadPath,
        ForgeryKind::BadSignature,
        ForgeryKind::Stale,
    ];
    let targets = (0..400).map(|n| (kinds[n % 4], &ids[n / 4 % 2]));
    let posts = targets.map(|(kind, id)| forge(&control, kind, id, &trap));
    let answers: Vec<String> = futures::stream::iter(posts)
        .buffer_unordered(50)
        .collect()
        .await;
    let refused = answers.iter().filter(|answer| *answer == "401").count();
    assert_eq!(refused, 400, "{:?}", world.stats().callbacks.forged);
    let ended = world.finished(&ids).await;
    assert!(ended.values().all(|task| task.status == Status::Succeeded));
    trap.must_be_empty();
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 0, "{:?}", stats.queries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_path_buys_one_question_in_ten_seconds_and_nothing_else() {
    let world = World::start(Options::default()).await;
    let id = world.submit(&video("stuck")).await;
    world.reaches(&id, Status::Processing).await;
    let (trap, control) = (Trap::set(), world.control());
    let flood = (0..50).map(|_| forge(&control, ForgeryKind::Unsigned, &id, &trap));
    let answers = futures::future::join_all(flood).await;
    let stored = answers.iter().filter(|answer| *answer == "200").count();
    let waits = answers.iter().filter(|answer| *answer == "429").count();
    assert_eq!(stored + waits, 50, "{answers:?}");
    assert!((1..=10).contains(&stored), "{answers:?}");
    // The broker delivers the rest again after ten seconds; one asks, the others are covered by it.
    let asked = async || world.stats().queries.total();
    crate::broker::until("one question", Duration::from_secs(5), async || {
        asked().await > 0
    })
    .await;
    assert_eq!(asked().await, 1);
    world.drained().await;
    assert!(asked().await <= 2, "{} questions", asked().await);
    assert_eq!(world.task(&id).await.status, Status::Processing);
    trap.must_be_empty();
    assert!(control.finish(id.as_str()));
    let ended = world.finished(std::slice::from_ref(&id)).await;
    assert_eq!(ended[&id].status, Status::Succeeded);
    trap.must_be_empty();
    world.stop(Expected::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_kling_refuses_is_not_asked_again_at_once() {
    let world = World::start(Options::default()).await;
    let id = world.submit(&video("stuck,lookup=1304x50")).await;
    world.reaches(&id, Status::Processing).await;
    let (trap, control) = (Trap::set(), world.control());
    for _ in 0..8 {
        forge(&control, ForgeryKind::Unsigned, &id, &trap).await;
    }
    let asked = async || world.stats().queries.total() > 0;
    crate::broker::until("one question", Duration::from_secs(5), asked).await;
    // After the end nobody asks any more.
    assert!(control.finish(id.as_str()));
    world.finished(std::slice::from_ref(&id)).await;
    trap.must_be_empty();
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.queries.total(), 1, "{:?}", stats.queries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_callback_about_another_task_is_set_aside() {
    let world = World::start(Options::default()).await;
    let id = world.submit(&video("stuck")).await;
    world.reaches(&id, Status::Processing).await;
    let (trap, control) = (Trap::set(), world.control());
    forge(&control, ForgeryKind::OtherTask, &id, &trap).await;
    world.drained().await;
    assert_eq!(world.task(&id).await.status, Status::Processing);
    assert!(control.finish(id.as_str()));
    world.finished(&[id]).await;
    trap.must_be_empty();
    let stats = world
        .stop(Expected {
            dead_letters: 1,
            ..Expected::default()
        })
        .await;
    assert_eq!(stats.queries.total(), 0, "{:?}", stats.queries);
}
