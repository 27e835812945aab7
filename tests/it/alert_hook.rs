//! Budget alerts to an address: each once, again while it is refused, set aside in the end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use kling_relay::config::{Config, Thresholds};
use kling_relay::edge::nats::topology::Consumer;
use rust_decimal::Decimal;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::api::{WITHIN, World, video};
use crate::broker::{api, until};

const SECRET_PATH: &str = "/services/T0-a-canary";

/// A chat service that answers as it is told, and remembers what it took.
#[derive(Clone, Default)]
struct Chat {
    answers: Arc<Mutex<VecDeque<u16>>>,
    asked: Arc<Mutex<usize>>,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Chat {
    /// Starts it; when the answers have run out it takes everything.
    async fn start(answers: &[u16]) -> (Self, String) {
        let chat = Self::default();
        chat.answers.lock().unwrap().extend(answers);
        let router = Router::new()
            .route(SECRET_PATH, post(hear))
            .with_state(chat.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{SECRET_PATH}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (chat, url)
    }

    fn taken(&self) -> Vec<Value> {
        self.taken.lock().unwrap().clone()
    }
}

async fn hear(State(chat): State<Chat>, Json(body): Json<Value>) -> StatusCode {
    *chat.asked.lock().unwrap() += 1;
    let answer = chat.answers.lock().unwrap().pop_front().unwrap_or(200);
    if answer == 200 {
        chat.taken.lock().unwrap().push(body);
    }
    StatusCode::from_u16(answer).unwrap()
}

/// A service with a day of ten units that is tried three times, at once.
async fn service(url: &str) -> World {
    let url = SecretString::from(url);
    World::with(move |config: &mut Config| {
        config.budget.daily_limit = serde_json::from_value(json!({"video-unit": "10"})).unwrap();
        let shares = [Decimal::new(1, 1), Decimal::new(25, 2)];
        config.budget.alert_threshold = Thresholds::Several(shares.to_vec());
        config.budget.alert_hook = Some(url);
        config.storage.allow_private = true;
        config.runner.attempts_max = 3;
        config.runner.backoff_base = Duration::from_millis(10);
        config.runner.backoff_cap = Duration::from_millis(50);
    })
    .await
}

async fn dead(world: &World) -> u64 {
    let info = api(world.app.broker(), "STREAM.INFO.KLING_DEAD").await;
    info.unwrap()["state"]["messages"].as_u64().unwrap()
}

#[tokio::test]
async fn each_alert_is_posted_once_and_again_while_it_is_refused() {
    let (chat, url) = Chat::start(&[500, 302]).await;
    let world = service(&url).await;
    world.accepted(&video(&json!({}))).await;
    until("the first is taken", WITHIN, async || {
        chat.taken().len() == 1
    })
    .await;
    world.accepted(&video(&json!({}))).await;
    until("the second is taken", WITHIN, async || {
        chat.taken().len() == 2
    })
    .await;
    world.accepted(&video(&json!({}))).await;
    until("nothing is left", WITHIN, async || {
        let lag = world.app.log().lag(Consumer::Alerter).await;
        lag.is_ok_and(|lag| lag == 0)
    })
    .await;
    assert_eq!(*chat.asked.lock().unwrap(), 4, "one was refused twice");
    let taken = chat.taken();
    let figures = |body: &Value| {
        let names = [
            "tenant",
            "unit",
            "threshold",
            "used",
            "limit",
            "environment",
        ];
        names.map(|name| body[name].as_str().unwrap().to_owned())
    };
    let first = ["acme", "video-unit", "0.1", "1.5", "10", "development"];
    let second = ["acme", "video-unit", "0.25", "3", "10", "development"];
    assert_eq!(
        taken.iter().map(figures).collect::<Vec<_>>(),
        [first, second]
    );
    let text = taken[1]["text"].as_str().unwrap();
    assert!(
        text.contains("acme has used 3 of 10 video-unit on "),
        "{text}"
    );
    assert!(text.contains("25 %"), "{text}");
    assert_eq!(dead(&world).await, 0);
}

#[tokio::test]
async fn an_alert_that_nobody_takes_is_set_aside_without_the_address() {
    let (chat, url) = Chat::start(&[500; 3]).await;
    let world = service(&url).await;
    world.accepted(&video(&json!({}))).await;
    until("it is set aside", WITHIN, async || dead(&world).await == 1).await;
    assert_eq!(*chat.asked.lock().unwrap(), 3);
    let query = json!({"last_by_subj": "kling.dead.v1.alerter.>"});
    let client = world.app.broker().client();
    let found = client
        .request(
            "$JS.API.STREAM.MSG.GET.KLING_DEAD",
            query.to_string().into(),
        )
        .await
        .unwrap();
    let found: Value = serde_json::from_slice(&found.payload).unwrap();
    use base64::Engine;
    let headers = found["message"]["hdrs"].as_str().unwrap();
    let headers = base64::engine::general_purpose::STANDARD
        .decode(headers)
        .unwrap();
    let headers = String::from_utf8(headers).unwrap();
    assert!(
        headers.contains("budget.alert_hook answered HTTP 500"),
        "{headers}"
    );
    assert!(!headers.contains("canary"), "{headers}");
    // The next one has a fresh start.
    world.accepted(&video(&json!({}))).await;
    until("the next is taken", WITHIN, async || {
        chat.taken().len() == 1
    })
    .await;
}

#[tokio::test]
async fn nobody_there_says_nothing_of_the_address() {
    use kling_relay::edge::alert_hook::AlertHook;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let closed = format!(
        "http://127.0.0.1:{}{SECRET_PATH}",
        crate::broker::free_port()
    );
    let hook = AlertHook::new(&SecretString::from(closed), Duration::from_secs(5)).unwrap();
    let error = hook.post(&json!({})).await.unwrap_err();
    let words = format!(
        "{:?} {} {hook:?}",
        error,
        kling_relay::telemetry::chain(&error)
    );
    assert!(words.contains("did not answer"), "{words}");
    assert!(!words.contains("canary"), "{words}");
}
