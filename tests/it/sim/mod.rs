//! The stand-in platform, seen over HTTP as a client of Kling's would see it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can not go on should stop where it is"
)]

mod api;
mod callbacks;
mod credentials;
mod downloads;
mod faults;
mod fidelity;
mod forgeries;
mod products;
mod records;
mod roundtrip;

use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use kling_relay::sim::config::Timing;
use kling_relay::sim::{Control, SimConfig, SimTask, Simulator};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(20);
const KEY: &str = "api-key-kling-simulator";
const SECRET: &str = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=";

/// One callback as it arrived.
#[derive(Debug, Clone)]
struct Received {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("callback body is JSON")
    }

    /// The status in whichever shape.
    fn status(&self) -> String {
        let body = self.json();
        let status = body["status"].as_str().or(body["task_status"].as_str());
        status.expect("callback has a status").to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A callback receiver that keeps everything, and answers in turn what it is told.
#[derive(Clone, Default)]
struct Receiver {
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<Vec<StatusCode>>>,
    /// If set, the next answer waits for this.
    held: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
}

impl Receiver {
    fn all(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The callbacks whose URL ended so.
    fn of(&self, name: &str) -> Vec<Received> {
        self.all()
            .into_iter()
            .filter(|one| one.path == format!("/{name}"))
            .collect()
    }

    fn statuses(&self, name: &str) -> Vec<String> {
        self.of(name).iter().map(Received::status).collect()
    }
}

async fn receive(State(receiver): State<Receiver>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let received = Received {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body,
    };
    receiver.received.lock().unwrap().push(received);
    let held = receiver.held.lock().unwrap().take();
    if let Some(held) = held {
        held.await.unwrap();
    }
    receiver
        .answers
        .lock()
        .unwrap()
        .pop()
        .unwrap_or(StatusCode::OK)
}

/// A simulator, a client that trusts it, and a callback receiver.
struct World {
    sim: Simulator,
    control: Control,
    client: Client,
    receiver: Receiver,
    receiver_url: String,
}

/// A platform that does everything at once, so that tests wait for nothing in vain.
fn quick() -> SimConfig {
    let timing = Timing {
        queue_time: Duration::from_millis(5),
        process_time: Duration::from_millis(20),
        ..Timing::default()
    };
    SimConfig {
        timing,
        webhook_secrets: vec![SECRET.to_owned()],
        ..SimConfig::default()
    }
}

/// Tasks that stay `processing` for the whole test.
fn slow() -> SimConfig {
    let mut config = quick();
    config.timing.process_time = Duration::from_secs(3600);
    config
}

fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Another module of this binary may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

impl World {
    async fn start() -> Self {
        Self::with(quick()).await
    }

    async fn with(config: SimConfig) -> Self {
        install_crypto();
        let receiver = Receiver::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver_url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let sim = Simulator::start(config).await.unwrap();
        let root = reqwest::Certificate::from_pem(sim.ca_pem().as_bytes()).unwrap();
        let client = Client::builder()
            .tls_certs_only([root])
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(DEADLINE)
            .build()
            .unwrap();
        let control = sim.control();
        Self {
            sim,
            control,
            client,
            receiver,
            receiver_url,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sim.base_url())
    }

    async fn call_with(
        &self,
        method: Method,
        path: &str,
        credential: &str,
        body: Option<&Value>,
    ) -> Response {
        let mut request = self.client.request(method, self.url(path));
        if !credential.is_empty() {
            request = request.header("authorization", format!("Bearer {credential}"));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        read(self.call_with(Method::GET, path, KEY, None).await).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        read(self.call_with(Method::POST, path, KEY, Some(body)).await).await
    }

    /// A text-to-video body of the new standard whose callbacks arrive under `name`.
    fn wish(&self, name: &str, tags: &str) -> Value {
        json!({
            "prompt": format!("a lighthouse {tags}"),
            "settings": { "duration": 3, "resolution": "720p" },
            "options": {
                "external_task_id": name,
                "callback_url": format!("{}/{name}", self.receiver_url),
            },
        })
    }

    /// The same of the legacy standard.
    fn legacy_wish(&self, name: &str, tags: &str) -> Value {
        json!({
            "model_name": "kling-v2-6", "prompt": format!("a lighthouse {tags}"),
            "duration": "5", "mode": "std", "external_task_id": name,
            "callback_url": format!("{}/{name}", self.receiver_url),
        })
    }

    /// Creates a new-standard task that must be accepted; answers `data`.
    async fn create(&self, name: &str, tags: &str) -> Value {
        let path = "/text-to-video/kling-3.0-turbo";
        accepted(self.post(path, &self.wish(name, tags)).await)
    }

    /// The same on the legacy standard.
    async fn legacy_create(&self, name: &str, tags: &str) -> Value {
        accepted(
            self.post("/v1/videos/text2video", &self.legacy_wish(name, tags))
                .await,
        )
    }

    /// Waits until a task has ended and nothing is left to send.
    async fn ended(&self, name: &str) -> SimTask {
        until(&format!("{name} has ended"), || {
            let task = self.control.task(name)?;
            let over = task.status == "succeeded" || task.status == "failed";
            (over && self.control.stats().callbacks.in_flight == 0).then_some(task)
        })
        .await
    }

    /// Waits until `count` callbacks have arrived under `name`.
    async fn called_back(&self, name: &str, count: usize) -> Vec<Received> {
        until(&format!("{count} callbacks of {name}"), || {
            let received = self.receiver.of(name);
            (received.len() >= count).then_some(received)
        })
        .await
    }

    /// The task object that a look-up by external id shows.
    async fn look_up(&self, name: &str) -> Value {
        let (status, body) = self.get(&format!("/tasks?external_task_ids={name}")).await;
        assert_eq!(status, 200, "{body}");
        body["data"][0].clone()
    }
}

async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

#[track_caller]
fn accepted((status, body): (u16, Value)) -> Value {
    assert_eq!((status, &body["code"]), (200, &json!(0)), "{body}");
    assert_eq!(body["message"], "SUCCEED");
    assert!(body["request_id"].as_str().is_some_and(|id| id.len() == 36));
    body["data"].clone()
}

#[track_caller]
fn refused((status, body): (u16, Value), http: u16, code: u32, text: &str) {
    assert_eq!((status, &body["code"]), (http, &json!(code)), "{body}");
    let message = body["message"].as_str().unwrap_or_default();
    assert!(
        message.contains(text),
        "{message:?} does not contain {text:?}"
    );
    assert!(
        body.get("data").is_none(),
        "a refusal carries no data: {body}"
    );
}

/// The rows of a table written as text: cells between bars, a backslash goes on with the row.
fn table(text: &'static str) -> Vec<Vec<&'static str>> {
    let mut rows: Vec<Vec<&str>> = Vec::new();
    let mut goes_on = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (line, more) = match line.strip_suffix('\\') {
            Some(line) => (line.trim(), true),
            None => (line, false),
        };
        let cells = line.trim_start_matches('|').split('|').map(str::trim);
        match rows.last_mut().filter(|_| goes_on) {
            Some(row) => row.extend(cells),
            None => rows.push(cells.collect()),
        }
        goes_on = more;
    }
    rows
}

/// Waits for a condition, with a deadline.
async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        loop {
            tick.tick().await;
            if let Some(value) = condition() {
                return value;
            }
        }
    };
    match tokio::time::timeout(DEADLINE, waiting).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long until {what}"),
    }
}
