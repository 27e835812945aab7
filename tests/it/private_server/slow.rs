//! A server that takes its time: to start, and to end.

use std::path::Path;
use std::process::Command;

use kling_relay::config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::server::PrivateServer;

use super::{SOON, kill, pid_of, settings, tempdir};
use crate::broker::{program, until};

/// A server that never becomes ready while there is a file `slow` beside it, makes a file `waits`
/// then, and takes its time to end.
const SLOW_SERVER: &str = r#"
cat > "$1" <<'END'
#!/bin/sh
if [ "$1" = --version ] || [ ! -e "${0%/*}/slow" ]; then exec "$SERVER" "$@"; fi
trap '' TERM
: > "${0%/*}/waits"
sleep 2
: > "${0%/*}/ended"
END
sed -i "s|\$SERVER|$2|" "$1"
chmod +x "$1"
"#;

/// Makes that server, slow or not yet.
fn slow_server(dir: &Path, is_slow: bool) -> config::Nats {
    let binary = dir.join("server");
    // Written by another program: Linux runs no file that one of ours has open for writing, and a
    // program that another test starts at that moment has it open.
    let mut write = Command::new("sh");
    write.args(["-c", SLOW_SERVER, "sh"]).arg(&binary);
    assert!(write.arg(program()).status().expect("sh runs").success());
    if is_slow {
        std::fs::write(dir.join("slow"), "").expect("a file");
    }
    config::Nats {
        server_binary: Some(binary),
        ..settings()
    }
}

#[tokio::test]
async fn server_that_was_left_behind_while_it_started_ends_before_the_next_one() {
    let (dir, clock) = (tempdir(), Clock::system());
    let nats = slow_server(dir.path(), true);
    let waits = dir.path().join("waits");
    tokio::select! {
        started = PrivateServer::start(dir.path(), &nats, &clock) => panic!("{started:?}"),
        () = until("it starts", SOON, async || waits.exists()) => {}
    }
    std::fs::remove_file(dir.path().join("slow")).expect("a file");
    let started = PrivateServer::start(dir.path(), &nats, &clock).await;
    let there_were_two = !dir.path().join("ended").exists();
    started.expect("the next may start").0.stop().await;
    assert!(!there_were_two);
}

#[tokio::test]
async fn stop_does_not_wait_for_a_server_that_is_being_started_again() {
    let (dir, clock) = (tempdir(), Clock::system());
    let nats = slow_server(dir.path(), false);
    let (server, _) = PrivateServer::start(dir.path(), &nats, &clock)
        .await
        .expect("started");
    std::fs::write(dir.path().join("slow"), "").expect("a file");
    kill("-KILL", pid_of(dir.path()));
    let waits = dir.path().join("waits");
    until("it is started again", SOON, async || waits.exists()).await;
    let stopped = tokio::time::timeout(SOON, server.stop()).await;
    stopped.expect("it stops although the server is not ready");
    std::fs::remove_file(dir.path().join("slow")).expect("a file");
    let started = PrivateServer::start(dir.path(), &nats, &clock).await;
    started.expect("the next may start").0.stop().await;
}
