//! `/livez`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use kling_relay::config::{ListenerLimits, Role};
use kling_relay::http::health::{self, Readiness};
use kling_relay::telemetry::{METRICS, recorder};
use serde_json::{Value, json};

use super::{Served, eventually, start};

async fn admin(readiness: Readiness) -> Served {
    let router: Router = health::router(readiness, recorder("test"));
    start(ListenerLimits::default(), router, false, super::DEADLINE).await
}

async fn get(served: &Served, path: &str) -> (u16, String) {
    let client = served.client().build().expect("it can be built");
    let answer = client
        .get(served.url(path))
        .send()
        .await
        .expect("it answers");
    (
        answer.status().as_u16(),
        answer.text().await.expect("it is text"),
    )
}

#[tokio::test]
async fn ready_when_probes_and_roles_are_and_not_before() {
    let full = Arc::new(AtomicBool::new(true));
    let broker = Arc::clone(&full);
    let readiness = Readiness::builder()
        .probe("broker", move || {
            let full = broker.load(Ordering::Relaxed);
            async move {
                if full {
                    Err("the stream is full".to_owned())
                } else {
                    Ok(())
                }
            }
        })
        .build(&[Role::Intake, Role::Receiver]);
    let served = admin(readiness.clone()).await;
    assert_eq!(get(&served, "/livez").await, (200, "ok\n".to_owned()));

    readiness.running(Role::Intake);
    let (status, body) = get(&served, "/readyz").await;
    assert_eq!(status, 503);
    let body: Value = serde_json::from_str(&body).unwrap();
    let expected = json!({
        "ready": false,
        "checks": {
            "broker": { "ok": false, "problem": "the stream is full" },
            "role.intake": { "ok": true },
            "role.receiver": { "ok": false, "problem": "starting" },
        }
    });
    assert_eq!(body, expected);

    full.store(false, Ordering::Relaxed);
    readiness.running(Role::Receiver);
    eventually("ready", || async { get(&served, "/readyz").await.0 == 200 }).await;
    readiness.down(Role::Receiver, "the listener died");
    assert_eq!(get(&served, "/readyz").await.0, 503);
    readiness.running(Role::Receiver);
    readiness.stopping();
    let (status, body) = get(&served, "/readyz").await;
    assert!(status == 503 && body.contains("stopping"), "{body}");
}

#[tokio::test]
async fn probes_run_at_most_once_a_second() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let readiness = Readiness::builder()
        .probe("broker", move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        })
        .build(&[]);
    let started = std::time::Instant::now();
    let asked = futures::future::join_all((0..50).map(|_| readiness.report())).await;
    assert!(asked.iter().all(|report| report.ready));
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!(runs.load(Ordering::Relaxed) <= 1 + seconds);
}

#[tokio::test]
async fn who_waits_for_a_slow_probe_waits_for_one() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let readiness = Readiness::builder()
        .probe("broker", move || {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::pending()
        })
        .build(&[]);
    let asked = futures::future::join_all((0..6).map(|_| readiness.report())).await;
    assert!(asked.iter().all(|report| !report.ready));
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_probe_that_panics_is_not_ready() {
    let readiness = Readiness::builder()
        .probe("broker", || async { panic!("on purpose") })
        .build(&[]);
    assert!(!readiness.report().await.ready);
    assert!(
        !readiness.report().await.ready,
        "and does not stop the next one"
    );
}

#[tokio::test]
async fn metrics_are_described_and_strangers_learn_nothing() {
    let served = admin(Readiness::builder().build(&[])).await;
    metrics::histogram!(kling_relay::telemetry::PUBLISH_SECONDS, "kind" => "test").record(0.004);
    let (status, body) = get(&served, "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        body.contains("kling_relay_info{environment=\"test\""),
        "{body}"
    );
    assert!(body.contains("kling_relay_publish_seconds_bucket{kind=\"test\",le=\"0.005\"} 1"));
    // There before its first event.
    assert!(body.contains("\nkling_relay_unsigned_after_signed_total "));
    let help = METRICS
        .iter()
        .find(|m| m.name == "kling_relay_publish_seconds")
        .unwrap()
        .help;
    assert!(body.contains(&format!("# HELP kling_relay_publish_seconds {help}")));
    assert_eq!(
        get(&served, "/other").await,
        (404, "not found\n".to_owned())
    );
    let client = served.client().build().unwrap();
    let answer = client.post(served.url("/livez")).send().await.unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.text().await.unwrap(), "method not allowed\n");
}
