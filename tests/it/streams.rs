//! Callbacks, dead letters, and following the log.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use kling_relay::edge::nats::callbacks::{Callback, CallbackToStore};
use kling_relay::edge::nats::dead::read_dead_letter;
use kling_relay::edge::nats::log::ReadFrom;
use kling_relay::edge::nats::record::Recorded;
use kling_relay::edge::nats::topology;
use kling_relay::model::dead_letter::DeadLetter;
use kling_relay::model::event::EventKind;
use kling_relay::model::observation::Proof;

use crate::broker::{api, until};
use crate::kit::next_claim;
use crate::log::{Rig, rig};

fn callback(rig: &Rig, body: &'static str, proof: Proof) -> CallbackToStore {
    CallbackToStore {
        tenant: rig.task.tenant().to_string(),
        task: rig.task.to_string(),
        body: Bytes::from_static(body.as_bytes()),
        proof,
        received_at: "2026-11-21T10:00:00Z".parse::<Timestamp>().expect("a time"),
        webhook_id: Some("msg_1\r\nkling-proof: signed".to_owned()),
    }
}

#[tokio::test]
async fn only_an_equal_callback_with_equal_proof_is_a_duplicate() {
    let rig = rig().await;
    let store = async |body, proof| rig.log.store_callback(callback(&rig, body, proof)).await;
    let first = store("{}", Proof::Signed).await.expect("stored");
    assert!(!first.duplicate);
    let again = store("{}", Proof::Signed).await.expect("stored");
    assert_eq!((again.duplicate, again.seq), (true, first.seq));
    for (body, proof) in [
        ("{}", Proof::Unsigned),
        ("{ }", Proof::Signed),
        ("{}", Proof::Read),
    ] {
        assert!(!store(body, proof).await.expect("stored").duplicate);
    }
    let consumer = topology::open(&rig.broker, topology::Consumer::Completer).await;
    let consumer = consumer.expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    let message = messages.next().await.expect("one").expect("a message");
    let recorded = Recorded::delivered(&message).expect("from a stream");
    let read = Callback::read(&recorded).expect("a callback");
    assert_eq!(
        (read.proof, read.task.as_str()),
        (Proof::Signed, rig.task.as_str())
    );
    assert_eq!(
        (read.body.as_ref(), read.seq),
        (b"{}".as_slice(), first.seq)
    );
    let mut bad = callback(&rig, "{}", Proof::Signed);
    bad.task = "a.b".to_owned();
    rig.log
        .store_callback(bad)
        .await
        .expect_err("a second token");
}

#[tokio::test]
async fn message_set_aside_keeps_payload_headers_and_reason() {
    let rig = rig().await;
    let original = rig.log.last(&rig.task, EventKind::Requested).await;
    let original = original.expect("a broker").expect("a message");
    let letter = DeadLetter {
        stage: "downloader".to_owned(),
        reason: "the output\nis gone".to_owned(),
        attempts: 20,
        subject: original.subject.clone(),
        sequence: original.seq,
    };
    for _ in 0..2 {
        rig.log.set_aside(&original, &letter).await.expect("stored");
    }
    let info = api(&rig.broker, "STREAM.INFO.KLING_DEAD")
        .await
        .expect("an answer");
    assert_eq!(info["state"]["messages"], 1, "twice is once");
    let stream = rig
        .broker
        .jetstream()
        .get_stream(topology::DEAD)
        .await
        .expect("a stream");
    let found: Recorded = stream.get_raw_message(1).await.expect("a message").into();
    let subject = topology::dead_subject("downloader", "acme", rig.task.as_str());
    assert_eq!(found.subject, subject);
    assert_eq!(found.payload, original.payload);
    assert_eq!(found.ce_id(), original.ce_id());
    assert!(
        found.batch().is_none() && found.expected().is_none(),
        "the broker's are left out"
    );
    let read = read_dead_letter(&found).expect("a dead letter");
    assert_eq!(
        (read.attempts, read.reason.as_str()),
        (20, "the output?is gone")
    );
}

#[tokio::test]
async fn follow_shows_past_and_future_over_a_restart() {
    let mut rig = rig().await;
    let filters = vec![topology::TASK_EVENTS.to_owned()];
    let mut followed = rig.log.follow(filters, 1).await.expect("a consumer");
    let first = followed.next().await.expect("one").expect("a message");
    assert_eq!(
        first.task_subject(),
        Some((rig.task.clone(), EventKind::Requested))
    );
    rig.node.kill();
    rig.node.restart();
    rig.node.wait_ready();
    until("it is back", Duration::from_secs(10), async || {
        rig.log.probe().await.is_ok()
    })
    .await;
    let on = rig.load().await;
    rig.log
        .commit(&on, next_claim(on.task.clone()))
        .await
        .expect("stored");
    let second = async {
        loop {
            match followed.next().await.expect("no end") {
                Ok(message) => break message,
                Err(error) => eprintln!("followed: {error}"),
            }
        }
    };
    let second = tokio::time::timeout(Duration::from_secs(60), second)
        .await
        .expect("in time");
    assert_eq!(
        second.task_subject(),
        Some((rig.task.clone(), EventKind::Dispatching))
    );
    let page = rig
        .log
        .read(topology::TASK_EVENTS, ReadFrom::Time(first.stored_at), 10)
        .await;
    assert_eq!(page.expect("a page").len(), 2);
}
