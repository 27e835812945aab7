//! The submit API over HTTP and NATS, as a caller sees it. Only intake and the accountant run, so a
//! task stays as it was accepted and nothing depends on the pace of a platform.

mod callers;
mod events;
mod idempotency;
mod money;
mod outage;
mod refusals;
mod service;
mod tasks;
mod traces;
mod usage;

use std::time::Duration;

use kling_relay::app::App;
use kling_relay::config::{Config, Role};
use kling_relay::edge::clock::Clock;
use kling_relay::telemetry;
use reqwest::Method;
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::broker::{self, Node, until};

pub(crate) const KEY: &str = "key-of-acme-0123456789";
pub(crate) const OTHER: &str = "key-of-other-012345678";
pub(crate) const OPERATOR: &str = "key-of-an-operator-012";
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// A broker and a service that takes requests.
pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) app: App,
    pub(crate) clock: Clock,
    pub(crate) client: reqwest::Client,
    pub(crate) api: String,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        // An error says that another test has installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (node, dir) = (Node::start(), tempfile::tempdir().unwrap());
        let mut config = Config {
            data_dir: dir.path().to_owned(),
            nats: broker::config(1),
            ..Config::default()
        };
        config.nats.url = Some(node.endpoint().url);
        config.kling.api_key = Some(SecretString::from("kling"));
        config.api.listen = "127.0.0.1:0".parse().unwrap();
        config.admin.listen = "127.0.0.1:0".parse().unwrap();
        config.api.keys = [format!("acme:{KEY}"), format!("other:{OTHER}")]
            .map(SecretString::from)
            .to_vec();
        config.api.operator_keys = vec![SecretString::from(OPERATOR)];
        change(&mut config);
        let clock = Clock::system();
        let roles = [Role::Intake, Role::Accountant];
        let recorder = telemetry::recorder("test");
        let app = App::start(&config, &roles, clock.clone(), recorder)
            .await
            .unwrap();
        let api = format!("http://{}", app.address("api").unwrap());
        Self {
            node,
            app,
            clock,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            api,
            dir,
        }
    }

    /// Calls as tenant `acme`.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.call_as(KEY, method, path, body).await
    }

    pub(crate) async fn call_as(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Answer {
        let request = self.request(key, method, path);
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        Answer::of(request.body(body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &Value::Null).await
    }

    pub(crate) async fn submit(&self, body: &Value) -> Answer {
        self.call(Method::POST, "/v1/tasks", body).await
    }

    /// Submits a request that is accepted, and returns the task's id.
    pub(crate) async fn accepted(&self, body: &Value) -> String {
        let answer = self.submit(body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.body["task_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn submit_with_key(&self, path: &str, key: &str, body: &Value) -> Answer {
        let request = self.request(KEY, Method::POST, path);
        Answer::of(
            request
                .header("idempotency-key", key)
                .body(body.to_string()),
        )
        .await
    }

    pub(crate) fn request(&self, key: &str, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.api);
        self.client.request(method, url).bearer_auth(key)
    }

    /// Waits until the list shows so many tasks.
    pub(crate) async fn listed(&self, count: usize) {
        until("the list shows the tasks", WITHIN, async || {
            let answer = self.get("/v1/tasks?limit=500").await;
            answer.body["tasks"].as_array().unwrap().len() == count
        })
        .await;
    }

    /// Returns the day's balance in video units: held, deducted, limit.
    pub(crate) async fn balance(&self) -> [String; 3] {
        let answer = self.get("/v1/budget").await;
        let of_unit = &answer.body["balance"]["video-unit"];
        ["held", "deducted", "limit"].map(|name| of_unit[name].as_str().unwrap().to_owned())
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self {
            status,
            headers,
            body,
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// Expects a refusal: its code with the documented status, its form, field and words.
    #[track_caller]
    pub(crate) fn is_refusal(&self, code: &str, status: u16, field: &str, words: &str) {
        let body = &self.body;
        assert_eq!(body["code"], code, "{body}");
        assert_eq!((self.status, &body["status"]), (status, &json!(status)));
        assert_eq!(self.header("content-type"), "application/problem+json");
        let kind = format!("https://kling-relay.dev/problems/{code}");
        assert_eq!(body["type"], kind);
        assert!(!body["title"].as_str().unwrap().is_empty());
        assert_eq!(body["field"].as_str().unwrap_or_default(), field, "{body}");
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{detail:?} lacks {words:?}");
    }
}

/// A text-to-video request that costs three units, with these fields over it.
pub(crate) fn video(more: &Value) -> Value {
    let mut body = json!({"product": "text-to-video", "model": "kling-2.6", "prompt": "a fox"});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}
