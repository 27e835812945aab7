//! Callbacks that an attacker would send.

use kling_relay::sim::{Forgery, ForgeryKind};

use super::World;
use super::callbacks::verifies;

#[tokio::test]
async fn forgeries_look_real_and_are_not() {
    let world = World::start().await;
    world.create("target-0123456789", "").await;
    world.ended("target-0123456789").await;
    let genuine = world.receiver.all().len();
    let video_url = "https://attacker.example/x.mp4".to_owned();
    let forge = async |kind| {
        let forgery = Forgery {
            kind,
            external_id: None,
            url: None,
            video_url: video_url.clone(),
        };
        assert_eq!(world.control.forge(&forgery).await.unwrap(), "200");
        world.receiver.all().pop().unwrap()
    };
    let real = "/target-0123456789";
    for (kind, real_path, good_signature) in [
        (ForgeryKind::BadPath, false, false),
        (ForgeryKind::SignedBadPath, false, true),
        (ForgeryKind::BadSignature, true, false),
        (ForgeryKind::Unsigned, true, false),
        (ForgeryKind::Stale, true, false),
        (ForgeryKind::OtherTask, true, true),
        (ForgeryKind::NotJson, true, false),
        (ForgeryKind::NoShape, true, false),
    ] {
        let received = forge(kind).await;
        assert_eq!(received.path == real, real_path, "{kind:?}");
        assert_eq!(received.path.len(), real.len(), "{kind:?}");
        assert_eq!(
            verifies(super::SECRET, &received),
            good_signature,
            "{kind:?}"
        );
        let claims = String::from_utf8_lossy(&received.body).contains(&video_url);
        assert_eq!(
            claims,
            !matches!(kind, ForgeryKind::NotJson | ForgeryKind::NoShape)
        );
    }
    let other = forge(ForgeryKind::OtherTask).await.json();
    assert_ne!(other["external_id"], "target-0123456789");
    let stats = world.control.stats().callbacks;
    assert_eq!(stats.forged["other-task"]["200"], 2);
    assert_eq!(
        stats.attempts as usize, genuine,
        "forgeries are counted apart"
    );
    let nobody = Forgery {
        kind: ForgeryKind::Unsigned,
        external_id: Some("nobody".to_owned()),
        url: None,
        video_url,
    };
    assert!(world.control.forge(&nobody).await.is_err());
}
