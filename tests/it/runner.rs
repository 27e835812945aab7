//! The consume loop on a real broker: what counts as a failure, and what an outage leaves behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kling_relay::config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::Broker;
use kling_relay::edge::nats::callbacks::CallbackToStore;
use kling_relay::edge::nats::log::{Log, ReadFrom};
use kling_relay::edge::nats::topology::Consumer;
use kling_relay::model::observation::Proof;
use kling_relay::stage::runner::{Handler, Message, Outcome, Runner};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{self, Node, api, until};
use crate::kit::fresh_task_id;

const DEADLINE: Duration = Duration::from_secs(20);
/// Tries before a message is set aside.
const ATTEMPTS_MAX: u64 = 3;

/// Does with each delivery what the test says.
struct Scripted<F> {
    deliveries: AtomicU64,
    last_attempt: AtomicU64,
    answer: F,
}

impl<F: Fn(u64) -> Outcome + Send + Sync + 'static> Handler for Scripted<F> {
    const STAGE: &'static str = "completer";

    async fn handle(&self, message: &Message) -> Outcome {
        let nth = 1 + self.deliveries.fetch_add(1, Ordering::Relaxed);
        self.last_attempt.store(message.attempt, Ordering::Relaxed);
        (self.answer)(nth)
    }
}

/// A runner at work, over a stream with whatever the test stores.
struct Rig<F> {
    broker: Broker,
    log: Log,
    handler: Arc<Scripted<F>>,
    stop: CancellationToken,
    running: JoinHandle<()>,
    _node: Node,
}

impl<F: Fn(u64) -> Outcome + Send + Sync + 'static> Rig<F> {
    async fn new(answer: F) -> Self {
        let node = Node::start();
        let (broker, log) = broker::open(&node.endpoint(), &broker::config(1)).await;
        let rules = config::Runner {
            attempts_max: u32::try_from(ATTEMPTS_MAX).unwrap(),
            backoff_base: Duration::from_millis(50),
            // So that a count of outages that never ends would show.
            backoff_cap: Duration::from_secs(3_600),
            ..config::Runner::default()
        };
        let runner = Runner::new(log.clone(), Clock::system(), rules);
        let handler = Arc::new(Scripted {
            deliveries: AtomicU64::new(0),
            last_attempt: AtomicU64::new(0),
            answer,
        });
        let (stop, given) = (CancellationToken::new(), Arc::clone(&handler));
        let stopped = stop.clone();
        let running =
            tokio::spawn(async move { runner.run(Consumer::Completer, given, stopped).await });
        Self {
            broker,
            log,
            handler,
            stop,
            running,
            _node: node,
        }
    }

    async fn store(&self) {
        let task = fresh_task_id();
        let callback = CallbackToStore {
            tenant: task.tenant().to_string(),
            task: task.to_string(),
            body: b"{}".to_vec().into(),
            proof: Proof::Signed,
            received_at: Clock::system().now(),
            webhook_id: None,
        };
        self.log.store_callback(callback).await.unwrap();
    }

    async fn delivered(&self, count: u64) {
        until("the message is delivered", DEADLINE, async || {
            self.handler.deliveries.load(Ordering::Relaxed) >= count
        })
        .await;
    }

    /// Waits until nothing waits for an acknowledgement.
    async fn settled(&self) {
        until("everything is acknowledged", DEADLINE, async || {
            let info = api(&self.broker, "CONSUMER.INFO.KLING_CALLBACKS.completer").await;
            info.is_some_and(|info| info["num_ack_pending"] == 0 && info["num_pending"] == 0)
        })
        .await;
    }

    async fn letters(&self) -> usize {
        let from = ReadFrom::Sequence(1);
        let letters = self.log.letters("kling.dead.v1.>", from, 100).await;
        letters.unwrap().len()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_the_broker_is_no_failure_of_a_message() {
    // Away for twice as long as a message may fail, then one failure of its own.
    let away = 2 * ATTEMPTS_MAX;
    let rig = Rig::new(move |nth| match nth {
        nth if nth <= away => Outcome::Later("the broker is away".to_owned()),
        nth if nth == away + 1 => Outcome::Retry("it failed".to_owned()),
        _ => Outcome::Done,
    })
    .await;
    rig.store().await;
    rig.delivered(away + 2).await;
    rig.settled().await;
    assert_eq!(rig.handler.last_attempt.load(Ordering::Relaxed), 2);
    assert_eq!(rig.letters().await, 0, "it was given up");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_for_its_own_sake_is_set_aside_in_the_end() {
    let rig = Rig::new(|_| Outcome::Retry("it fails".to_owned())).await;
    rig.store().await;
    rig.delivered(ATTEMPTS_MAX).await;
    rig.settled().await;
    assert_eq!(rig.handler.deliveries.load(Ordering::Relaxed), ATTEMPTS_MAX);
    assert_eq!(rig.letters().await, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_is_over_does_not_lengthen_the_next_one() {
    let rig = Rig::new(|_| Outcome::Done).await;
    let call = |what: &str| format!("CONSUMER.{what}.KLING_CALLBACKS.completer");
    // Were the outages counted up, the last waits would be minutes.
    for _ in 0..12 {
        until("the consumer is there", DEADLINE, async || {
            api(&rig.broker, &call("INFO")).await.is_some()
        })
        .await;
        api(&rig.broker, &call("DELETE")).await;
    }
    rig.store().await;
    rig.delivered(1).await;
    rig.stop().await;
}
