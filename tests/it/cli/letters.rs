//! What is done to messages that were set aside: which, how far, and what is kept of it.

use futures::StreamExt;
use kling_relay::edge::nats::log::{Log, ReadFrom};
use kling_relay::edge::nats::record::Recorded;
use kling_relay::model::audit::{Audit, AuditAction, AuditState};
use kling_relay::model::dead_letter::DeadLetter;
use serde_json::Value;

use super::Said;
use super::replays::Stand;
use crate::broker::signal;

/// More than a few pages.
const LETTERS: u64 = 1_500;
const WHY: &str = "--who olga --reason x --json";

async fn set_aside(log: &Log, message: &Recorded, sequence: u64) {
    let even = sequence.is_multiple_of(2);
    let letter = DeadLetter {
        stage: "completer".to_owned(),
        reason: if even { "the disk was full" } else { "a slip" }.to_owned(),
        attempts: 20,
        subject: message.subject.clone(),
        sequence,
    };
    log.set_aside(message, &letter).await.expect("set aside");
}

/// Returns the last record of what was done.
async fn record(stand: &Stand, said: &Said) -> Audit {
    let id: &Value = &said.json()["audit_id"];
    let mut audits = stand.audits(id.as_str().expect("an id")).await;
    assert_eq!(audits[0].state, AuditState::Begun);
    assert_eq!(audits[0].selection, audits[1].selection);
    assert_eq!((audits[1].who.as_str(), audits.len()), ("olga", 2));
    audits.pop().expect("two of them")
}

#[tokio::test]
async fn it_is_recorded_to_what_and_takes_what_was_there_when_it_began() {
    let stand = Stand::start(1, 0).await;
    let read = stand
        .log
        .read_callbacks("kling.callback.v1.>", ReadFrom::Sequence(1), 1);
    let callback = read.await.expect("a read").remove(0);
    let all = futures::stream::iter(1..=LETTERS);
    all.for_each_concurrent(32, |n| set_aside(&stand.log, &callback, n))
        .await;

    // Stopped on the way.
    let requeue = format!("dead requeue --all {WHY}");
    let child = stand.command(&requeue).spawn().expect("it starts");
    stand.has_delivered(1).await;
    signal("-TERM", child.id().expect("it runs"));
    let stopped: Said = child.wait_with_output().await.expect("it ends").into();
    stopped.is(1, "interrupted");
    let delivered = stand.delivered().await;
    let id = delivered[0].replay().expect("an id").to_owned();
    let newest = stand.audits(&id).await.pop().expect("a record");
    assert_eq!(newest.state, AuditState::Interrupted);
    assert!((1..LETTERS).contains(&newest.messages), "{newest:?}");

    // One more is set aside while it works.
    let child = stand.command(&requeue).spawn().expect("it starts");
    stand.has_delivered(delivered.len() as u64 + 1).await;
    set_aside(&stand.log, &callback, LETTERS + 1).await;
    let whole: Said = child.wait_with_output().await.expect("it ends").into();
    assert_eq!(whole.json()["messages"], LETTERS, "{whole:?}");
    let audit = record(&stand, &whole).await;
    let done = (audit.action, audit.state, audit.messages);
    assert_eq!(done, (AuditAction::Requeue, AuditState::Ended, LETTERS));
    assert_eq!(audit.selection.to_sequence, Some(LETTERS));

    let some = stand.run(&format!("dead discard 17 3 17 {WHY}")).await;
    let audit = record(&stand, &some).await;
    assert_eq!((audit.action, audit.messages), (AuditAction::Discard, 2));
    assert_eq!(audit.selection.letters, [3, 17]);
    let line = format!("dead discard --all --stage completer --matching disk {WHY}");
    let matching = stand.run(&line).await;
    let audit = record(&stand, &matching).await;
    assert_eq!(audit.messages, LETTERS / 2);
    let (stage, matching) = (audit.selection.stage, audit.selection.matching);
    assert_eq!(
        (stage.as_deref(), matching.as_deref()),
        (Some("completer"), Some("disk"))
    );
    let left = stand.run("dead list --limit 10000 --json").await.lines();
    assert_eq!(left.len() as u64, LETTERS + 1 - LETTERS / 2 - 2);
}

#[tokio::test]
async fn numbers_and_filters_do_not_go_together() {
    let stand = Stand::start(0, 0).await;
    for filter in [
        "--stage completer",
        "--matching disk",
        "--tenant acme",
        "--all",
    ] {
        let line = format!("dead discard 17 {filter} --who olga --reason x");
        stand.run(&line).await.is(2, "cannot be used with");
    }
    let many: Vec<String> = (1..=101).map(|n: u64| n.to_string()).collect();
    let line = format!("dead discard {} --who olga --reason x", many.join(" "));
    stand.run(&line).await.is(2, "at most 100 numbers");
    let missing = stand.run("dead discard 17 --who olga --reason x").await;
    missing.is(1, "no letter 17");
    let audits = stand
        .log
        .read("kling.v1.*.audit.>", ReadFrom::Sequence(1), 1);
    let audits = audits.await.expect("a read");
    assert!(audits.is_empty(), "nothing was done");
}
