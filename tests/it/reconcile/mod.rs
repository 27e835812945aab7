//! Reconciliation over the whole pipeline: the platform's records are made to disagree on known
//! tasks, and each disagreement is found, and no other.

mod command;
mod daily;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use kling_relay::app;
use kling_relay::decide::reconcile::Class;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::kling::lists::limiter;
use kling_relay::model::amount::Unit;
use kling_relay::model::answer::Adjusted;
use kling_relay::model::ids::{Day, TaskId, Tenant};
use kling_relay::model::ledger::{EntryKind, LedgerKey, LedgerOwner};
use kling_relay::model::task::Task;
use kling_relay::ops::connect::{Need, connect};
use kling_relay::ops::reconcile::{Range, Report, Signature, compare, post};
use kling_relay::sim::SimConfig;
use kling_relay::stage::ledger_audit::LedgerAudit;
use rust_decimal::Decimal;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::broker::until;
use crate::world::{DEADLINE, Options, World, legacy_video, video};

/// Room for everything at once, and a ledger over all tenants.
fn roomy() -> Options {
    Options::default()
        .sim(|sim: &mut SimConfig| sim.slots.video = 100)
        .service(|config| {
            config.kling.max_concurrent = 100;
            config.budget.account_daily_limit = config.budget.daily_limit.clone();
        })
}

/// Small pages, so that every list has several.
fn audit(world: &World, clock: &Clock, lag: SignedDuration) -> LedgerAudit {
    let mut rules = app::audit_rules(&world.config).expect("a good configuration");
    (rules.lag, rules.tasks_page, rules.records_page) = (lag, 7, 5);
    let kling = app::kling(&world.config, clock).expect("a good configuration");
    let log = world.app.log().clone();
    LedgerAudit::new(log, Arc::new(kling), clock.clone(), limiter(100), rules)
}

/// Compares the days of these tasks: two of them around midnight.
async fn compared(world: &World, tasks: &[Task], lag: SignedDuration) -> Report {
    let days: BTreeSet<Day> = tasks.iter().map(|task| task.relay.day).collect();
    let range = Range {
        from: *days.first().expect("a task"),
        to: *days.last().expect("a task"),
        tenant: None,
    };
    let audit = audit(world, &Clock::system(), lag);
    compare(&audit, &range).await.expect("everybody answers")
}

async fn posted(world: &World, report: &Report) -> Adjusted {
    let clock = Clock::system();
    let link = connect(&world.config, &clock, Need::Service).await;
    let link = link.expect("a broker");
    let signature = Signature {
        who: "ada".to_owned(),
        reason: "Kling's records".to_owned(),
    };
    let adjusted = post(&link, report, &signature).await.expect("a service");
    link.close().await;
    adjusted
}

/// What a report lists: our id or Kling's, the class and what would change.
fn listed(report: &Report) -> BTreeMap<String, String> {
    let findings = report.findings.iter().map(|finding| {
        let kling = finding.kling_task_id.as_ref().map(ToString::to_string);
        let id = finding.task_id.as_ref().map(ToString::to_string);
        let changes = finding.changes.iter();
        let changes =
            changes.map(|change| format!("{} {}→{}", change.unit, change.from, change.to));
        let changes: Vec<String> = changes.collect();
        let words = format!("{} {}", finding.class.as_str(), changes.join(", "));
        (id.or(kling).expect("an id"), words.trim().to_owned())
    });
    findings.collect()
}

/// Deductions of one owner over all days of these tasks, by unit.
async fn deducted(world: &World, owner: LedgerOwner, tasks: &[Task]) -> BTreeMap<Unit, Decimal> {
    let days: BTreeSet<Day> = tasks.iter().map(|task| task.relay.day).collect();
    let mut sums = BTreeMap::new();
    for day in days {
        let key = LedgerKey {
            owner: owner.clone(),
            day,
        };
        let balance = world.app.log().balance(&key).await.expect("a broker");
        for (unit, of_unit) in balance.unwrap_or_default() {
            *sums.entry(unit).or_insert(Decimal::ZERO) += of_unit.deducted;
        }
    }
    sums.retain(|_, amount| !amount.is_zero());
    sums
}

fn image() -> Value {
    json!({ "product": "image-generation", "model": "kling-v3", "prompt": "A railway poster" })
}

/// Requests whose figures agree, whatever happens to them.
fn agreeing() -> Vec<Value> {
    let tags = [
        "",
        "",
        "fail=moderation",
        "billing=over:2.5",
        "billing=amount:0.35",
        "billing=split",
        "billing=none",
        "billing=never",
        "billing=cash",
        "billing=mixed:0.5",
        "record=split",
        "billing=mixed:0.5,callback=duplicate",
    ];
    let both = tags
        .iter()
        .flat_map(|tags| [video(tags), legacy_video(tags)]);
    both.chain([image(), image()]).collect()
}

/// Requests that are made to differ, with what is to be found.
const DIFFERING: [(&str, &str); 8] = [
    ("record=missing", "missing-at-kling"),
    ("record=amount:7", "different video-unit 1.5→7"),
    ("record=amount:0", "different video-unit 1.5→0"),
    ("record=twice", "different video-unit 1.5→3"),
    ("record=cash", "different video-unit 1.5→0, USD 0→0.21"),
    (
        "record=pack:image",
        "different video-unit 1.5→0, image-unit 0→1.5",
    ),
    ("billing=never,record=amount:2", "assumed video-unit 1.5→2"),
    (
        "billing=mixed:0.5,record=amount:1.5",
        "different video-unit 0.5→1.5, USD 0.14→0",
    ),
];

/// What a run leaves behind.
struct Run {
    world: World,
    tasks: Vec<Task>,
    expected: BTreeMap<String, String>,
    /// Tasks that Kling took something for, and that stay open with us.
    unsettled: TaskId,
    foreign: Decimal,
}

async fn run() -> Run {
    let world = World::start(roomy()).await;
    let mut ids = world.submit_all(&agreeing()).await;
    ids.extend(
        world
            .submit_batch("zeta", &[video(""), legacy_video("")])
            .await,
    );
    let mut expected = BTreeMap::new();
    for (n, (tags, found)) in DIFFERING.iter().enumerate() {
        let tenant = ["acme", "zeta"][n % 2];
        let requests = [video(tags), legacy_video(tags)];
        for id in world.submit_batch(tenant, &requests).await {
            expected.insert(id.to_string(), (*found).to_owned());
            ids.push(id);
        }
    }
    // Nobody says that it has ended; it ends all the same.
    let silent = world.submit(&video("callback=drop")).await;
    let stuck = world.submit(&video("stuck")).await;
    let control = world.control();
    until("the silent task has ended", DEADLINE, async || {
        let task = control.task(silent.as_str());
        task.is_some_and(|task| task.deducted.is_some())
    })
    .await;
    world
        .reaches(&stuck, kling_relay::model::task::Status::Submitted)
        .await;
    expected.insert(silent.to_string(), "missing-in-ledger".to_owned());
    let tasks: Vec<Task> = world.finished(&ids).await.into_values().collect();
    // Others use the account; one of them has an id of our form, of which we know nothing.
    let acme = Tenant::parse("acme").expect("a tenant");
    let lost = TaskId::from_bits(&acme, 7);
    for name in [None, Some("their-own"), Some(lost.as_str())] {
        let kling_id = control.add_foreign(name, Decimal::new(25, 1));
        match name.filter(|name| *name == lost.as_str()) {
            Some(name) => expected.insert(name.to_owned(), "missing-in-ledger".to_owned()),
            None => expected.insert(kling_id, "unknown".to_owned()),
        };
    }
    Run {
        world,
        tasks,
        expected,
        unsettled: silent,
        foreign: Decimal::new(75, 1),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_injected_difference_is_found_and_no_other() {
    let Run {
        world,
        tasks,
        expected,
        unsettled,
        foreign,
    } = Box::pin(run()).await;
    let at_once = SignedDuration::ZERO;
    let report = compared(&world, &tasks, at_once).await;
    assert_eq!(listed(&report), expected);
    let agree = agreeing().len() as u64 + 2;
    assert_eq!(report.counts[&Class::Match], agree);
    assert_eq!(report.counts[&Class::Pending], 1, "the stuck one");
    assert_eq!(report.counts[&Class::Unknown], 2);
    let queries = world.stats().queries;
    assert!(
        queries.tasks_by_cursor > 5 && queries.account > 10,
        "{queries:?}"
    );

    // What is young is not judged, but for what further records cannot make right.
    let young = compared(&world, &tasks, SignedDuration::from_hours(12)).await;
    let mut patient = expected.clone();
    patient
        .retain(|_, found| !found.starts_with("missing") && *found != "different video-unit 1.5→0");
    assert_eq!(listed(&young), patient);

    // Two operators post at the same time, and once more.
    let postable = expected
        .values()
        .filter(|found| found.contains('→'))
        .count() as u64;
    let (first, second) = tokio::join!(posted(&world, &report), posted(&world, &report));
    assert_eq!(
        first.posted + second.posted,
        postable,
        "{first:?} {second:?}"
    );
    assert_eq!(first.already + second.already, postable);
    let third = posted(&world, &report).await;
    assert_eq!((third.posted, third.already), (0, postable));
    assert!(third.moved_on.is_empty());

    // What is left is what no figure of Kling's can correct.
    let left = compared(&world, &tasks, at_once).await;
    let mut rest = expected.clone();
    rest.retain(|_, found| !found.contains('→'));
    assert_eq!(listed(&left), rest);
    assert_eq!(left.counts[&Class::Match], agree + postable);
    assert_eq!(posted(&world, &left).await, Adjusted::default());

    books(&world, &tasks, &unsettled, foreign).await;
}

/// Our ledgers are the platform's figures, but for what could not be corrected.
async fn books(world: &World, tasks: &[Task], unsettled: &TaskId, foreign: Decimal) {
    let mut ours = BTreeMap::new();
    for tenant in ["acme", "zeta"] {
        let owner = LedgerOwner::Tenant(Tenant::parse(tenant).expect("a tenant"));
        for (unit, amount) in deducted(world, owner, tasks).await {
            *ours.entry(unit).or_insert(Decimal::ZERO) += amount;
        }
    }
    assert_eq!(deducted(world, LedgerOwner::Account, tasks).await, ours);
    let taken = world.stats().deductions;
    let silent = world
        .control()
        .task(unsettled.as_str())
        .expect("it is there");
    let silent = silent.deducted.expect("it has ended");
    // Two tasks of 1.5 units have no record.
    let missing = Decimal::from(3);
    let video = taken["video"] - foreign - silent + missing;
    let expected = [
        (Unit::Video, video),
        (Unit::Image, taken["image"]),
        (Unit::Usd, taken["cash"]),
    ];
    assert_eq!(ours, BTreeMap::from(expected));
    entries(world).await;
}

/// The entries of every ledger add up to its balance, and say who corrected and why.
async fn entries(world: &World) {
    let entries = crate::kit::everything(world.app.log()).await;
    let entries = entries
        .iter()
        .filter_map(|message| message.ledger_entry().ok());
    let mut sums: BTreeMap<(String, Day, Unit), Decimal> = BTreeMap::new();
    let mut last = BTreeMap::new();
    for entry in entries {
        if let Some(unit) = entry.unit {
            let sum = sums.entry((entry.tenant.clone(), entry.day, unit));
            *sum.or_default() += entry.deducted_change;
        }
        if entry.kind == EntryKind::Adjustment {
            assert_eq!(entry.who.as_deref(), Some("ada"));
            assert!(entry.kling_task_id.is_some() && entry.task_id.is_some());
        }
        last.insert((entry.tenant, entry.day), entry.balance);
    }
    for ((owner, day, unit), sum) in sums {
        assert_eq!(last[&(owner, day)][&unit].deducted, sum);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn access_keys_alone_read_the_legacy_lists() {
    let options = Options::default().service(|config| {
        config.kling.api_key = None;
        config.kling.access_key = Some(SecretString::from("simulator-access"));
        config.kling.secret_key = Some(SecretString::from("simulator-secret"));
    });
    let world = World::start(options).await;
    let mut requests = vec![legacy_video(""); 8];
    requests.extend([image(), legacy_video("record=amount:7")]);
    let ids = world.submit_all(&requests).await;
    let tasks: Vec<Task> = world.finished(&ids).await.into_values().collect();
    let before = world.stats().queries;
    assert_eq!(
        (before.total(), before.account),
        (0, 0),
        "nobody asked for it"
    );
    let report = compared(&world, &tasks, SignedDuration::ZERO).await;
    let found = "different video-unit 1.5→7".to_owned();
    assert_eq!(listed(&report), [(ids[9].to_string(), found)].into());
    assert_eq!(report.counts[&Class::Match], 9);
    let totals = report.totals[&Unit::Video];
    assert_eq!(
        totals.billing,
        Decimal::new(135, 1),
        "the lists tell the bills"
    );
    let queries = world.stats().queries;
    assert_eq!(queries.tasks_by_cursor, 0);
    // Nine videos in pages of seven, and one page of images; twice around midnight.
    assert!((3..=6).contains(&queries.legacy_list), "{queries:?}");
    posted(&world, &report).await;
    world.stop(crate::world::Expected::default()).await;
}
