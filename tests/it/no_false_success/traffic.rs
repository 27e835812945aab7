//! Callbacks as Kling posts them and submissions as callers do, without a pause, with a note of
//! every answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kling_relay::app::App;
use kling_relay::config::Config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::kling::callback_url::CapabilityKeys;
use kling_relay::model::ids::{TaskId, Tenant};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::world::{SECRET, TENANTS, secret_of, stored_callbacks, video};

const CALLBACK_SENDERS: usize = 4;
const SUBMITTERS: usize = 2;
/// Of a callback; real ones have about 1 KiB.
const BODY_BYTES: usize = 1_500;

/// What was answered.
#[derive(Default)]
pub(super) struct Said {
    /// By task: the exact body of a callback that was answered with 200.
    stored: HashMap<TaskId, String>,
    /// Tasks that were accepted.
    accepted: Vec<TaskId>,
    refused_callbacks: usize,
    refused_tasks: usize,
    /// Answers that may not be: neither success nor a 503 with its wait.
    wrong: Vec<String>,
}

/// Senders at work.
pub(super) struct Traffic {
    said: Arc<Mutex<Said>>,
    stop: CancellationToken,
    senders: JoinSet<()>,
}

#[derive(Clone)]
struct Sender {
    client: reqwest::Client,
    keys: CapabilityKeys,
    public_url: Url,
    api: String,
    said: Arc<Mutex<Said>>,
}

impl Traffic {
    pub(super) fn start(config: &Config, api: SocketAddr) -> Self {
        let ca = std::fs::read(config.kling.ca_file.as_ref().unwrap()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
            .no_proxy()
            .timeout(Duration::from_secs(20));
        let sender = Sender {
            client: client.build().unwrap(),
            keys: CapabilityKeys::parse(&config.receiver.capability_keys).unwrap(),
            public_url: config.receiver.public_url.clone().unwrap(),
            api: format!("http://{api}/v1/tasks"),
            said: Arc::default(),
        };
        let (stop, mut senders) = (CancellationToken::new(), JoinSet::new());
        for number in 0..CALLBACK_SENDERS + SUBMITTERS {
            let (sender, stop) = (sender.clone(), stop.clone());
            senders.spawn(async move {
                // A request that runs is waited for: its answer counts.
                for n in 0.. {
                    if stop.is_cancelled() {
                        return;
                    }
                    let cause = format!("{number}-{n}");
                    match number < CALLBACK_SENDERS {
                        true => sender.call_back(&cause).await,
                        false => sender.submit(&cause).await,
                    }
                    // Not to drown what else runs on this machine.
                    Clock::system().sleep(Duration::from_millis(5)).await;
                }
            });
        }
        Self {
            said: sender.said.clone(),
            stop,
            senders,
        }
    }

    /// How many callbacks and tasks were answered with success.
    pub(super) fn succeeded(&self) -> (usize, usize) {
        let said = self.said.lock().unwrap();
        (said.stored.len(), said.accepted.len())
    }

    /// How many callbacks and tasks were answered with 503.
    pub(super) fn refused(&self) -> (usize, usize) {
        let said = self.said.lock().unwrap();
        (said.refused_callbacks, said.refused_tasks)
    }

    pub(super) async fn stop(self) -> Said {
        self.stop.cancel();
        self.senders.join_all().await;
        std::mem::take(&mut *self.said.lock().unwrap())
    }
}

impl Sender {
    async fn call_back(&self, cause: &str) {
        let tenant = Tenant::parse(TENANTS[0]).unwrap();
        let task = TaskId::derived(&tenant, "callback", cause);
        let url = self.keys.mint(&self.public_url, &task);
        let body = json!({
            "id": cause, "status": "processing", "message": "x".repeat(BODY_BYTES),
            "external_id": task.as_str(),
        });
        let (body, now) = (body.to_string(), Clock::system().now().as_second());
        let hook = Webhook::new(SECRET).unwrap();
        let request = self
            .client
            .post(url.expose())
            .header("webhook-id", cause)
            .header("webhook-timestamp", now)
            .header(
                "webhook-signature",
                hook.sign(cause, now, body.as_bytes()).unwrap(),
            )
            .body(body.clone());
        let (status, waits, _) = answer(request).await;
        let mut said = self.said.lock().unwrap();
        match (status, waits) {
            (200, _) => drop(said.stored.insert(task, body)),
            (503, true) => said.refused_callbacks += 1,
            (status, waits) => said
                .wrong
                .push(format!("callback: {status}, waits: {waits}")),
        }
    }

    async fn submit(&self, cause: &str) {
        let request = self
            .client
            .post(&self.api)
            .bearer_auth(secret_of(TENANTS[0]))
            .header("idempotency-key", cause)
            .json(&video(""));
        let (status, waits, text) = answer(request).await;
        let mut said = self.said.lock().unwrap();
        match (status, waits) {
            (202, _) => {
                let body: Value = serde_json::from_str(&text).unwrap();
                let id = TaskId::parse(body["task_id"].as_str().unwrap()).unwrap();
                said.accepted.push(id);
            }
            (503, true) => said.refused_tasks += 1,
            (status, waits) => said
                .wrong
                .push(format!("task: {status}, waits: {waits}, {text}")),
        }
    }
}

/// Status, whether it says when to come again, and text.
async fn answer(request: reqwest::RequestBuilder) -> (u16, bool, String) {
    let answer = request.send().await.expect("the service stays");
    let wait = answer.headers().get("retry-after");
    let waits = wait.is_some_and(|value| value.to_str().unwrap().parse::<u32>().unwrap() > 0);
    let status = answer.status().as_u16();
    (
        status,
        waits,
        answer.text().await.expect("the answer is whole"),
    )
}

impl Said {
    pub(super) fn summary(&self) -> String {
        format!(
            "200: {}, 202: {}, 503: {} and {}",
            self.stored.len(),
            self.accepted.len(),
            self.refused_callbacks,
            self.refused_tasks
        )
    }

    /// Finds every success in the streams.
    pub(super) async fn hold_against(self, app: &App) {
        assert_eq!(self.wrong, Vec::<String>::new());
        let stored = stored_callbacks(app.broker()).await;
        for (task, body) in &self.stored {
            let found = stored.get(task.as_str()).and_then(|found| found.last());
            assert!(
                found.is_some_and(|found| found.body == body.as_bytes()),
                "{task} was answered 200 and is not stored"
            );
        }
        for task in &self.accepted {
            let found = app.log().load(task).await.unwrap();
            assert!(
                found.is_some(),
                "{task} was answered 202 and is not in the log"
            );
        }
        assert!(!self.stored.is_empty());
    }
}
