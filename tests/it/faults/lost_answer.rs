//! The receiver stores a callback and its answer is lost on the line: Kling has no reason not to
//! send it again.

use std::time::Duration;

use kling_relay::sim::config::Pause;

use super::stand::{Parts, Stand};
use crate::broker::until;
use crate::link::{Stop, Weather};
use crate::world::{stored_callbacks, video};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_repeated_for_a_lost_answer_is_stored_once_and_completes_once() {
    let parts = Parts {
        sim: Some(Box::new(|sim| {
            let pauses = [300, 1_000, 3_000].map(Duration::from_millis);
            sim.callbacks.redeliver = pauses.map(Pause).to_vec();
        })),
        // Nobody asks: what completes is the callback.
        service: Some(Box::new(|config| {
            config.reconciler.quiet_after = Duration::from_secs(60);
        })),
        ..Parts::default()
    };
    let mut stand = Stand::prepare(parts).await;
    stand.start().await;
    let broker = &stand.links[0];
    let stored = broker.silent_at("HPUB kling.callback.v1.acme.", Stop::After);
    drop(stand.submit(vec![video("callback=drop@processing")], 1));
    let told = tokio::time::timeout(SOON, stored).await;
    told.expect("a callback came").expect("the link stands");
    // From here on no answer passes; the receiver hears from the broker, and answers.
    stand.front.set(Weather::Silent);
    stand.links[0].set(Weather::Clear);
    until("it is stored", SOON, async || {
        stored_callbacks(&stand.observer).await.len() == 1
    })
    .await;
    stand.front.set(Weather::Cut);
    let answers = || stand.sim.stats().callbacks.answers;
    until("Kling has no answer", SOON, async || {
        answers().contains_key("error")
    })
    .await;
    stand.front.set(Weather::Clear);
    until("Kling has its answer", SOON, async || {
        answers().get("200") == Some(&1)
    })
    .await;

    let stored = stored_callbacks(&stand.observer).await.into_values();
    let stored: Vec<_> = stored.flatten().collect();
    let sent = stand.sim.control().confirmed_callbacks();
    assert_eq!((stored.len(), sent.len()), (1, 1), "{stored:?}");
    assert_eq!(stored[0].proof, "signed");
    assert_eq!(stored[0].body, sent[0].1);
    let stats = stand.conclude().await;
    assert!(stats.callbacks.redelivered > 0, "{:?}", stats.callbacks);
    assert_eq!(stats.queries.total(), 0, "{:?}", stats.queries);
}
