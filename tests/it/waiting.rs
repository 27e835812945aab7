//! Tasks that wait: for their `not_before`, for the off-peak window, over restarts, and for longer
//! than their request is kept.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use kling_relay::app::App;
use kling_relay::config::{Config, Role};
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::log::ReadFrom;
use kling_relay::edge::nats::topology;
use kling_relay::model::event::EventKind;
use kling_relay::model::ids::TaskId;
use kling_relay::model::task::{Status, Task};
use kling_relay::sim::Simulator;
use kling_relay::telemetry;
use serde_json::{Value, json};

use crate::broker::Node;
use crate::world::{DEADLINE, TENANTS, client, follow_until, secret_of, stage, video};

/// A program that can be stopped and started again at any time of any day.
struct Rig {
    sim: Simulator,
    config: Config,
    clock: Clock,
    /// Midnight of the first day, in UTC.
    midnight: Timestamp,
    _node: Node,
    _data: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let data = tempfile::tempdir().unwrap();
        let node = Node::start();
        let (sim, mut config) = stage(data.path(), None).await;
        config.nats.url = Some(node.endpoint().url);
        // Nobody completes what is made here, so nothing gives its slot back.
        config.kling.max_concurrent = 20;
        config.dispatcher.off_peak = Some("22:00-06:00".parse().unwrap());
        let clock = Clock::system();
        let today = clock.now().to_zoned(TimeZone::UTC).date();
        let tomorrow = today.checked_add(1.day()).unwrap();
        let midnight = tomorrow.to_zoned(TimeZone::UTC).unwrap().timestamp();
        Self {
            sim,
            config,
            clock,
            midnight,
            _node: node,
            _data: data,
        }
    }

    /// A moment, by seconds since the first midnight.
    fn at(&self, hours: i64, seconds: i64) -> Timestamp {
        self.midnight + SignedDuration::from_hours(hours) + SignedDuration::from_secs(seconds)
    }

    /// Starts the program at a moment.
    async fn start(&self, at: Timestamp) -> App {
        let offset = at.duration_since(Clock::system().now());
        let offset_ms = i64::try_from(offset.as_millis()).unwrap();
        self.clock.set_offset_ms(offset_ms);
        let (roles, recorder) = (
            [Role::Intake, Role::Dispatcher, Role::Accountant],
            telemetry::recorder("test"),
        );
        let app = App::start(&self.config, &roles, self.clock.clone(), recorder).await;
        app.unwrap()
    }
}

async fn post(app: &App, path: &str, body: &Value) -> Value {
    let url = format!("http://{}{path}", app.address("api").unwrap());
    let request = client().post(url).bearer_auth(secret_of(TENANTS[0]));
    let answer = request.json(body).send().await.unwrap();
    let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap());
    assert!(status.is_success(), "{body}");
    body
}

async fn submit(app: &App, more: Value) -> TaskId {
    let mut request = video("");
    for (key, value) in more.as_object().unwrap() {
        request[key] = value.clone();
    }
    let accepted = post(app, "/v1/tasks", &request).await;
    TaskId::parse(accepted["task_id"].as_str().unwrap()).unwrap()
}

async fn task(app: &App, id: &TaskId) -> Task {
    app.log().load(id).await.unwrap().unwrap().task
}

/// Waits until it is at Kling, and tells when a dispatcher took it.
async fn taken_at(app: &App, id: &TaskId) -> Timestamp {
    let there = |task: &Task| task.status == Status::Submitted;
    follow_until(app.log(), std::slice::from_ref(id), DEADLINE, there).await;
    let claim = app.log().last(id, EventKind::Dispatching).await.unwrap();
    claim.unwrap().task_event().unwrap().task.occurred_at
}

/// A task that waits for nothing goes to Kling: whatever was ready went before it, or with it.
async fn dispatcher_has_looked(app: &App) {
    let plain = submit(app, json!({})).await;
    taken_at(app, &plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_off_peak_task_is_dispatched_at_night_whatever_restarts() {
    let rig = Rig::new().await;
    let app = rig.start(rig.at(12, 0)).await;
    let waits = submit(&app, json!({"off_peak": true})).await;
    let later = json!({"off_peak": true, "not_before": rig.at(31, 0).to_string()});
    let later = submit(&app, later).await;
    let inside = json!({"off_peak": true, "not_before": rig.at(23, 1800).to_string()});
    let inside = submit(&app, inside).await;
    dispatcher_has_looked(&app).await;
    for (id, night) in [
        (&waits, rig.at(22, 0)),
        (&later, rig.at(46, 0)),
        (&inside, rig.at(23, 1800)),
    ] {
        let task = task(&app, id).await;
        assert_eq!(task.status, Status::Requested);
        assert_eq!(task.relay.not_before, Some(night));
        // Its money is held on the day on which it may be dispatched.
        assert_eq!(task.relay.day.0, night.to_zoned(TimeZone::UTC).date());
    }
    app.stop().await;

    // Down all night: the window is missed, and the next morning is no night.
    let app = rig.start(rig.at(30, 1)).await;
    dispatcher_has_looked(&app).await;
    assert_eq!(task(&app, &waits).await.status, Status::Requested);
    app.stop().await;

    let app = rig.start(rig.at(46, -2)).await;
    dispatcher_has_looked(&app).await;
    for id in [&waits, &inside, &later] {
        let taken = taken_at(&app, id).await;
        assert!(taken >= rig.at(46, 0), "{taken} is no night");
    }
    // Inside the window it goes at once.
    let now = submit(&app, json!({"off_peak": true})).await;
    assert_eq!(task(&app, &now).await.relay.not_before, None);
    taken_at(&app, &now).await;
    assert_eq!(rig.sim.stats().creates.accepted, 7);
    app.stop().await;
    rig.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_task_keeps_its_time_over_a_restart() {
    let rig = Rig::new().await;
    let app = rig.start(rig.at(12, 0)).await;
    let due = rig.at(30, 0);
    let waits = submit(&app, json!({"not_before": due.to_string()})).await;
    dispatcher_has_looked(&app).await;
    app.stop().await;
    let app = rig.start(due - SignedDuration::from_secs(2)).await;
    dispatcher_has_looked(&app).await;
    let taken = taken_at(&app, &waits).await;
    assert!(taken >= due, "{taken} is before its time");
    app.stop().await;
    rig.sim.stop().await;
}

async fn submit_with(app: &App, tags: &str) -> TaskId {
    let accepted = post(app, "/v1/tasks", &video(tags)).await;
    TaskId::parse(accepted["task_id"].as_str().unwrap()).unwrap()
}

/// Waits until a task is as it should be.
async fn becomes(app: &App, id: &TaskId, done: impl Fn(&Task) -> bool) -> Task {
    let mut tasks = follow_until(app.log(), std::slice::from_ref(id), DEADLINE, done).await;
    tasks.remove(id).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_expires_before_its_dispatch_fails_only_what_kling_never_had() {
    let mut rig = Rig::new().await;
    // Every step of a task renews what comes after it; the request itself is kept so long.
    rig.config.retention.tasks = Duration::from_secs(4);
    let app = rig.start(Clock::system().now()).await;
    let refused = submit_with(&app, "create=1303").await;
    let unknown = submit_with(&app, "create=504-beforex1000").await;
    // While there is a request, no wait is longer than half a second and its jitter.
    let patient = |task: &Task| {
        let next = task.relay.not_before.unwrap_or(task.occurred_at);
        next.duration_since(task.occurred_at) >= SignedDuration::from_secs(5)
    };
    let (failed, open) = tokio::join!(
        becomes(&app, &refused, |task| task.relay.settled_at.is_some()),
        becomes(&app, &unknown, patient),
    );
    // Kling has refused it each time: it never had it, and nothing was spent.
    assert_eq!(failed.error.unwrap().code, "expired");
    assert!(failed.relay.attempts > 2, "it was tried until then");
    assert!(failed.deduction[0].amount.is_zero());
    // Nobody knows: its money stays held, and Kling is asked ever less often.
    assert_eq!(
        (open.status, open.relay.may_exist, open.relay.claim),
        (Status::Dispatching, true, None)
    );
    let subject = topology::task_subject(&unknown, EventKind::Failed);
    let ended = app.log().read(&subject, ReadFrom::Sequence(1), 1).await;
    assert!(ended.unwrap().is_empty(), "no verdict without evidence");
    app.stop().await;
    rig.sim.stop().await;
}
