//! Ten thousand tasks whose callbacks were all lost: one sweep asks about every one of them within
//! a minute, at ten questions a second of twenty ids each, from a platform that takes its time.

use std::time::{Duration, Instant};

use futures::StreamExt;
use kling_relay::app::App;
use kling_relay::config::{Config, Role};
use kling_relay::edge::clock::Clock;
use kling_relay::model::amount::Unit;
use kling_relay::model::ids::{KlingTaskId, TaskId};
use kling_relay::sim::{SimConfig, Simulator};
use kling_relay::telemetry;
use rust_decimal::Decimal;
use serde_json::json;

use super::open_tasks::{accept, submit};
use super::tell;
use crate::broker::{Node, open, until};
use crate::kit::key;
use crate::world::{client_trusting, stage};

const TASKS: usize = 10_000;
const LIMIT: Duration = Duration::from_secs(60);

/// Creates each at the platform, and says under which id.
async fn create(
    sim: &Simulator,
    client: &reqwest::Client,
    ids: Vec<TaskId>,
) -> Vec<(TaskId, KlingTaskId)> {
    let url = format!("{}/text-to-video/kling-2.6", sim.base_url());
    futures::stream::iter(ids)
        .map(async |id| {
            let body = json!({ "prompt": "A paper boat",
                "settings": { "duration": 5, "resolution": "720p", "audio": "off" },
                "options": { "external_task_id": id.as_str() } });
            let answer = client
                .post(&url)
                .bearer_auth("api-key-kling-simulator")
                .json(&body)
                .send()
                .await;
            let answer: serde_json::Value = answer.expect("it answers").json().await.expect("JSON");
            let kling_id = answer["data"]["id"]
                .as_str()
                .unwrap_or_else(|| panic!("{answer}"));
            (id, KlingTaskId::parse(kling_id).expect("an id"))
        })
        .buffer_unordered(16)
        .collect()
        .await
}

async fn start(config: &Config, roles: &[Role], clock: &Clock) -> App {
    let app = App::start(config, roles, clock.clone(), telemetry::recorder("test")).await;
    app.expect("the service starts")
}

/// Waits until so many ids were asked about. It looks now and then only: the platform counts all
/// of its tasks for each look.
async fn asked(sim: &Simulator, ids: u64) {
    let deadline = Instant::now() + 3 * LIMIT;
    while sim.stats().queries.ids < ids {
        assert!(Instant::now() < deadline, "{:?}", sim.stats().queries);
        Clock::system().sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn ten_thousand_silent_tasks_are_asked_about_within_a_minute() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start();
    let platform = |sim: &mut SimConfig| {
        sim.slots.video = u32::try_from(TASKS).expect("a small number");
        sim.timing.query_latency = Duration::from_millis(400);
    };
    let (sim, mut config) = stage(data.path(), Some(Box::new(platform))).await;
    config.nats.url = Some(node.endpoint().url);
    config.reconciler.queries_per_second = 10;
    // Quiet at once, by a clock that is ahead, and not quiet again while the sweep goes on.
    config.reconciler.quiet_after = Duration::from_secs(300);
    let clock = Clock::system();
    clock.set_offset_ms(400_000);
    let (_broker, log) = open(&node.endpoint(), &config.nats).await;
    let now = Clock::system().now();
    let client = client_trusting(config.kling.ca_file.as_ref().expect("a CA"));
    let ids = accept(&log, TASKS, now).await;
    let tasks = create(&sim, &client, ids).await;
    submit(&log, tasks, now).await;
    let control = sim.control();
    until("the platform is done", LIMIT, async || control.is_idle()).await;

    let reconciler = start(&config, &[Role::Reconciler], &clock).await;
    let all = TASKS as u64;
    asked(&sim, 1).await;
    let started = Instant::now();
    asked(&sim, all).await;
    let took = started.elapsed();
    let queries = sim.stats().queries;
    tell(&format!(
        "{TASKS} open tasks swept in {:.1} s: {} queries, at most {} ids each",
        took.as_secs_f64(),
        queries.tasks_by_id,
        queries.max_ids
    ));
    assert!(took < LIMIT, "{took:?}");
    assert!(
        took > Duration::from_secs(48),
        "faster than the rate: {took:?}"
    );
    assert_eq!(
        (queries.ids, queries.tasks_by_id, queries.max_ids),
        (all, all / 20, 20),
        "each once, in full batches"
    );
    // What was learnt completes and settles every one. The last answers are still on their way.
    let others = start(&config, &[Role::Completer, Role::Accountant], &clock).await;
    let within = Duration::from_secs(300);
    until("every hold is closed", within, async || {
        let balance = log.balance(&key()).await.ok().flatten();
        balance.is_some_and(|balance| balance[&Unit::Video].held.is_zero())
    })
    .await;
    let balance = log.balance(&key()).await.expect("a broker").expect("a day");
    let taken: Decimal = sim.stats().deductions["video"];
    assert_eq!(balance[&Unit::Video].deducted, taken);
    assert_eq!(sim.stats().queries.ids, all, "nobody asked again");
    others.stop().await;
    reconciler.stop().await;
    sim.stop().await;
}
