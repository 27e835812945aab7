//! Creates, look-ups, billing and downloads that go wrong, each by its tag or by plan.

use std::time::Duration;

use kling_relay::sim::FaultPlan;
use kling_relay::sim::config::Timing;
use kling_relay::sim::faults::{RandomFault, Refuse, ScriptedFault};
use reqwest::Method;
use serde_json::{Value, json};

use super::{KEY, World, accepted, quick, refused};

const PATH: &str = "/text-to-video/kling-3.0-turbo";

/// Posts a create and answers status and body, or nothing when the connection broke.
async fn attempt(world: &World, name: &str, tags: &str) -> Option<(u16, Value)> {
    let body = world.wish(name, &format!("[sim:{tags}]"));
    let request = world
        .client
        .post(world.url(PATH))
        .bearer_auth(KEY)
        .json(&body);
    let response = request.send().await.ok()?;
    Some(super::read(response).await)
}

#[tokio::test]
async fn a_refusal_strikes_as_often_as_asked() {
    let world = World::start().await;
    for (tag, http, code) in [
        ("1302x2", 429, 1302),
        ("1303x2", 429, 1303),
        ("5000x2", 500, 5000),
        ("5001x2", 503, 5001),
    ] {
        for _ in 0..2 {
            let answer = attempt(&world, tag, &format!("create={tag}"))
                .await
                .unwrap();
            refused(answer, http, code, "");
            assert_eq!(world.control.task(tag), None, "{tag} creates nothing");
        }
        accepted(
            attempt(&world, tag, &format!("create={tag}"))
                .await
                .unwrap(),
        );
    }
    for (code, http) in [
        (1300, 400),
        (1301, 400),
        (1102, 429),
        (1304, 429),
        (1103, 403),
    ] {
        for _ in 0..3 {
            let name = code.to_string();
            let answer = attempt(&world, &name, &format!("create={code}"))
                .await
                .unwrap();
            refused(answer, http, code, "");
        }
    }
    let stats = world.control.stats().creates;
    assert_eq!(stats.refused_by_code["1303"], 2);
    assert_eq!(stats.refused_by_code["1300"], 3);
    assert_eq!(stats.accepted, 4);
}

#[tokio::test]
async fn an_ambiguous_create_exists_or_not_and_only_the_id_tells() {
    let mut config = quick();
    config.timing = Timing {
        silence: Duration::from_millis(50),
        ..config.timing
    };
    config.slots.video = 100;
    let world = World::with(config).await;
    for (kind, http) in [
        ("500", Some(500)),
        ("502", Some(502)),
        ("503", Some(503)),
        ("504", Some(504)),
        ("garbage", Some(200)),
        ("badgateway", Some(502)),
        ("reset", None),
        ("timeout", None),
    ] {
        for (suffix, exists) in [("-after", true), ("-before", false), ("", true)] {
            let tag = format!("{kind}{suffix}");
            let name = format!("name-{tag}");
            let answer = attempt(&world, &name, &format!("create={tag}")).await;
            assert_eq!(answer.map(|(status, _)| status), http, "{tag}");
            assert_eq!(world.look_up(&name).await.is_object(), exists, "{tag}");
            let again = attempt(&world, &name, &format!("create={tag}"))
                .await
                .unwrap();
            match exists {
                true => refused(again, 400, 1201, "already exists"),
                false => drop(accepted(again)),
            }
        }
    }
    let stats = world.control.stats().creates;
    assert_eq!((stats.accepted, stats.duplicate_external_ids), (24, 16));
    assert_eq!(stats.faulted["504"], 3);
    assert_eq!(stats.faulted["reset"], 3);
}

#[tokio::test]
async fn create_faults_follow_one_another() {
    let world = World::start().await;
    let tags = "create=1303x1,create=504-beforex2,create=reset-after";
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(
            attempt(&world, "chain", tags)
                .await
                .map(|(status, _)| status),
        );
    }
    assert_eq!(seen, [Some(429), Some(504), Some(504), None, Some(400)]);
}

#[tokio::test]
async fn tasks_fail_as_asked_and_cost_nothing() {
    let world = World::start().await;
    for (tag, text) in [
        ("fail=moderation", "Failure to pass the risk control system"),
        (
            "fail=input",
            "Something went wrong when we tried to get the contents of the file.",
        ),
        ("fail=size", "aspect ratio"),
        ("fail", "Generation failed"),
    ] {
        world.create(tag, &format!("[sim:{tag}]")).await;
        let task = world.ended(tag).await;
        assert_eq!(task.status, "failed");
        assert_eq!(task.deducted, Some(rust_decimal::Decimal::ZERO));
        let seen = world.look_up(tag).await;
        assert!(seen["message"].as_str().unwrap().contains(text));
        assert_eq!(seen["billing"][0]["amount"], "0");
        assert_eq!(seen["outputs"], json!([]));
    }
    world.legacy_create("legacy", "[sim:fail=moderation]").await;
    let told = world.called_back("legacy", 2).await[1].json();
    assert_eq!(
        (&told["task_status"], &told["task_result"]),
        (&json!("failed"), &json!({}))
    );
    assert_eq!(told["final_unit_deduction"], "0");
}

#[tokio::test]
async fn billing_tags_change_what_is_shown_and_deducted() {
    let world = World::start().await;
    for (tag, told, looked_up, deducted) in [
        ("billing=none", None, Some("2.4"), "2.4"),
        ("billing=never", None, None, "2.4"),
        ("billing=over:2.5", Some("4.9"), Some("4.9"), "4.9"),
        ("billing=amount:7", Some("7"), Some("7"), "7"),
        (
            "fail,billing=amount:1.25",
            Some("1.25"),
            Some("1.25"),
            "1.25",
        ),
    ] {
        world
            .create(tag.split(',').next().unwrap(), &format!("[sim:{tag}]"))
            .await;
        let name = tag.split(',').next().unwrap();
        assert_eq!(
            world.ended(name).await.deducted,
            Some(deducted.parse().unwrap()),
            "{tag}"
        );
        let callbacks = world.control.stats().callbacks.due;
        let amount = |task: &Value| task["billing"][0]["amount"].as_str().map(str::to_owned);
        assert_eq!(
            amount(&world.look_up(name).await).as_deref(),
            looked_up,
            "{tag}"
        );
        let path = format!("/{name}");
        let last = world
            .receiver
            .all()
            .into_iter()
            .rev()
            .find(|one| one.path == path)
            .unwrap();
        assert_eq!(
            amount(&last.json()).as_deref(),
            told,
            "{tag}, {callbacks} callbacks"
        );
    }
    world.create("split", "[sim:billing=split]").await;
    world.ended("split").await;
    let seen = world.look_up("split").await;
    assert_eq!(
        (&seen["billing"][0]["amount"], &seen["billing"][1]["amount"]),
        (&json!("1.2"), &json!("1.2"))
    );
}

#[tokio::test]
async fn look_ups_can_lag_and_fail() {
    let world = World::start().await;
    world.create("lag", "[sim:lookup=lag:1h]").await;
    assert_eq!(world.look_up("lag").await, Value::Null);
    assert_eq!(accepted(world.post("/tasks", &json!({})).await)["count"], 0);
    world.create("short", "[sim:lookup=lag:100ms]").await;
    let found = async { while world.look_up("short").await.is_null() {} };
    tokio::time::timeout(super::DEADLINE, found).await.unwrap();

    world.create("broken", "[sim:lookup=5000x2]").await;
    for _ in 0..2 {
        refused(
            world.get("/tasks?external_task_ids=broken").await,
            500,
            5000,
            "",
        );
    }
    assert_eq!(world.look_up("broken").await["external_id"], "broken");
}

#[tokio::test]
async fn tasks_can_be_slow_stuck_or_fruitful() {
    let world = World::start().await;
    world.create("stuck", "[sim:stuck]").await;
    world.create("slow", "[sim:slow=200ms]").await;
    world.create("three", "[sim:outputs=3]").await;
    world.create("none", "[sim:outputs=0]").await;
    assert_eq!(world.ended("three").await.urls.len(), 3);
    assert_eq!(world.ended("none").await.urls.len(), 0);
    let slow = world.ended("slow").await;
    assert!(slow.updated_ms - slow.created_ms >= 200);
    assert_eq!(world.control.task("stuck").unwrap().status, "processing");
    assert!(world.control.finish("stuck"));
    assert_eq!(world.ended("stuck").await.status, "succeeded");
    assert!(!world.control.finish("stuck"));
}

#[tokio::test]
async fn a_plan_hits_scripted_and_random_creates_reproducibly() {
    let mut hit = Vec::new();
    for seed in [7, 7, 8] {
        let mut config = quick();
        config.seed = seed;
        config.slots.video = 100;
        config.faults = FaultPlan {
            always: vec!["billing=over:1".to_owned()],
            script: vec![ScriptedFault {
                create: 2,
                tags: "fail=input".to_owned(),
            }],
            random: vec![RandomFault {
                probability: 0.5,
                tags: "callback=drop".to_owned(),
            }],
            ..FaultPlan::default()
        };
        let world = World::with(config).await;
        let mut told = Vec::new();
        for n in 1..=20 {
            let name = format!("n{n}");
            world.create(&name, "").await;
            let task = world.ended(&name).await;
            assert_eq!(task.status == "failed", n == 2);
            assert_eq!(
                task.deducted,
                Some(if n == 2 { "1" } else { "3.4" }.parse().unwrap())
            );
            told.push(!world.receiver.of(&name).is_empty());
        }
        let some = told.iter().filter(|told| **told).count();
        assert!((4..=16).contains(&some), "about half: {some}");
        hit.push(told);
    }
    assert_eq!(hit[0], hit[1], "the seed decides");
    assert_ne!(hit[0], hit[2], "another seed decides otherwise");
}

#[tokio::test]
async fn the_next_creates_and_the_whole_api_can_be_refused() {
    let world = World::start().await;
    let plan = FaultPlan {
        refuse_creates: vec![
            Refuse {
                code: 1303,
                times: 1,
            },
            Refuse {
                code: 1302,
                times: 1,
            },
        ],
        ..FaultPlan::default()
    };
    world.control.set_faults(plan).unwrap();
    for code in [1303, 1302] {
        refused(
            world.post(PATH, &world.wish("next", "")).await,
            429,
            code,
            "",
        );
    }
    world.create("next", "").await;

    let plan = FaultPlan {
        outage: Some(5001),
        ..FaultPlan::default()
    };
    world.control.set_faults(plan).unwrap();
    refused(
        world.post(PATH, &world.wish("down", "")).await,
        503,
        5001,
        "",
    );
    refused(world.get("/tasks?task_ids=1").await, 503, 5001, "");
    refused(world.get("/v1/videos/text2video").await, 503, 5001, "");
    refused(
        world.get("/account/costs?start_time=1&end_time=2").await,
        503,
        5001,
        "",
    );
    world.control.set_faults(FaultPlan::default()).unwrap();
    world.create("up", "").await;

    let misspelt = FaultPlan {
        always: vec!["callback=dorp".to_owned()],
        ..FaultPlan::default()
    };
    assert!(world.control.set_faults(misspelt).is_err());
    let unknown = world.post("/_sim/faults", &json!({ "drop": true })).await;
    assert_eq!(unknown.0, 422);
}

#[tokio::test]
async fn the_panel_shows_what_the_controls_show() {
    let world = World::start().await;
    world.create("panel", "").await;
    world.ended("panel").await;
    let open = async |path| {
        super::read(world.call_with(Method::GET, path, "", None).await)
            .await
            .1
    };
    let stats = open("/_sim/stats").await;
    assert_eq!(stats, serde_json::to_value(world.control.stats()).unwrap());
    assert_eq!(stats["creates"]["by_product"]["text-to-video"], 1);
    assert_eq!(stats["deductions"]["video"], "2.4");
    let tasks = open("/_sim/tasks").await;
    assert_eq!(tasks[0]["external_id"], "panel");
    assert_eq!(tasks[0]["deducted"], "2.4");
    assert_eq!(open("/_sim/ca").await, world.sim.ca_pem());
}
