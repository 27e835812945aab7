//! Calls to Kling: what is sent, and what becomes of every kind of answer.

mod lists;
mod queries;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kling_relay::config;
use kling_relay::decide::retry::{Backoff, after_read};
use kling_relay::edge::clock::Clock;
use kling_relay::edge::kling::callback_url::{CallbackUrl, CapabilityKeys};
use kling_relay::edge::kling::client::{Client, ClientSetUp, QueryReason};
use kling_relay::model::ids::{TaskId, Tenant};
use kling_relay::model::observation::{Observation, ObservedStatus};
use kling_relay::model::reply::{CallFailure, Reply};
use kling_relay::model::request::KlingCall;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::scripted_kling::{ScriptedKling, Step, answer};

const LEGACY: &str = "/v1/videos/text2video";
const NEW: &str = "/text-to-video/kling-2.6";

fn api_key(server: &ScriptedKling) -> config::Kling {
    config::Kling {
        base_url: server.url(),
        api_key: Some(SecretString::from("api-key-kling-sample")),
        request_timeout: Duration::from_secs(5),
        response_max_bytes: 4 << 10,
        ..config::Kling::default()
    }
}

fn pair(server: &ScriptedKling) -> config::Kling {
    config::Kling {
        api_key: None,
        access_key: Some(SecretString::from("access")),
        secret_key: Some(SecretString::from("secret")),
        ..api_key(server)
    }
}

/// Queries are tried three times, without waiting.
fn client(kling: &config::Kling) -> Client {
    try_client(kling).unwrap()
}

fn try_client(kling: &config::Kling) -> Result<Client, ClientSetUp> {
    // An error says that another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let at_once = Backoff {
        base: Duration::ZERO,
        cap: Duration::ZERO,
        attempts_max: 3,
    };
    let retry = move |failure: &CallFailure, attempt| after_read(failure, attempt, at_once, 0.0);
    Client::new(kling, Box::new(retry), Clock::system())
}

fn task_id(n: u128) -> TaskId {
    TaskId::from_bits(&Tenant::parse("team-a").unwrap(), n)
}

fn callback_url() -> CallbackUrl {
    let key = SecretString::from("k1:0123456789abcdef0123456789abcdef");
    let keys = CapabilityKeys::parse(&[key]).unwrap();
    keys.mint(&"https://hooks.example.com".parse().unwrap(), &task_id(1))
}

fn call(path: &str) -> KlingCall {
    let body = json!({ "prompt": "a red fox" });
    KlingCall {
        path: path.to_owned(),
        body: body.as_object().unwrap().clone(),
    }
}

fn success(data: Value) -> Step {
    answer(
        200,
        json!({ "code": 0, "message": "SUCCEED", "request_id": "r-1", "data": data }),
    )
}

fn created() -> Step {
    success(json!({ "task_id": "867283741759111202", "task_status": "submitted" }))
}

async fn create(kling: &config::Kling, path: &str) -> Result<Observation, CallFailure> {
    client(kling)
        .create(&call(path), &task_id(1), &callback_url())
        .await
}

/// What a create makes of one answer.
async fn created_after(step: Step) -> Result<Observation, CallFailure> {
    let server = ScriptedKling::start(vec![step]).await;
    let result = create(&api_key(&server), LEGACY).await;
    assert_eq!(server.calls().len(), 1, "a create is sent once");
    result
}

fn refused(result: Result<Observation, CallFailure>) -> Reply {
    match result {
        Err(CallFailure::Answered(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_create_carries_credential_address_and_id() {
    let new = success(json!({ "id": "893605946402811985", "status": "submitted" }));
    let server = ScriptedKling::start(vec![created(), new]).await;
    let seen = create(&api_key(&server), LEGACY).await.unwrap();
    assert_eq!(seen.kling_task_id.as_str(), "867283741759111202");
    assert_eq!(seen.status, ObservedStatus::Submitted);
    assert_eq!(seen.external_id.as_deref(), Some(task_id(1).as_str()));
    create(&api_key(&server), NEW).await.unwrap();
    let calls = server.calls();
    let ours = json!({ "callback_url": callback_url().expose(), "external_task_id": task_id(1) });
    assert_eq!(calls[0].line, "POST /v1/videos/text2video");
    assert_eq!(calls[0].body["callback_url"], ours["callback_url"]);
    assert_eq!(calls[0].body["external_task_id"], ours["external_task_id"]);
    assert_eq!(calls[1].line, "POST /text-to-video/kling-2.6");
    assert_eq!(
        calls[1].body,
        json!({ "prompt": "a red fox", "options": ours })
    );
    for call in calls {
        assert!(
            call.headers
                .contains("authorization: bearer api-key-kling-sample\r\n")
        );
        assert!(call.headers.contains("content-type: application/json\r\n"));
    }
}

#[tokio::test]
async fn a_refusal_is_handed_on_as_facts() {
    let body = json!({ "code": 1303, "message": "parallel task over resource pack limit",
        "request_id": "r-2" });
    let step = Step::Answer(429, "retry-after: 7\r\n", body.to_string());
    let reply = refused(created_after(step).await);
    let expected = Reply {
        http: 429,
        code: Some(1303),
        message: "parallel task over resource pack limit".to_owned(),
        request_id: Some("r-2".to_owned()),
        retry_after: Some(Duration::from_secs(7)),
    };
    assert_eq!(reply, expected);
    // A code other than 0 is no success, whatever the status says.
    let reply = refused(created_after(answer(200, json!({ "code": 1201, "message": "m" }))).await);
    assert_eq!((reply.http, reply.code), (200, Some(1201)));
}

#[tokio::test]
async fn answers_that_are_not_klings_have_no_code() {
    for (http, headers) in [
        (404, ""),
        (504, ""),
        (200, ""),
        (302, "location: /v1/other\r\n"),
    ] {
        let step = Step::Answer(http, headers, "<html>no</html>".to_owned());
        let reply = refused(created_after(step).await);
        assert_eq!((reply.http, reply.code), (http, None));
    }
}

#[tokio::test]
async fn what_may_have_arrived_has_an_unknown_outcome() {
    let long = answer(
        200,
        json!({ "code": 0, "data": { "id": "1", "x": "x".repeat(8 << 10) } }),
    );
    let cut = Step::Answer(200, "transfer-encoding: chunked\r\n", "zz".to_owned());
    for step in [Step::HangUp, success(json!({})), long, cut] {
        let step_text = format!("{step:?}");
        match created_after(step).await {
            Err(CallFailure::OutcomeUnknown(_)) => {}
            other => panic!("{step_text}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn silence_ends_at_the_timeout_with_an_unknown_outcome() {
    let server = ScriptedKling::start(vec![Step::Silence]).await;
    let request_timeout = Duration::from_millis(200);
    let kling = config::Kling {
        request_timeout,
        ..api_key(&server)
    };
    let failure = create(&kling, LEGACY).await.unwrap_err();
    assert!(
        matches!(failure, CallFailure::OutcomeUnknown(_)),
        "{failure:?}"
    );
}

#[tokio::test]
async fn what_was_never_sent_is_known_not_to_exist() {
    let server = ScriptedKling::start(Vec::new()).await;
    let mut kling = api_key(&server);
    // A port that nobody listens on: it was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    kling.base_url = format!("http://{free}").parse().unwrap();
    let failure = create(&kling, LEGACY).await.unwrap_err();
    assert!(matches!(failure, CallFailure::NotSent(_)), "{failure:?}");
    kling.base_url = "https://no-such-host.invalid".parse().unwrap();
    let failure = create(&kling, LEGACY).await.unwrap_err();
    assert!(matches!(failure, CallFailure::NotSent(_)), "{failure:?}");
}

#[tokio::test]
async fn a_path_that_would_be_another_endpoint_is_not_called() {
    let server = ScriptedKling::start(Vec::new()).await;
    for path in [
        "/text-to-video/../account",
        "/text-to-video/a?b",
        "/a//b",
        "tasks",
        "/a/%2e",
        "",
    ] {
        let failure = create(&api_key(&server), path).await.unwrap_err();
        assert!(
            matches!(failure, CallFailure::Impossible(_)),
            "{path}: {failure:?}"
        );
    }
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn a_refused_token_is_signed_again_once() {
    let old = || answer(401, json!({ "code": 1004, "message": "expired" }));
    let server = ScriptedKling::start(vec![old(), created()]).await;
    create(&pair(&server), LEGACY).await.unwrap();
    let bodies: Vec<_> = server.calls().into_iter().map(|call| call.body).collect();
    assert_eq!(bodies[0], bodies[1]);
    let server = ScriptedKling::start(vec![old(), old()]).await;
    let reply = refused(create(&pair(&server), LEGACY).await);
    assert_eq!(reply.code, Some(1004));
    assert_eq!(server.calls().len(), 2);
    // An API key cannot be signed again.
    assert_eq!(refused(created_after(old()).await).code, Some(1004));
}

#[tokio::test]
async fn kling_cannot_make_a_refusal_carry_the_address_on() {
    let url = callback_url();
    let proof = url.expose().rsplit('/').next().unwrap().to_owned();
    let message = format!("callback_url {} ({proof}) is not reachable", url.expose());
    let reply =
        refused(created_after(answer(400, json!({ "code": 1201, "message": message }))).await);
    let expected = "callback_url (callback address) ((callback address)) is not reachable";
    assert_eq!(reply.message, expected);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_call_leaves_one_line_without_anything_secret() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone());
    // With a single subscriber, `tracing` remembers for all threads what one of them, which has
    // none, cares to see.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let new = success(json!({ "id": "893605946402811985", "status": "submitted" }));
    let server = ScriptedKling::start(vec![new, success(json!([])), Step::HangUp]).await;
    let kling = api_key(&server);
    let client = client(&kling);
    create(&kling, NEW).await.unwrap();
    let look_ups = [queries::look_up(1, Some("k1"))];
    client.query(&look_ups, QueryReason::Quiet).await.unwrap();
    create(&kling, LEGACY).await.unwrap_err();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let fields: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"].take())
        .collect();
    assert_eq!(fields.len(), 3, "{text}");
    assert_eq!(fields[0]["endpoint"], "POST /text-to-video/{model}");
    assert_eq!(
        (&fields[0]["http"], &fields[0]["request_id"]),
        (&json!(200), &json!("r-1"))
    );
    assert_eq!(fields[1]["endpoint"], "GET /tasks");
    assert_eq!(fields[2]["result"], "unknown");
    assert!(fields.iter().all(|fields| fields["duration_ms"].is_u64()));
    for secret in ["api-key-kling", "callbacks", "red fox", "k1", "127.0.0.1"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn credentials_never_go_out_in_the_clear() {
    let server = ScriptedKling::start(Vec::new()).await;
    for (base_url, fine) in [
        ("http://api.example.com", false),
        ("http://10.0.0.1", false),
        ("http://localhost:1", true),
        ("http://[::1]:1", true),
        ("https://api.example.com", true),
    ] {
        let kling = config::Kling {
            base_url: base_url.parse().unwrap(),
            ..api_key(&server)
        };
        assert_eq!(try_client(&kling).is_ok(), fine, "{base_url}");
    }
    let ca_file = Some("/no/such/file.pem".into());
    let kling = config::Kling {
        ca_file,
        ..api_key(&server)
    };
    assert!(matches!(try_client(&kling), Err(ClientSetUp::CaFile(_))));
}
