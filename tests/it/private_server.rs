//! The private nats-server: started, kept, restarted, taken over, and its two accounts.

mod slow;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kling_relay::config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::log::Log;
use kling_relay::edge::nats::money::{Money, MoneyRules};
use kling_relay::edge::nats::server::{
    PrivateServer, ServerError, ServerFile, consumer_endpoint_of, endpoint_of, enter, fit_to_disk,
};
use kling_relay::edge::nats::{Broker, Credentials, Endpoint, topology};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use crate::broker::{config as small, free_port, open, program, until};
use crate::kit::{fresh_tasks, limits, video};

const SOON: Duration = Duration::from_secs(20);

fn settings() -> config::Nats {
    config::Nats {
        server_binary: Some(program().to_owned()),
        listen: ([127, 0, 0, 1], free_port()).into(),
        ..small(1)
    }
}

fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn is_alive(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    !line.is_empty()
}

fn pid_of(data_dir: &Path) -> u32 {
    ServerFile::read(data_dir)
        .and_then(|file| file.pid)
        .expect("a running server")
}

fn kill(signal: &str, pid: u32) {
    let sent = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

#[tokio::test]
async fn private_server_carries_the_log_and_stops_with_its_handle() {
    let (dir, nats, clock) = (tempdir(), settings(), Clock::system());
    let data_dir = dir.path().join("data");
    assert!(endpoint_of(&data_dir).is_none());
    let (server, endpoint) = PrivateServer::start(&data_dir, &nats, &clock)
        .await
        .expect("started");
    assert_eq!(endpoint.url, format!("nats://{}", nats.listen));
    let (_broker, log) = open(&endpoint, &nats).await;
    log.probe().await.expect("it takes writes");
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        let found = std::fs::metadata(path).expect("a file");
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode(&data_dir.join("nats.json")), 0o600);
    assert_eq!(mode(&data_dir.join("nats/nats-server.conf")), 0o600);
    let refused = PrivateServer::start(&data_dir, &nats, &clock).await;
    assert!(
        matches!(refused, Err(ServerError::InUse { .. })),
        "{refused:?}"
    );
    let (none, same) = enter(&data_dir, &nats, &clock)
        .await
        .expect("the running one");
    assert!(none.is_none());
    assert_eq!(same.url, endpoint.url);
    let pid = pid_of(&data_dir);
    server.stop().await;
    assert!(!is_alive(pid));
    assert!(endpoint_of(&data_dir).is_none());
    let passwords = |endpoint: &Endpoint| match &endpoint.credentials {
        Credentials::Password { password, .. } => password.expose_secret().to_owned(),
        Credentials::None | Credentials::File(_) => panic!("a password"),
    };
    // A dropped handle stops it as well; passwords stay.
    let (server, again) = PrivateServer::start(&data_dir, &nats, &clock)
        .await
        .expect("started");
    assert_eq!(passwords(&again), passwords(&endpoint));
    let pid = pid_of(&data_dir);
    drop(server);
    until("it stops with its handle", SOON, async || !is_alive(pid)).await;
}

#[tokio::test]
async fn killed_server_is_started_again_where_it_was() {
    let (dir, nats, clock) = (tempdir(), settings(), Clock::system());
    let (server, endpoint) = PrivateServer::start(dir.path(), &nats, &clock)
        .await
        .expect("started");
    let (_broker, log) = open(&endpoint, &nats).await;
    log.probe().await.expect("stored");
    let pid = pid_of(dir.path());
    kill("-KILL", pid);
    until("it is back", SOON, async || log.probe().await.is_ok()).await;
    assert!(
        log.last_sequence().await.expect("a broker") >= 2,
        "with its messages"
    );
    until("others are told", SOON, async || {
        ServerFile::read(dir.path())
            .and_then(|file| file.pid)
            .is_some_and(|new| new != pid)
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn taken_port_is_replaced_by_a_free_one() {
    let (dir, nats, clock) = (tempdir(), settings(), Clock::system());
    let _taken = std::net::TcpListener::bind(nats.listen).expect("it is free");
    let (server, endpoint) = PrivateServer::start(dir.path(), &nats, &clock)
        .await
        .expect("started");
    assert_ne!(endpoint.url, format!("nats://{}", nats.listen));
    open(&endpoint, &nats).await;
    server.stop().await;
}

#[tokio::test]
async fn orphan_is_stopped_and_its_store_taken_over() {
    let (dir, nats, clock) = (tempdir(), settings(), Clock::system());
    let (server, endpoint) = PrivateServer::start(dir.path(), &nats, &clock)
        .await
        .expect("started");
    let (_broker, log) = open(&endpoint, &nats).await;
    log.probe().await.expect("stored");
    server.stop().await;
    // As one that outlived its program and its keeper.
    let mut orphan = Command::new(program())
        .arg("-c")
        .arg(dir.path().join("nats/nats-server.conf"))
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let path = dir.path().join("nats.json");
    let text = std::fs::read_to_string(&path).expect("a file");
    let text = text.replace("\"pid\": null", &format!("\"pid\": {}", orphan.id()));
    std::fs::write(&path, text).expect("a file");
    until("the orphan works", SOON, async || log.probe().await.is_ok()).await;
    assert!(endpoint_of(dir.path()).is_some());
    let (server, same) = PrivateServer::start(dir.path(), &nats, &clock)
        .await
        .expect("started");
    assert!(
        orphan.try_wait().expect("our child").is_some(),
        "the orphan has ended"
    );
    assert_eq!(same.url, endpoint.url);
    until("the log is there", SOON, async || log.probe().await.is_ok()).await;
    assert!(log.last_sequence().await.expect("a broker") >= 3);
    server.stop().await;
}

/// Not a test: the program that `server_dies_with_a_killed_program` kills.
#[tokio::test]
#[ignore = "run by another test"]
async fn program_with_a_private_server() {
    let Some(data_dir) = std::env::var_os("KILLED_PROGRAM_DATA_DIR") else {
        return;
    };
    let started = PrivateServer::start(Path::new(&data_dir), &settings(), &Clock::system()).await;
    let _server = started.expect("started");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn server_dies_with_a_killed_program() {
    let (dir, nats, clock) = (tempdir(), settings(), Clock::system());
    let mut program = Command::new(std::env::current_exe().expect("ourselves"))
        .args([
            "--ignored",
            "--exact",
            "private_server::program_with_a_private_server",
        ])
        .env("KILLED_PROGRAM_DATA_DIR", dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    until("it runs", SOON, async || endpoint_of(dir.path()).is_some()).await;
    let pid = pid_of(dir.path());
    program.kill().expect("our own child");
    program.wait().expect("our own child");
    until("the server stops too", SOON, async || !is_alive(pid)).await;
    assert!(endpoint_of(dir.path()).is_none());
    let (server, _) = PrivateServer::start(dir.path(), &nats, &clock)
        .await
        .expect("started");
    server.stop().await;
}

/// Enters as a consumer whose client is not ours: no inbox prefix, no options. Also counts what
/// the server forbids it.
async fn consumer_client(data_dir: &Path) -> (async_nats::Client, Arc<AtomicUsize>) {
    let Endpoint { url, credentials } = consumer_endpoint_of(data_dir).expect("running");
    let Credentials::Password { user, password } = credentials else {
        panic!("a password");
    };
    let denied = Arc::new(AtomicUsize::new(0));
    let counter = denied.clone();
    let client = async_nats::ConnectOptions::new()
        .user_and_password(user, password.expose_secret().to_owned())
        .event_callback(move |event| {
            let text = event.to_string().to_lowercase();
            counter.fetch_add(
                usize::from(text.contains("permissions violation")),
                Ordering::SeqCst,
            );
            std::future::ready(())
        })
        .connect(url)
        .await;
    (client.expect("it may enter"), denied)
}

#[tokio::test]
async fn consumer_account_cannot_write() {
    let (dir, nats, clock) = (tempdir(), settings(), Clock::system());
    let (server, endpoint) = PrivateServer::start(dir.path(), &nats, &clock)
        .await
        .expect("started");
    let (_broker, log) = open(&endpoint, &nats).await;
    let (client, denied) = consumer_client(dir.path()).await;
    let before = log.last_sequence().await.expect("a broker");
    let forbidden = [
        "kling.v1.acme.task.acme_0000000000000000000000000a.failed",
        "kling.v1.acme.ledger.2026-11-21",
        "kling.v1.acme.budget.2026-11-21.alert",
        "kling.callback.v1.acme.x",
        "kling.dead.v1.x.acme.x",
        "$JS.API.STREAM.DELETE.KLING",
        "$JS.API.CONSUMER.MSG.NEXT.KLING.accountant",
        "$JS.ACK.KLING.accountant.1.1.1.1.1",
    ];
    for (index, subject) in forbidden.iter().enumerate() {
        let sent = client.publish(*subject, "{}".into()).await;
        sent.expect("the client lets it through");
        client.flush().await.expect("a connection");
        until(subject, SOON, async || {
            denied.load(Ordering::SeqCst) > index
        })
        .await;
    }
    let after = log.last_sequence().await.expect("a broker");
    assert_eq!(after, before, "nothing was stored");
    for subject in ["kling.v1.*.submit", "_INBOX_kling_relay.>"] {
        let counted = denied.load(Ordering::SeqCst);
        let _listening = client
            .subscribe(subject)
            .await
            .expect("the client lets it through");
        until(subject, SOON, async || {
            denied.load(Ordering::SeqCst) > counted
        })
        .await;
    }
    server.stop().await;
}

#[tokio::test]
async fn consumer_account_reads_through_a_consumer_of_its_own() {
    let (dir, nats, clock) = (tempdir(), settings(), Clock::system());
    let (server, endpoint) = PrivateServer::start(dir.path(), &nats, &clock)
        .await
        .expect("started");
    let (_broker, log) = open(&endpoint, &nats).await;
    let (client, _) = consumer_client(dir.path()).await;
    let money = Money::start(log, MoneyRules::new(limits(10)), CancellationToken::new()).await;
    let accepted = money
        .expect("a writer")
        .accept(fresh_tasks(1, video(1)), SOON)
        .await;
    accepted.expect("accepted");
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream(topology::LOG).await;
    let config = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("theirs".to_owned()),
        filter_subject: "kling.v1.*.task.*.requested".to_owned(),
        ..Default::default()
    };
    let consumer = stream.expect("it may look").create_consumer(config).await;
    let consumer = consumer.expect("it may have consumers of its own");
    let mut messages = consumer.messages().await.expect("messages");
    let message = tokio::time::timeout(SOON, messages.next()).await;
    let message = message.expect("in time").expect("one").expect("a message");
    message
        .double_ack()
        .await
        .expect("it may acknowledge its own");
    server.stop().await;
}

#[tokio::test]
async fn missing_program_says_what_to_do() {
    let dir = tempdir();
    let old = dir.path().join("old");
    std::fs::write(&old, "#!/bin/sh\necho nats-server: v2.14.3\n").expect("a file");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&old, executable).expect("a file");
    let nats = config::Nats {
        server_binary: Some(old),
        ..settings()
    };
    match PrivateServer::start(dir.path(), &nats, &Clock::system()).await {
        // A new enough one on PATH or in .local/bin is taken instead.
        Ok((server, _)) => server.stop().await,
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains("2.14.3") && text.contains("install.sh"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn bounds_beyond_the_disk_are_refused_and_can_be_lowered() {
    let dir = tempdir();
    let mut nats = config::Nats {
        log_max_bytes: 1 << 60,
        ..settings()
    };
    let refused = PrivateServer::start(dir.path(), &nats, &Clock::system()).await;
    assert!(
        matches!(refused, Err(ServerError::DiskTooSmall { .. })),
        "{refused:?}"
    );
    assert!(fit_to_disk(&mut nats, dir.path()));
    assert!(nats.log_max_bytes > 0 && nats.log_max_bytes < 1 << 60);
    let started = PrivateServer::start(dir.path(), &nats, &Clock::system()).await;
    let (server, endpoint) = started.expect("it fits now");
    let (_broker, _log): (Broker, Log) = open(&endpoint, &nats).await;
    server.stop().await;
}
