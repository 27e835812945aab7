//! `usage`: the real program over a ledger that the real money writer wrote.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::SignedDuration;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::Broker;
use kling_relay::edge::nats::log::{Loaded, Log};
use kling_relay::edge::nats::money::{Money, MoneyRules};
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::event::{EventKind, NewEvent};
use kling_relay::model::ids::{TaskId, Tenant};
use kling_relay::model::request::Product;
use kling_relay::model::task::{Status, TaskError};
use kling_relay::ops::schemas;
use kling_relay::stage::digest::Digest;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Place, Said};
use crate::broker::{Node, config, open};
use crate::kit::{billed, limits, new_task};
use crate::schema::violations;

const WITHIN: Duration = Duration::from_secs(20);
const RANGE: [&str; 4] = ["--from", "2026-11-21", "--to", "2026-11-21"];

/// A ledger, and the program beside it.
struct World {
    place: Place,
    money: Money,
    log: Log,
    broker: Broker,
    node: Node,
}

fn amount(text: &str, unit: Unit) -> Amount {
    Amount::new(text.parse().unwrap(), unit)
}

fn video(text: &str) -> Amount {
    amount(text, Unit::Video)
}

impl World {
    async fn start() -> Self {
        let node = Node::start();
        let (broker, log) = open(&node.endpoint(), &config(1)).await;
        // The account's ledger repeats every entry: nothing may be counted twice.
        let rules = MoneyRules {
            account_limits: Some(limits(1_000)),
            ..MoneyRules::new(limits(1_000))
        };
        let money = Money::start(log.clone(), rules, CancellationToken::new()).await;
        Self {
            place: Place::new(),
            money: money.unwrap(),
            log,
            broker,
            node,
        }
    }

    async fn accept(&self, tenant: &str, project: &str, hold: Amount) -> TaskId {
        let tenant = Tenant::parse(tenant).unwrap();
        let cause = format!("{tenant} {project} {hold}");
        let mut new = new_task(&TaskId::derived(&tenant, "usage", &cause), hold);
        let task = &mut new.event.task;
        task.product = Product::TextToVideo;
        let label = ("project".to_owned(), project.to_owned());
        task.labels = BTreeMap::from_iter((!project.is_empty()).then_some(label));
        let id = task.task_id.clone();
        let prompt = ("prompt".to_owned(), json!("A paper boat\nat dawn"));
        new.event.call.as_mut().unwrap().body.extend([prompt]);
        self.money.accept(vec![new], WITHIN).await.unwrap();
        id
    }

    /// Ends a task: well with a bill, or badly without.
    async fn end(&self, id: &TaskId, bill: &[Amount]) -> Loaded {
        let on = self.log.load(id).await.unwrap().unwrap();
        let mut task = on.task.clone();
        task.relay.submitted_at = Some(task.relay.changed_at);
        task.relay.changed_at += SignedDuration::from_secs(90);
        task.billing = Some(bill.to_vec());
        task.status = Status::Succeeded;
        let mut kind = EventKind::Succeeded;
        if bill.is_empty() {
            (task.status, kind) = (Status::Failed, EventKind::Failed);
            task.error = Some(TaskError {
                code: "moderation".to_owned(),
                message: "no".to_owned(),
                retryable: false,
            });
        }
        self.log
            .commit(&on, NewEvent::plain(kind, 1, task))
            .await
            .unwrap();
        self.log.load(id).await.unwrap().unwrap()
    }

    async fn used(&self, tenant: &str, project: &str, hold: &str, bill: &[Amount]) {
        let id = self.accept(tenant, project, video(hold)).await;
        let on = self.end(&id, bill).await;
        self.money
            .settle(&on, billed(&on.task, bill))
            .await
            .unwrap();
    }

    async fn usage(&self, arguments: &[&str]) -> Said {
        let arguments = [&["usage"], arguments].concat();
        let mut command = self.place.command(&arguments);
        command
            .env("KLING_RELAY_NATS__URL", self.node.endpoint().url)
            .env("KLING_RELAY_PRICING__COST__CURRENCY", "USD")
            .env(
                "KLING_RELAY_PRICING__COST__RATES",
                "{ video-unit = \"0.14\" }",
            );
        let output = tokio::process::Command::from(command).output().await;
        output.unwrap().into()
    }

    async fn report(&self, group_by: &str) -> Value {
        let report = [&["report", "--json", "--group-by", group_by], &RANGE[..]].concat();
        let said = self.usage(&report).await;
        assert_eq!(said.code, 0, "{said:?}");
        said.json()
    }

    /// Four ended tasks of two tenants, and one that is open.
    async fn some() -> Self {
        let world = Self::start().await;
        world.used("acme", "spring", "1.5", &[video("1.5")]).await;
        world.used("acme", "autumn", "1.5", &[video("1.2")]).await;
        world.used("acme", "spring", "4", &[]).await;
        world.accept("acme", "spring", video("3")).await;
        let both = [video("1.5"), amount("0.7", Unit::Usd)];
        world.used("zeta", "", "1.5", &both).await;
        world
    }
}

const TABLE: &str = "\
2026-11-21 to 2026-11-21
TENANT  TASKS  SUCCEEDED  FAILED  SUCCESS  LATENCY  VIDEO-UNIT  USD          HELD  COST USD
acme        3          2       1   66.7 %   90.0 s         2.7    0  3 video-unit      0.38
zeta        1          1       0  100.0 %   90.0 s         1.5  0.7             -      0.91
total       4          3       1   75.0 %   90.0 s         4.2  0.7  3 video-unit      1.29
";

#[tokio::test]
async fn a_report_is_a_table_and_the_same_as_json() {
    let world = World::some().await;
    let table = [&["report", "--group-by", "tenant"], &RANGE[..]].concat();
    let said = world.usage(&table).await;
    assert_eq!((said.code, said.stdout.as_str()), (0, TABLE), "{said:?}");

    let report = world.report("tenant").await;
    let schemas: HashMap<String, Value> = schemas::all().into_iter().collect();
    let broken = violations(&schemas["http.usage-report.json"], &report);
    assert!(broken.is_empty(), "{broken:?}");
    let zeta = &report["groups"][1];
    assert_eq!(zeta["group"], json!({ "tenant": "zeta" }));
    let both = json!([{"amount": "1.5", "unit": "video-unit"}, {"amount": "0.7", "unit": "USD"}]);
    assert_eq!(zeta["deducted"], both);
    assert_eq!(zeta["cost"], json!({"amount": "0.91", "currency": "USD"}));
    let total = &report["total"];
    assert_eq!(total["tasks"], 4, "the account's ledger counts for nothing");
    assert_eq!(
        total["held"],
        json!([{"amount": "3", "unit": "video-unit"}])
    );
    assert_eq!(total["mean_latency_seconds"], "90");

    let spring = [
        &["report", "--json", "--label", "project=spring"],
        &RANGE[..],
    ]
    .concat();
    let spring = world.usage(&spring).await.json();
    assert_eq!(spring["label"], "project=spring");
    assert_eq!(
        (&spring["total"]["succeeded"], &spring["total"]["failed"]),
        (&json!(1), &json!(1))
    );
    let other = [
        "report",
        "--json",
        "--from",
        "2026-11-20T23:59:59Z",
        "--to",
        "2026-11-20",
    ];
    assert_eq!(world.usage(&other).await.json()["groups"], json!([]));
    let none = [
        "report",
        "--tenant",
        "nobody",
        "--from",
        "2026-11-01",
        "--to",
        "2026-11-30",
    ];
    world.usage(&none).await.is(0, "nothing was used");
}

#[tokio::test]
async fn records_are_exported_in_three_forms() {
    let world = World::some().await;
    let export = |more: &[&'static str]| [&["export"], &RANGE[..], more].concat();
    let said = world.usage(&export(&[])).await;
    assert_eq!(said.code, 0, "{said:?}");
    let mut table = csv::Reader::from_reader(said.stdout.as_bytes());
    let rows: Vec<HashMap<String, String>> = table.deserialize().map(Result::unwrap).collect();
    let lines = world.usage(&export(&["--json"])).await.lines();
    assert_eq!(
        (rows.len(), lines.len()),
        (5, 5),
        "two units are two records"
    );
    let sum = |tenant: &str| -> Decimal {
        let of = rows.iter().filter(|row| row["tenant"] == tenant);
        of.map(|row| row["credits"].parse::<Decimal>().unwrap())
            .sum()
    };
    assert_eq!(
        (sum("acme").to_string(), sum("zeta").to_string()),
        ("2.7".into(), "2.2".into())
    );
    for (row, line) in rows.iter().zip(&lines) {
        for name in [
            "timestamp",
            "task_id",
            "credits",
            "model",
            "duration",
            "mode",
            "entry_id",
        ] {
            assert_eq!(Some(row[name].as_str()), line[name].as_str(), "{name}");
        }
        assert_eq!(
            row["prompt_preview"], "",
            "prompts are not exported unasked"
        );
        assert!(!said.stdout.contains("paper"), "{row:?}");
    }
    assert_eq!(lines[1]["labels"], json!({ "project": "autumn" }));
    assert_eq!(
        (&lines[1]["estimate"], &lines[1]["credits"]),
        (&json!("1.5"), &json!("1.2"))
    );
    assert_eq!(
        (&lines[2]["kind"], &lines[2]["reason"]),
        (&json!("void"), &json!("moderation"))
    );
    asked_for(&world).await;
}

/// Prompts, and a file.
async fn asked_for(world: &World) {
    let export = |more: &[&'static str]| [&["export"], &RANGE[..], more].concat();
    let with = export(&[
        "--format",
        "jsonl",
        "--prompt-preview",
        "15",
        "--tenant",
        "zeta",
    ]);
    let with = world.usage(&with).await.lines();
    assert_eq!(with[0]["prompt_preview"], "A paper boat at");
    let wrong = ["export", "--format", "xml"];
    world.usage(&wrong).await.is(2, "cloudevents");

    let file = world.place.dir.path().join("usage.jsonl");
    let path = file.to_str().unwrap();
    let into = ["export", "--format", "jsonl", "--output", path];
    let said = world.usage(&[&into[..], &RANGE[..]].concat()).await;
    said.is(0, "5 records in ");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 5);
    assert!(!file.with_extension("jsonl.part").exists(), "it is whole");
}

#[tokio::test]
async fn cloud_events_are_what_meters_take() {
    let world = World::some().await;
    let export = [&["export", "--format", "cloudevents"], &RANGE[..]].concat();
    let events = world.usage(&export).await.lines();
    let schemas: HashMap<String, Value> = schemas::all().into_iter().collect();
    let mut ids: Vec<&str> = Vec::new();
    for event in &events {
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["type"], "dev.kling-relay.usage.v1");
        assert_eq!(event["source"], "/kling-relay/development");
        assert_eq!(event["subject"], event["data"]["tenant"]);
        event["time"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap();
        ids.push(event["id"].as_str().unwrap());
        let mut data = event["data"].clone();
        let amount = data.as_object_mut().unwrap().remove("amount").unwrap();
        amount.as_str().unwrap().parse::<Decimal>().unwrap();
        data["credits"] = amount;
        let broken = violations(&schemas["cli.usage-record.json"], &data);
        assert!(broken.is_empty(), "{broken:?}");
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "an id for each");
}

#[tokio::test]
async fn drift_suggests_what_to_correct() {
    let world = World::some().await;
    let drift = [&["drift"], &RANGE[..]].concat();
    let said = world.usage(&drift).await;
    said.is(0, "says 0.3 video-unit a second, Kling takes 0.28");
    let report = world
        .usage(&[&drift[..], &["--json"]].concat())
        .await
        .json();
    let row = &report["drifts"][0];
    assert_eq!(
        (&row["tasks"], &row["ratio"]),
        (&json!(3), &json!("0.9333"))
    );
    assert_eq!(report["book"], "official-2026-09");
    let schemas: HashMap<String, Value> = schemas::all().into_iter().collect();
    let broken = violations(&schemas["cli.usage-drift.json"], &report);
    assert!(broken.is_empty(), "{broken:?}");
}

/// With pages and without, while entries arrive and two instances write pages at once.
#[tokio::test]
async fn pages_change_no_figure() {
    let world = World::some().await;
    let clock = Clock::system();
    clock.set_offset_ms(25 * 3_600_000);
    let digest = Digest::new(world.log.clone(), clock, Duration::from_secs(300));
    let pages = async || {
        let page = world.broker.client().flush().await;
        page.unwrap();
        let subject = "kling.usage.v1.>";
        let from = kling_relay::edge::nats::log::ReadFrom::Sequence(1);
        world.log.read(subject, from, 1_000).await.unwrap().len()
    };
    let before = world.report("tenant,label:project").await;
    let (mut one, mut other) = (HashMap::new(), HashMap::new());
    let (first, second) = tokio::join!(digest.pass(&mut one), digest.pass(&mut other));
    assert_eq!(
        first.unwrap() + second.unwrap(),
        2,
        "a page for each tenant's day"
    );
    assert_eq!(pages().await, 2);
    assert_eq!(world.report("tenant,label:project").await, before);
    // Fresh entries are behind the last page until they are worth one.
    world.used("acme", "late", "2", &[video("2")]).await;
    let after = world.report("tenant,label:project").await;
    assert_eq!(after["total"]["tasks"], 5);
    let fresh = Digest::new(world.log.clone(), Clock::system(), Duration::from_secs(300));
    assert_eq!(fresh.pass(&mut one).await.unwrap(), 0);
    assert_eq!(digest.pass(&mut one).await.unwrap(), 1);
    assert_eq!(digest.pass(&mut one).await.unwrap(), 0, "nothing is left");
    assert_eq!(pages().await, 3);
    assert_eq!(world.report("tenant,label:project").await, after);
    assert_eq!(world.report("day").await["total"], after["total"]);
}

#[test]
fn flags_that_cannot_be_used_are_told_at_once() {
    let place = Place::new();
    let bad: [(&[&str], &str); 7] = [
        (&["report", "--from", "yesterday"], "--from"),
        (
            &["report", "--from", "2026-11-22", "--to", "2026-11-21"],
            "after the last day",
        ),
        (&["report", "--group-by", "week"], "label:KEY"),
        (&["report", "--tenant", "A B"], "--tenant"),
        (&["drift", "--label", "x"], "key=value"),
        (&["export", "--prompt-preview", "0"], "1..=2500"),
        (&["report", "--group-by", "day,label:"], "--group-by"),
    ];
    for (arguments, words) in bad {
        place.run(&[&["usage"], arguments].concat()).is(2, words);
    }
    assert!(!place.has_broker());
}
