//! The client and the callback proofs against the stand-in platform, over TLS.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use kling_relay::config;
use kling_relay::decide::retry::{Backoff, CreateVerdict, WaitClass, after_read, classify_create};
use kling_relay::edge::clock::Clock;
use kling_relay::edge::kling::callback_url::CapabilityKeys;
use kling_relay::edge::kling::client::{Answer, Client, LookUp, QueryReason, Sight};
use kling_relay::edge::kling::signature::{SignatureVerdict, WebhookSecrets};
use kling_relay::edge::kling::wire::{Terms, parse_callback};
use kling_relay::model::amount::Unit;
use kling_relay::model::ids::{TaskId, Tenant};
use kling_relay::model::observation::{Observation, ObservedStatus};
use kling_relay::model::reply::CallFailure;
use kling_relay::model::request::KlingCall;
use kling_relay::sim::config::Timing;
use kling_relay::sim::{SimConfig, Simulator};
use secrecy::SecretString;
use serde_json::json;

const DEADLINE: Duration = Duration::from_secs(20);
const NEW: &str = "/text-to-video/kling-2.6";
const LEGACY: &str = "/v1/videos/text2video";
const WEBHOOK_SECRET: &str = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=";

/// A callback as it arrived: path, headers, body.
type Received = Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>;

struct World {
    sim: Simulator,
    kling: config::Kling,
    keys: CapabilityKeys,
    receiver_url: url::Url,
    received: Received,
    _ca_file: tempfile::NamedTempFile,
}

async fn receive(State(received): State<Received>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let callback = (parts.uri.path().to_owned(), parts.headers, body);
    received.lock().unwrap().push(callback);
    StatusCode::OK
}

async fn world() -> World {
    // An error says that another test has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let at_once = Timing {
        queue_time: Duration::ZERO,
        process_time: Duration::ZERO,
        ..Timing::default()
    };
    let sim = Simulator::start(SimConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        api_keys: vec!["api-key".to_owned()],
        access_keys: vec![("access".to_owned(), "secret".to_owned())],
        webhook_secrets: vec![WEBHOOK_SECRET.to_owned()],
        timing: at_once,
        ..SimConfig::default()
    })
    .await
    .unwrap();
    let ca_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca_file.path(), sim.ca_pem()).unwrap();
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver_url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(receive).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let key = SecretString::from("k1:0123456789abcdef0123456789abcdef");
    World {
        kling: config::Kling {
            base_url: sim.base_url().parse().unwrap(),
            ca_file: Some(ca_file.path().to_owned()),
            api_key: Some(SecretString::from("api-key")),
            ..config::Kling::default()
        },
        keys: CapabilityKeys::parse(&[key]).unwrap(),
        receiver_url: receiver_url.parse().unwrap(),
        received,
        sim,
        _ca_file: ca_file,
    }
}

fn client(kling: &config::Kling) -> Client {
    let at_once = Backoff {
        base: Duration::ZERO,
        cap: Duration::ZERO,
        attempts_max: 3,
    };
    let retry = move |failure: &CallFailure, attempt| after_read(failure, attempt, at_once, 0.0);
    Client::new(kling, Box::new(retry), Clock::system()).unwrap()
}

fn task_id(n: u128) -> TaskId {
    TaskId::from_bits(&Tenant::parse("team-a").unwrap(), n)
}

fn call(path: &str, prompt: &str) -> KlingCall {
    let body = if path == LEGACY {
        json!({ "model_name": "kling-v2-6", "prompt": prompt, "duration": "5", "mode": "std" })
    } else {
        json!({ "prompt": prompt, "settings": { "duration": 5, "resolution": "720p" } })
    };
    KlingCall {
        path: path.to_owned(),
        body: body.as_object().unwrap().clone(),
    }
}

fn look_up(n: u128, path: &str) -> LookUp {
    LookUp {
        kling_id: None,
        external_id: task_id(n),
        path: path.to_owned(),
        terms: Terms::new(Unit::Video, Unit::Usd),
    }
}

impl World {
    async fn create(&self, n: u128, path: &str, prompt: &str) -> Result<Observation, CallFailure> {
        let url = self.keys.mint(&self.receiver_url, &task_id(n));
        client(&self.kling)
            .create(&call(path, prompt), &task_id(n), &url)
            .await
    }

    /// Asks until the task has ended.
    async fn ended(&self, look_up: &LookUp) -> Sight {
        let started = Instant::now();
        loop {
            let look_ups = std::slice::from_ref(look_up);
            let client = client(&self.kling);
            let answers = client.query(look_ups, QueryReason::Quiet).await.unwrap();
            match answers.into_iter().next() {
                Some(Answer::Seen(sight)) => match sight.observation.status {
                    ObservedStatus::Succeeded | ObservedStatus::Failed => return *sight,
                    ObservedStatus::Submitted | ObservedStatus::Processing => {}
                },
                other => panic!("{other:?}"),
            }
            assert!(started.elapsed() < DEADLINE, "the task never ended");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_standards_are_created_and_read_with_an_api_key() {
    let world = world().await;
    for (n, path) in [(1, NEW), (2, LEGACY)] {
        let created = world.create(n, path, "a red fox").await.unwrap();
        assert_eq!(created.status, ObservedStatus::Submitted);
        let by_our_id = world.ended(&look_up(n, path)).await;
        let kling_id = Some(created.kling_task_id.clone());
        let by_klings_id = world
            .ended(&LookUp {
                kling_id,
                ..look_up(n, path)
            })
            .await;
        assert_eq!(by_our_id.observation, by_klings_id.observation);
        let seen = by_our_id.observation;
        assert_eq!(seen.external_id.as_deref(), Some(task_id(n).as_str()));
        assert_eq!(seen.status, ObservedStatus::Succeeded);
        assert_eq!(
            (seen.outputs.len(), seen.outputs[0].kind.as_str()),
            (1, "video")
        );
        assert_eq!(seen.billing.unwrap()[0].unit, Unit::Video);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_pair_reaches_the_legacy_standard_only() {
    let mut world = world().await;
    world.kling.api_key = None;
    world.kling.access_key = Some(SecretString::from("access"));
    world.kling.secret_key = Some(SecretString::from("secret"));
    let created = world.create(1, LEGACY, "a red fox").await.unwrap();
    let seen = world.ended(&look_up(1, LEGACY)).await.observation;
    assert_eq!(seen.kling_task_id, created.kling_task_id);
    assert_eq!(seen.billing.unwrap()[0].unit, Unit::Video);
    let not_there = client(&world.kling)
        .query(&[look_up(9, LEGACY)], QueryReason::LookUp)
        .await;
    assert_eq!(not_there.unwrap(), [Answer::NotThere]);
    let failure = world.create(2, NEW, "a red fox").await.unwrap_err();
    let verdict = classify_create(&failure, false);
    assert!(
        matches!(verdict, CreateVerdict::AccountStop(_)),
        "{verdict:?}"
    );
    assert_eq!(world.sim.stats().queries.tasks_by_id, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_mean_what_the_table_says() {
    let world = world().await;
    world.create(1, NEW, "a red fox").await.unwrap();
    let verdict = async |n, prompt: &str| {
        let failure = world.create(n, NEW, prompt).await.unwrap_err();
        classify_create(&failure, false)
    };
    assert!(matches!(
        verdict(1, "a red fox").await,
        CreateVerdict::DuplicateId(_)
    ));
    let slot = CreateVerdict::NotCreated {
        class: WaitClass::Slot,
        retry_after: None,
    };
    assert_eq!(verdict(2, "[sim:create=1303]").await, slot);
    let rate = CreateVerdict::NotCreated {
        class: WaitClass::Rate,
        retry_after: None,
    };
    assert_eq!(verdict(3, "[sim:create=1302]").await, rate);
    assert!(matches!(
        verdict(4, "[sim:create=1101]").await,
        CreateVerdict::AccountStop(_)
    ));
    assert!(matches!(
        verdict(5, "[sim:create=1102]").await,
        CreateVerdict::PackEmpty(_)
    ));
    assert!(matches!(
        verdict(6, "[sim:create=1301]").await,
        CreateVerdict::Refused(_)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_exist_is_found_by_our_id_if_it_does() {
    let world = world().await;
    let faults = [
        "504-after",
        "504-before",
        "reset",
        "reset-before",
        "garbage",
        "badgateway",
    ];
    for (n, fault) in (1..).zip(faults) {
        let failure = world
            .create(n, NEW, &format!("[sim:create={fault}]"))
            .await
            .unwrap_err();
        assert_eq!(
            classify_create(&failure, false),
            CreateVerdict::MayExist,
            "{fault}"
        );
        let look_ups = [look_up(n, NEW)];
        let answers = client(&world.kling)
            .query(&look_ups, QueryReason::LookUp)
            .await
            .unwrap();
        let found = matches!(answers[0], Answer::Seen(_));
        assert_eq!(found, !fault.ends_with("-before"), "{fault}: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_callback_is_proven_and_read() {
    let world = world().await;
    let tags = ["submitted", "wrapped", "nulls", "early-terminal"];
    let mut expected = 0;
    for (n, tag) in (1..).zip(tags) {
        for (n, path) in [(n, NEW), (n + 100, LEGACY)] {
            let prompt = format!("a red fox [sim:callback={tag}]");
            world.create(n, path, &prompt).await.unwrap();
            expected += if tag == "submitted" { 3 } else { 2 };
        }
    }
    let started = Instant::now();
    while world.received.lock().unwrap().len() < expected {
        assert!(
            started.elapsed() < DEADLINE,
            "{} of {expected}",
            world.received.lock().unwrap().len()
        );
        tokio::task::yield_now().await;
    }
    let secrets = WebhookSecrets::parse(&[SecretString::from(WEBHOOK_SECRET)]).unwrap();
    for (path, headers, body) in world.received.lock().unwrap().iter() {
        let segments: Vec<_> = path.split('/').collect();
        let ["", "callbacks", tenant, task, proof] = segments[..] else {
            panic!("{path}")
        };
        let task = world.keys.verify(tenant, task, proof).unwrap();
        let verdict = secrets.verify(headers, body, Clock::system().now());
        assert_eq!(verdict, SignatureVerdict::Signed);
        let seen = parse_callback(body, Terms::default()).unwrap();
        assert_eq!(seen.external_id.as_deref(), Some(task.as_str()));
        let ended = seen.status == ObservedStatus::Succeeded;
        assert_eq!(
            (seen.outputs.len() == 1, seen.billing.is_some()),
            (ended, ended)
        );
    }
}
