//! The folder in between.

use std::time::Duration;

use kling_relay::edge::fetch::Spool;

#[tokio::test]
async fn the_spool_is_bounded_and_cleaned() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 3 << 20).unwrap();
    // Another process that is alive, and one that is not.
    let alive = Spool::open(folder.path(), 1 << 20).unwrap();
    let dead = folder.path().join("dead");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join("0"), b"left").unwrap();
    let later = Spool::open(folder.path(), 1 << 20).unwrap();
    assert!(!dead.exists());
    assert!(spool.folder().exists() && alive.folder().exists() && later.folder().exists());
    // Room for one and a half files: the second waits for the first.
    let first = spool.reserve(2 << 20).await.unwrap();
    let second = tokio::spawn({
        let spool = spool.clone();
        async move { spool.reserve(2 << 20).await.unwrap() }
    });
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    drop(first);
    let second = tokio::time::timeout(Duration::from_secs(10), second)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(spool.free_bytes(), 1 << 20);
    drop(second);
    assert!(
        spool.reserve(4 << 20).await.is_err(),
        "it could never be granted"
    );
    let own = spool.folder().to_owned();
    drop(spool);
    assert!(!own.exists());
}
