//! A receiver over TLS in front of a broker of its own, and Kling's side of the line.

use kling_relay::config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::kling::callback_url::CapabilityKeys;
use kling_relay::edge::kling::signature::WebhookSecrets;
use kling_relay::edge::nats::Broker;
use kling_relay::http::callbacks;
use kling_relay::model::ids::{TaskId, Tenant};
use kling_relay::stage::receiver::Receiver;
use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use standardwebhooks::Webhook;

use super::{Served, tls};
use crate::broker::{self, Node};

pub(super) const SECRET: &str = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=";
pub(super) const OTHER_SECRET: &str = "whsec_b3RoZXJzZWNyZXRvdGhlcnNlY3JldA==";
pub(super) const OLD_KEY: &str = "old:0123456789abcdef0123456789abcdef";
pub(super) const NEW_KEY: &str = "new:fedcba9876543210fedcba9876543210";
pub(super) const BODY: &str =
    r#"{"id":"1","status":"processing","message":"","update_time":1781080794151}"#;

/// A receiver over TLS in front of a broker of its own.
pub(super) struct World {
    pub(super) node: Node,
    pub(super) broker: Broker,
    pub(super) served: Served,
    pub(super) client: reqwest::Client,
    pub(super) clock: Clock,
}

/// How a receiver is set up.
pub(super) struct Setup {
    pub(super) secrets: &'static [&'static str],
    pub(super) receiver: config::Receiver,
    pub(super) callbacks_max_bytes: i64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            secrets: &[SECRET],
            receiver: config::Receiver::default(),
            callbacks_max_bytes: 64 << 20,
        }
    }
}

pub(super) fn secrets(texts: &[&str]) -> Vec<SecretString> {
    texts.iter().map(|text| SecretString::from(*text)).collect()
}

pub(super) fn keys(texts: &[&str]) -> CapabilityKeys {
    CapabilityKeys::parse(&secrets(texts)).expect("the keys are fine")
}

impl World {
    pub(super) async fn start(setup: Setup) -> Self {
        let node = Node::start();
        let nats = config::Nats {
            callbacks_max_bytes: setup.callbacks_max_bytes,
            ..broker::config(1)
        };
        let clock = Clock::system();
        let (broker, log) = broker::open_with(&node.endpoint(), &nats, clock.clone()).await;
        let receiver = Receiver::new(
            log,
            clock.clone(),
            keys(&[NEW_KEY, OLD_KEY]),
            WebhookSecrets::parse(&secrets(setup.secrets)).expect("the secrets are fine"),
            &setup.receiver,
        );
        let router = callbacks::router(receiver, &setup.receiver);
        let served = tls(setup.receiver.limits, router).await;
        let client = served.client().build().expect("a client can be built");
        Self {
            node,
            broker,
            served,
            client,
            clock,
        }
    }

    pub(super) fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client.post(self.served.url(path)).body(body)
    }

    /// Signs as Kling does, with the vendor's own library, at our clock's time.
    pub(super) fn signed(&self, path: &str, secret: &str, id: &str, body: &str) -> RequestBuilder {
        let now = self.clock.now().as_second();
        let hook = Webhook::new(secret).expect("the secret is fine");
        let signature = hook
            .sign(id, now, body.as_bytes())
            .expect("it can be signed");
        self.post(path, body.to_owned())
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
    }

    /// How many callbacks are stored.
    pub(super) async fn stored(&self) -> u64 {
        let info = broker::api(&self.broker, "STREAM.INFO.KLING_CALLBACKS").await;
        let info = info.expect("the broker answers");
        info["state"]["messages"].as_u64().expect("it is a count")
    }

    /// The last callback on a subject: what proof it has, and its payload.
    pub(super) async fn last(&self, subject: &str) -> (String, Vec<u8>) {
        let stream = self.broker.jetstream().get_stream("KLING_CALLBACKS").await;
        let stream = stream.expect("the stream is there");
        let message = stream.get_last_raw_message_by_subject(subject).await;
        let message = message.expect("there is one on the subject");
        let proof = message.headers.get("kling-proof").expect("it has a proof");
        (proof.to_string(), message.payload.to_vec())
    }
}

pub(super) fn task(cause: &str) -> TaskId {
    let tenant = Tenant::parse("acme").expect("it is a tenant's name");
    TaskId::derived(&tenant, "test", cause)
}

/// The path that this key mints for a task.
pub(super) fn path(key: &str, task: &TaskId) -> String {
    let base = "https://relay.example.com".parse().expect("it is a URL");
    let minted = keys(&[key]).mint(&base, task);
    minted.expose().replace("https://relay.example.com", "")
}

/// Sends, and expects this status with a constant text.
#[track_caller]
pub(super) fn expects(
    request: RequestBuilder,
    status: u16,
) -> impl Future<Output = (String, HeaderMap)> {
    let caller = std::panic::Location::caller();
    async move {
        let answer = request.send().await.expect("there is an answer");
        assert_eq!(answer.status(), status, "at {caller}");
        let headers = answer.headers().clone();
        (answer.text().await.expect("the answer is text"), headers)
    }
}
