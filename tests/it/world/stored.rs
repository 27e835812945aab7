//! Callbacks as they stand in the stream, and every 200 held against them.

use std::collections::HashMap;

use bytes::Bytes;
use futures::StreamExt;
use kling_relay::edge::nats::{Broker, topology};
use kling_relay::sim::Control;
use url::Url;

/// A callback in the stream: what it proves, and its exact bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) proof: String,
    pub(crate) body: Bytes,
}

/// Every stored callback by its task.
pub(crate) async fn stored_callbacks(broker: &Broker) -> HashMap<String, Vec<Stored>> {
    let stream = broker.jetstream().get_stream(topology::CALLBACKS).await;
    let mut stream = stream.expect("the stream is there");
    let info = stream.info().await.expect("the broker answers");
    let last = info.state.last_sequence;
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    let mut found: HashMap<String, Vec<Stored>> = HashMap::new();
    let mut seq = 0;
    while seq < last {
        let message = messages.next().await.expect("more").expect("readable");
        seq = message.info().expect("a place").stream_sequence;
        let headers = message.headers.as_ref();
        // A probe proves nothing, and is of no task.
        let Some(proof) = headers.and_then(|headers| headers.get("kling-proof")) else {
            continue;
        };
        let task = message.subject.rsplit('.').next().expect("a token");
        found.entry(task.to_owned()).or_default().push(Stored {
            proof: proof.to_string(),
            body: message.payload.clone(),
        });
    }
    found
}

/// A callback that was answered with 200 is in the stream.
pub(super) async fn false_successes(broker: &Broker, control: &Control) -> Vec<String> {
    let stored = stored_callbacks(broker).await;
    let confirmed = control.confirmed_callbacks().into_iter();
    let lost = confirmed.filter_map(|(url, body)| {
        let url = Url::parse(&url).expect("it was called");
        let mut path = url.path_segments().expect("a path");
        let task = path.nth(2).expect("/callbacks/<tenant>/<task>/<proof>");
        let of_task = stored.get(task).map_or(&[][..], Vec::as_slice);
        let found = of_task.iter().any(|one| one.body == body);
        (!found).then(|| format!("{task}: a callback was answered 200 and is not stored"))
    });
    lost.collect()
}
