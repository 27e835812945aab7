//! A disk that fills up under the private server, and room that is made again: no success that is
//! not stored, and nobody has to restart anything. Only root may mount a small disk; files that may
//! not grow are the same to the server, but for the wait until there is room.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kling_relay::config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::callbacks::CallbackToStore;
use kling_relay::edge::nats::log::Log;
use kling_relay::edge::nats::server::{PrivateServer, ServerFile};
use kling_relay::model::observation::Proof;
use tokio_util::sync::CancellationToken;

use crate::broker::{config as small, free_port, limit_files, open, program, until};

const DEADLINE: Duration = Duration::from_secs(60);

/// A small disk in memory; it goes with the value.
struct Disk(PathBuf);

impl Disk {
    /// None where we may not have one: only root may.
    fn mount(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=200m", "tmpfs"])
            .arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    fn fill(&self) {
        use std::io::Write;
        let mut filler = std::fs::File::create(self.0.join("filler")).unwrap();
        let block = vec![0; 64 << 10];
        // Until there is no room for another block.
        while filler.write_all(&block).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A lazy one: the server may still be on its way out.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn store(log: &Log, n: usize) -> bool {
    let stored = log.store_callback(CallbackToStore {
        tenant: "acme".to_owned(),
        task: format!("task-{n}"),
        body: vec![b'x'; 20_000].into(),
        proof: Proof::Signed,
        received_at: Clock::system().now(),
        webhook_id: None,
    });
    stored.await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_full_is_written_to_again_without_a_hand() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::mount(dir.path());
    fills_up(dir.path(), disk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_could_not_grow_are_written_to_again_without_a_hand() {
    let dir = tempfile::tempdir().unwrap();
    fills_up(dir.path(), None).await;
}

/// Fills the disk, or else lets the running server's files grow no more.
#[expect(clippy::print_stderr, reason = "a failed run shows what it measured")]
async fn fills_up(dir: &Path, disk: Option<Disk>) {
    let clock = Clock::system();
    let nats = config::Nats {
        server_binary: Some(program().to_owned()),
        listen: ([127, 0, 0, 1], free_port()).into(),
        log_max_bytes: 32 << 20,
        callbacks_max_bytes: 32 << 20,
        dead_max_bytes: 8 << 20,
        replay_max_bytes: 8 << 20,
        commit_timeout: Duration::from_millis(700),
        ..small(1)
    };
    let data_dir = dir.join("data");
    let started = PrivateServer::start(&data_dir, &nats, &clock).await;
    let (server, endpoint) = started.unwrap();
    let (broker, log) = open(&endpoint, &nats).await;
    let stop = CancellationToken::new();
    let writes = server.writes(log.clone(), clock.clone());
    tokio::spawn(writes.keep(stop.clone()));
    log.probe().await.unwrap();

    match &disk {
        Some(disk) => disk.fill(),
        None => limit_files(ServerFile::read(&data_dir).unwrap().pid.unwrap(), true),
    }
    let mut stored = Vec::new();
    let mut n = 0;
    until("nothing is stored any more", DEADLINE, async || {
        n += 1;
        match store(&log, n).await {
            true => stored.push(n),
            false => return log.probe().await.is_err(),
        }
        false
    })
    .await;
    // The next server's files may grow.
    disk.iter().for_each(Disk::make_room);
    let room = Instant::now();
    until("it is written to again", DEADLINE, async || {
        log.probe().await.is_ok()
    })
    .await;
    eprintln!(
        "{} were stored; back {:?} after there was room",
        stored.len(),
        room.elapsed()
    );
    assert!(store(&log, 0).await);
    let stream = broker
        .jetstream()
        .get_stream("KLING_CALLBACKS")
        .await
        .unwrap();
    for n in stored {
        let subject = format!("kling.callback.v1.acme.task-{n}");
        let found = stream.get_last_raw_message_by_subject(&subject).await;
        assert!(found.is_ok(), "{n} was acknowledged and is gone");
    }
    stop.cancel();
    server.stop().await;
}
