//! A replay that is stopped, however that happens, goes on where it was: nothing twice, nothing
//! missing, as long as anybody knows of it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::Broker;
use kling_relay::edge::nats::callbacks::CallbackToStore;
use kling_relay::edge::nats::log::{Log, ReadFrom};
use kling_relay::edge::nats::record::Recorded;
use kling_relay::model::audit::{Audit, AuditState};
use kling_relay::model::observation::Proof;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{Place, Said, WITHIN};
use crate::broker::{Node, api, config, open, signal, until};

const SLOW: &str = "replay --consumer completer --from-sequence 1 --rate 20 --reason x --who olga";

/// A broker that no service works on, with as many callbacks as were asked for.
pub(super) struct Stand {
    pub(super) broker: Broker,
    pub(super) log: Log,
    node: Node,
    place: Place,
}

impl Stand {
    pub(super) async fn start(callbacks: u64, body_bytes: usize) -> Self {
        let node = Node::start();
        let (broker, log) = open(&node.endpoint(), &config(1)).await;
        let all = futures::stream::iter(0..callbacks);
        all.for_each_concurrent(8, async |n| {
            let body = json!({ "n": n, "padding": "x".repeat(body_bytes) }).to_string();
            let callback = CallbackToStore {
                tenant: "acme".to_owned(),
                task: format!("t{n}"),
                body: body.into(),
                proof: Proof::Signed,
                received_at: Clock::system().now(),
                webhook_id: None,
            };
            // As Kling, which calls again when it is not answered in time.
            let stored = async || log.store_callback(callback.clone()).await.is_ok();
            until("a callback is stored", WITHIN, stored).await;
        })
        .await;
        Self {
            broker,
            log,
            node,
            place: Place::new(),
        }
    }

    pub(super) fn command(&self, line: &str) -> Command {
        let arguments: Vec<&str> = line.split(' ').collect();
        let mut command = self.place.command(&arguments);
        command
            .env("KLING_RELAY_NATS__URL", self.node.endpoint().url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut command = Command::from(command);
        command.kill_on_drop(true);
        command
    }

    pub(super) async fn run(&self, line: &str) -> Said {
        let output = self.command(line).output();
        let output = tokio::time::timeout(WITHIN, output).await;
        output.expect("it ends").expect("it starts").into()
    }

    /// Reads what has been delivered again and is still kept, in order.
    pub(super) async fn delivered(&self) -> Vec<Recorded> {
        let stream = self.broker.jetstream().get_stream("KLING_REPLAY").await;
        let stream = stream.expect("the stream");
        let state = &stream.cached_info().state;
        let mut found = Vec::new();
        for seq in state.first_sequence.max(1)..=state.last_sequence {
            let message = stream.get_raw_message(seq).await.expect("a message");
            found.push(Recorded::from(message));
        }
        found
    }

    pub(super) async fn audits(&self, id: &str) -> Vec<Audit> {
        let audits = self.log.audits(id, ReadFrom::Sequence(1)).await;
        audits.expect("the records")
    }

    async fn kept(&self) -> u64 {
        let info = api(&self.broker, "STREAM.INFO.KLING_REPLAY").await;
        info.and_then(|info| info["state"]["messages"].as_u64())
            .expect("a number")
    }

    pub(super) async fn has_delivered(&self, count: u64) {
        until("some are delivered", WITHIN, async || {
            self.kept().await >= count
        })
        .await;
    }

    /// What a day does, or an operator.
    async fn purge(&self) {
        let purged = api(&self.broker, "STREAM.PURGE.KLING_REPLAY").await;
        purged.expect("it is purged");
    }
}

/// A replay under way, and how to go on with it, as it says before anything is delivered.
struct Begun {
    child: Child,
    stderr: BufReader<tokio::process::ChildStderr>,
    id: String,
    go_on: String,
}

impl Begun {
    async fn start(stand: &Stand, line: &str) -> Self {
        let mut child = stand.command(line).spawn().expect("it starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut first = String::new();
        let read = tokio::time::timeout(WITHIN, stderr.read_line(&mut first)).await;
        read.expect("in time").expect("text");
        let (begun, go_on) = first
            .trim_end()
            .split_once(" begun; if it is stopped: kling-relay ")
            .unwrap_or_else(|| panic!("it says how to go on: {first:?}"));
        let id = begun.rsplit(' ').next().expect("an id").to_owned();
        Self {
            child,
            stderr,
            id,
            go_on: go_on.to_owned(),
        }
    }

    fn signal(&self, name: &str) {
        signal(name, self.child.id().expect("it runs"));
    }

    /// Returns the exit code and what it said.
    async fn ended(&mut self) -> (Option<i32>, String) {
        let ended = tokio::time::timeout(WITHIN, self.child.wait()).await;
        let ended = ended.expect("in time").expect("our own child");
        let mut said = String::new();
        let read = self.stderr.read_to_string(&mut said).await;
        read.expect("text");
        (ended.code(), said)
    }
}

fn first_sequences(delivered: &[Recorded]) -> Vec<u64> {
    let sequences = delivered.iter().map(Recorded::first_sequence);
    sequences.collect::<Option<_>>().expect("each says its own")
}

#[tokio::test]
async fn a_stopped_replay_goes_on_where_it_stopped() {
    for (name, code) in [("-INT", Some(1)), ("-TERM", Some(1)), ("-KILL", None)] {
        let stand = Stand::start(60, 0).await;
        let mut replay = Begun::start(&stand, SLOW).await;
        stand.has_delivered(10).await;
        replay.signal(name);
        let (ended, said) = replay.ended().await;
        assert_eq!(ended, code, "{name}: {said}");
        let before = stand.delivered().await.len() as u64;
        assert!(before < 60, "{name}");
        let newest = stand.audits(&replay.id).await.pop().expect("a record");
        if code.is_some() {
            assert!(said.contains(&replay.go_on), "{said}");
            assert_eq!(newest.state, AuditState::Interrupted);
            // The last may have been stored and not acknowledged any more.
            let last = newest.last_sequence.expect("it is recorded");
            assert!((before - 1..=before).contains(&last), "{last} of {before}");
        } else {
            assert_eq!(newest.state, AuditState::Begun, "it could not say more");
        }

        // A record of a newer version, of something that is not known here.
        let subject = "kling.v1._account.audit.2026-11-21";
        let client = stand.broker.client();
        client.request(subject, "{}".into()).await.expect("stored");
        let go_on = format!("{} --rate 10000 --json", replay.go_on);
        let rest = stand.run(&go_on).await.json();
        assert_eq!(rest["replay"], replay.id);
        assert_eq!(rest["delivered"], 60 - before, "{rest}");
        let all = stand.delivered().await;
        assert_eq!(first_sequences(&all), (1..=60).collect::<Vec<u64>>());
        let own = |message: &Recorded| message.replay() == Some(&replay.id);
        assert!(all.iter().all(own));
        let newest = stand.audits(&replay.id).await.pop().expect("a record");
        let end = (newest.state, newest.last_sequence);
        assert_eq!(end, (AuditState::Ended, Some(60)));
        stand.run(&go_on).await.is(1, "has ended");
    }
}

#[tokio::test]
async fn more_than_the_stream_holds_is_delivered_in_parts() {
    let stand = Stand::start(40, 900_000).await;
    let small = "16777216";
    let mut line = SLOW.replace("--rate 20", "--rate 10000");
    let (mut found, mut parts) = (Vec::new(), 0);
    loop {
        let mut command = stand.command(&line);
        command.env("KLING_RELAY_NATS__REPLAY_MAX_BYTES", small);
        let output = tokio::time::timeout(WITHIN, command.output()).await;
        let said: Said = output.expect("it ends").expect("it starts").into();
        found.extend(first_sequences(&stand.delivered().await));
        stand.purge().await;
        parts += 1;
        if said.code == 0 {
            break;
        }
        said.is(1, "nats stream purge KLING_REPLAY --subject");
        let mut words = said.stderr.split('`');
        let go_on = words.find_map(|part| part.strip_prefix("kling-relay "));
        line = format!("{} --rate 10000", go_on.expect("it says how to go on"));
    }
    assert!(parts > 2, "{parts} parts");
    assert_eq!(found, (1..=40).collect::<Vec<u64>>(), "each once");
}

#[tokio::test]
async fn a_replay_killed_a_day_ago_goes_on_where_it_was_recorded_last() {
    let stand = Stand::start(3_000, 0).await;
    let line = SLOW.replace("--rate 20", "--rate 10000");
    let mut replay = Begun::start(&stand, &line).await;
    stand.has_delivered(1_200).await;
    replay.signal("-KILL");
    replay.ended().await;
    stand.purge().await;
    let newest = stand.audits(&replay.id).await.pop().expect("a record");
    assert_eq!(newest.state, AuditState::Begun);
    let last = newest.last_sequence.expect("recorded on the way");
    assert!(last >= 1_000 && last % 1_000 == 0, "{last}");
    assert_eq!(newest.messages, last);

    let go_on = format!("{} --rate 10000 --json", replay.go_on);
    let rest = stand.run(&go_on).await.json();
    assert_eq!(rest["delivered"], 3_000 - last, "{rest}");
}

#[tokio::test]
async fn a_pause_is_not_made_good_by_a_burst() {
    let stand = Stand::start(60, 0).await;
    let mut replay = Begun::start(&stand, SLOW).await;
    stand.has_delivered(10).await;
    replay.signal("-STOP");
    let stopped = Instant::now();
    until("it stood still for a while", WITHIN, async || {
        stopped.elapsed() > Duration::from_secs(2)
    })
    .await;
    replay.signal("-CONT");
    let (code, said) = replay.ended().await;
    assert_eq!(code, Some(0), "{said}");
    let delivered = stand.delivered().await;
    let took = |pair: &[Recorded]| pair[1].stored_at.duration_since(pair[0].stored_at);
    let gap = delivered.windows(2).map(took).enumerate();
    let (pause, _) = gap.max_by_key(|(_, took)| *took).expect("60 of them");
    // Ten of them at 20 a second take 0.45 s; one of those may be late.
    let (first, last) = (&delivered[pause + 1], &delivered[pause + 10]);
    let took = last.stored_at.duration_since(first.stored_at);
    assert!(took.as_millis() > 350, "{took:?} for ten");
}

#[tokio::test]
async fn who_asks_for_quiet_is_told_nothing() {
    let stand = Stand::start(2, 0).await;
    let said = stand.run(&format!("{SLOW} --quiet")).await;
    said.is(0, "2 delivered");
    assert_eq!(said.stderr, "");
}
