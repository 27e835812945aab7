//! The log: load, commit, and the value that says that a task has moved on.

use std::time::Duration;

use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::log::{Committed, Loaded, Log, LogError};
use kling_relay::edge::nats::money::{Money, MoneyRules};
use kling_relay::edge::nats::record::Recorded;
use kling_relay::edge::nats::{Broker, topology};
use kling_relay::model::event::{EventKind, NewEvent};
use kling_relay::model::ids::TaskId;
use tokio_util::sync::CancellationToken;

use crate::broker::{Node, config, open_with};
use crate::kit::{audit, everything, failed, fresh_task_id, limits, new_task, next_claim, video};

pub(crate) struct Rig {
    pub(crate) node: Node,
    pub(crate) broker: Broker,
    pub(crate) log: Log,
    pub(crate) clock: Clock,
    pub(crate) task: TaskId,
}

/// A log that holds one requested task.
pub(crate) async fn rig() -> Rig {
    let (node, clock) = (Node::start(), Clock::system());
    let (broker, log) = open_with(&node.endpoint(), &config(1), clock.clone()).await;
    let rules = MoneyRules::new(limits(1_000));
    let money = Money::start(log.clone(), rules, CancellationToken::new()).await;
    let task = fresh_task_id();
    money
        .expect("a writer")
        .accept(vec![new_task(&task, video(2))], Duration::from_secs(5))
        .await
        .expect("accepted");
    Rig {
        node,
        broker,
        log,
        clock,
        task,
    }
}

impl Rig {
    /// How long the broker keeps a message from when it was stored, seconds.
    async fn ttl(&self, seq: u64) -> i64 {
        let stored = self.log.get(seq).await.expect("a broker");
        stored.expect("a message").life_seconds()
    }

    pub(crate) async fn load(&self) -> Loaded {
        let loaded = self.log.load(&self.task).await;
        loaded.expect("a broker").expect("a task")
    }
}

#[tokio::test]
async fn commit_carries_state_headers_and_expectation() {
    let rig = rig().await;
    let on = rig.load().await;
    assert_eq!(
        (on.kind, on.requested_seq()),
        (Some(EventKind::Requested), on.seq)
    );
    let Ok(Committed::Stored { seq }) = rig.log.commit(&on, next_claim(on.task.clone())).await
    else {
        panic!("nobody else writes");
    };
    let after = rig.load().await;
    assert_eq!((after.seq, after.kind), (seq, Some(EventKind::Dispatching)));
    assert_eq!(after.task.relay.requested_seq, on.seq);
    let stored = rig
        .log
        .get(seq)
        .await
        .expect("a broker")
        .expect("a message");
    assert_eq!(
        stored.subject,
        topology::task_subject(&rig.task, EventKind::Dispatching)
    );
    assert_eq!(
        stored.expected(),
        Some((on.seq, topology::task_prefix(&rig.task).as_str()))
    );
    assert_eq!(
        stored.ce_id(),
        Some(format!("{}.dispatching.1", rig.task).as_str())
    );
    let header = |name: &str| stored.headers.get(name).map(|value| value.to_string());
    assert_eq!(header("ce-specversion").as_deref(), Some("1.0"));
    assert_eq!(header("ce-source").as_deref(), Some("/kling-relay/test"));
    assert_eq!(
        header("ce-type").as_deref(),
        Some("dev.kling-relay.task.dispatching.v1")
    );
    assert_eq!(header("ce-subject").as_deref(), Some(rig.task.as_str()));
    assert_eq!(header("Nats-TTL").as_deref(), Some("3024000s"));
    let requested = rig.log.last(&rig.task, EventKind::Requested).await;
    let requested = requested.expect("a broker").expect("a message");
    assert!(stored.traceparent().is_some_and(|trace| trace.len() == 55));
    assert_eq!(stored.traceparent(), requested.traceparent());
    assert_ne!(stored.commit_id(), requested.commit_id());
    let (event, _) = rig
        .log
        .requested(&rig.task)
        .await
        .expect("a broker")
        .expect("a message");
    assert!(event.call.is_some(), "only requested carries the call");
    let history = rig.log.history(&rig.task).await.expect("a history");
    let kinds = history.iter().filter_map(Recorded::task_subject);
    let kinds: Vec<EventKind> = kinds.map(|(_, kind)| kind).collect();
    assert_eq!(kinds, [EventKind::Requested, EventKind::Dispatching]);
}

#[tokio::test]
async fn second_decision_on_one_state_has_moved_on() {
    let rig = rig().await;
    let on = rig.load().await;
    rig.log
        .commit(&on, next_claim(on.task.clone()))
        .await
        .expect("stored");
    let late = rig.log.commit(&on, failed(on.task.clone())).await;
    assert_eq!(late.expect("a value, not an error"), Committed::MovedOn);
    audit(&everything(&rig.log).await);
}

#[tokio::test]
async fn money_events_are_refused_outside_the_money_writer() {
    let rig = rig().await;
    let on = rig.load().await;
    for kind in [EventKind::Requested, EventKind::Settled] {
        let event = NewEvent::plain(kind, 2, on.task.clone());
        let refused = rig.log.commit(&on, event).await;
        assert!(
            matches!(refused, Err(LogError::Misconfigured { .. })),
            "{refused:?}"
        );
    }
    let absent = rig.log.load(&fresh_task_id()).await.expect("a broker");
    assert!(absent.is_none());
}

#[tokio::test]
async fn expiry_never_moves_backwards() {
    let rig = rig().await;
    let first = rig.load().await;
    // A replica whose clock is behind, or whose retention was lowered.
    rig.clock.set_offset_ms(-86_400_000);
    rig.log
        .commit(&first, next_claim(first.task.clone()))
        .await
        .expect("stored");
    let second = rig.load().await;
    assert_eq!(second.task.relay.expires_at, first.task.relay.expires_at);
    assert!(rig.ttl(second.seq).await >= 36 * 86_400 - 60);
    rig.clock.set_offset_ms(86_400_000);
    rig.log
        .commit(&second, next_claim(second.task.clone()))
        .await
        .expect("stored");
    let third = rig.load().await;
    assert!(third.task.relay.expires_at > second.task.relay.expires_at);
    // The broker counts by its own clock: what is stored later must live as long.
    assert!(rig.ttl(third.seq).await >= rig.ttl(second.seq).await);
}
