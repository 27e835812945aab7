//! Estimates, budgets, and batches that are held whole or not at all.

use jiff::SignedDuration;
use kling_relay::config::Config;
use kling_relay::model::request::Purpose;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{OPERATOR, World, video};

/// A day of ten units: a five-second video takes some of them.
async fn small() -> World {
    World::with(|config: &mut Config| {
        config.budget.daily_limit = serde_json::from_value(json!({"video-unit": "10"})).unwrap();
    })
    .await
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn over_budget_says_how_much_and_stores_nothing() {
    let world = small().await;
    let one = world
        .call(Method::POST, "/v1/estimates", &video(&json!({})))
        .await;
    assert_eq!(one.status, 200, "{}", one.body);
    assert_eq!(one.body["allowed"], true);
    let price = decimal(&one.body["total"][0]["amount"]);
    let estimate = &one.body["estimates"][0];
    assert_eq!(estimate["amount"], one.body["total"][0]["amount"]);
    // What would be made for it stands beside it.
    assert_eq!(
        (&estimate["model"], &estimate["mode"]),
        (&json!("kling-2.6"), &json!("720p"))
    );
    let fits = (Decimal::TEN / price).trunc();
    let count: usize = fits.to_string().parse::<usize>().unwrap() + 1;

    let batch = json!({"tasks": vec![video(&json!({})); count]});
    let estimate = world.call(Method::POST, "/v1/estimates", &batch).await;
    assert_eq!(estimate.body["allowed"], false);
    assert_eq!(estimate.body["estimates"].as_array().unwrap().len(), count);
    assert_eq!(estimate.body["fits"], count - 1);
    let refused = world.call(Method::POST, "/v1/batches", &batch).await;
    refused.is_refusal("budget-exceeded", 402, "", "video-unit");
    assert_eq!(refused.body["fits"], count - 1);
    assert_eq!(
        refused.body["remaining"],
        json!([{"amount": "10", "unit": "video-unit"}])
    );
    let needed = decimal(&refused.body["needed"][0]["amount"]);
    assert_eq!(needed, price * Decimal::from(count));
    assert_eq!(world.balance().await, ["0", "0", "10"], "all or nothing");

    let batch = json!({"tasks": vec![video(&json!({})); count - 1]});
    let accepted = world.call(Method::POST, "/v1/batches", &batch).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    assert_eq!(
        accepted.body["task_ids"].as_array().unwrap().len(),
        count - 1
    );
    let held = accepted.body["estimate"][0]["amount"].as_str().unwrap();
    assert_eq!(world.balance().await, [held, "0", "10"]);
    let one_more = world.submit(&video(&json!({"prompt": "a canary"}))).await;
    one_more.is_refusal("budget-exceeded", 402, "", "remain");
    assert!(!one_more.body.to_string().contains("canary"));

    // A delayed task is held on its own day, which is untouched.
    let tomorrow = (world.clock.now() + SignedDuration::from_hours(25)).to_string();
    let delayed = video(&json!({ "not_before": tomorrow }));
    let task = world.accepted(&delayed).await;
    let task = world.get(&format!("/v1/tasks/{task}")).await.body;
    assert_eq!(task["relay"]["day"], tomorrow[..10]);
    assert_eq!(world.balance().await, [held, "0", "10"]);
}

#[tokio::test]
async fn an_estimate_looks_at_the_tighter_limit_and_at_each_day() {
    let world = World::with(|config| {
        let limits = |text| serde_json::from_value(json!({ "video-unit": text })).unwrap();
        config.budget.daily_limit = limits("10");
        config.budget.account_daily_limit = limits("4");
    })
    .await;
    let tomorrow = (world.clock.now() + SignedDuration::from_hours(25)).to_string();
    let (now, late) = (video(&json!({})), video(&json!({ "not_before": tomorrow })));
    let batch = json!({"tasks": [now, late, now, late, late]});
    let answer = world.call(Method::POST, "/v1/estimates", &batch).await.body;
    assert_eq!(
        (&answer["fits"], &answer["allowed"]),
        (&json!(4), &json!(false)),
        "{answer}"
    );
    assert_eq!(answer["days"][1]["day"], tomorrow[..10]);
    assert_eq!(answer["remaining"][0]["amount"], "4");
    // The writer agrees.
    let refused = world.call(Method::POST, "/v1/batches", &batch).await;
    refused.is_refusal("budget-exceeded", 402, "", "video-unit");
    assert_eq!(refused.body["fits"], 4);
}

#[tokio::test]
async fn advice_is_given_where_it_is_asked_for() {
    let world = World::with(|config| {
        config.dispatcher.off_peak = Some("22:00-06:00".parse().unwrap());
        config.intake.default_purpose = Purpose::Draft;
    })
    .await;
    let dear = json!({"model": "kling-3.0", "mode": "professional", "duration": 10,
        "purpose": "final"});
    let cheap = json!({"mode": "professional", "model": "kling-2.5-turbo"});
    let tasks = [video(&dear), video(&cheap), video(&cheap)];
    let asked = |advise| json!({"tasks": tasks, "advise": advise});
    let plain = world
        .call(Method::POST, "/v1/estimates", &asked(false))
        .await;
    assert_eq!(plain.body.get("advice"), None);
    assert_eq!(plain.body["estimates"][0]["mode"], "1080p");
    assert_eq!(
        plain.body["estimates"][1]["mode"], "720p",
        "the operator's policy"
    );
    let answer = world
        .call(Method::POST, "/v1/estimates", &asked(true))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let row = |strategy: &str| {
        let rows = answer.body["advice"].as_array().unwrap();
        let row = rows.iter().find(|row| row["strategy"] == strategy);
        row.unwrap_or_else(|| panic!("no {strategy} in {}", answer.body))
            .clone()
    };
    let standard = row("standard-for-drafts");
    assert_eq!(
        standard["changes"],
        json!([{"tasks": [0], "set": {"mode": "standard"}}])
    );
    assert_eq!(
        standard["price"],
        json!([{"amount": "9", "unit": "video-unit"}])
    );
    assert_eq!(
        standard["saving"],
        json!([{"amount": "2", "unit": "video-unit", "percent": "18.2", "times": "1.22"}])
    );
    assert_eq!(row("off-peak")["changes"][0]["tasks"], json!([0, 1, 2]));
    assert_eq!(row("duplicates")["changes"][0]["tasks"], json!([2]));
    assert_eq!(row("together")["price"][0]["amount"], "4.5");
    submits_as_advised(&world, &tasks[0], &row("together")).await;
    // A single request is a list of one; beside its fields there is no such key.
    let mut single = tasks[0].clone();
    single["advise"] = json!(true);
    for (path, body) in [("/v1/estimates", single), ("/v1/batches", asked(true))] {
        let refused = world.call(Method::POST, path, &body).await;
        assert_eq!(
            (refused.status, &refused.body["field"]),
            (400, &json!("advise"))
        );
    }
}

/// What is advised is accepted as it stands, at that price.
async fn submits_as_advised(world: &World, task: &Value, together: &Value) {
    let mut changed = task.clone();
    for (key, value) in together["changes"][0]["set"].as_object().unwrap() {
        changed[key] = value.clone();
    }
    let accepted = world.submit(&changed).await;
    assert_eq!(
        accepted.body["estimate"]["amount"], "1.5",
        "{}",
        accepted.body
    );
    assert_eq!(accepted.body["mode"], "720p");
}

/// A book of one's own: one price for text to video, and nothing else is made.
const OUR_BOOK: &str = r#"
name = "ours"
effective_from = "2026-01-01"
source = "our contract"
main_unit = "USD"
daily_limits = { USD = "5" }
[[price]]
products = ["text-to-video"]
per = "second"
unit = "USD"
amount = "0.25"
[[price]]
products = ["image-to-video", "omni-video", "motion-control", "multi-elements", "lip-sync",
    "avatar", "effects", "text-to-audio", "video-to-audio", "image-generation", "omni-image",
    "multi-image-to-image", "image-expansion", "virtual-try-on", "ai-multi-shot", "element",
    "custom-voice"]
unpriced = "we do not make these"
"#;

#[tokio::test]
async fn a_book_of_ones_own_prices_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ours.toml");
    std::fs::write(&path, OUR_BOOK).unwrap();
    let world = World::with(|config| config.pricing.book = path.display().to_string()).await;
    let accepted = world.submit(&video(&json!({}))).await;
    assert_eq!(
        accepted.body["estimate"],
        json!({"amount": "1.25", "unit": "USD"})
    );
    let image = json!({"product": "image-generation", "model": "kling-v3", "prompt": "a fox"});
    let refused = world.submit(&image).await;
    refused.is_refusal("unknown-price", 422, "model", "we do not make these");
    let unknown = world.submit(&video(&json!({"model": "kling-9.0"}))).await;
    unknown.is_refusal("unknown-price", 422, "model", "a price book of your own");
    // Nothing starts with a book that has a hole, and its row is named.
    let mut config = Config::default();
    let hole = OUR_BOOK.replace("amount = \"0.25\"", "amount = \"0.25\"\nmodels = [\"2.6\"]");
    std::fs::write(&path, hole).unwrap();
    config.pricing.book = path.display().to_string();
    let error = kling_relay::app::check(&config).unwrap_err();
    assert!(
        format!("{error:#}").contains("text-to-video with model 3.0"),
        "{error:#}"
    );
    std::fs::remove_file(&path).unwrap();
    let error = kling_relay::app::check(&config).unwrap_err();
    assert!(format!("{error:#}").contains("neither a price book of ours nor a file"));
}

#[tokio::test]
async fn a_unit_without_a_limit_is_not_spent() {
    let world = World::with(|config| {
        let limits = json!({"video-unit": "10", "image-unit": "0"});
        config.budget.daily_limit = serde_json::from_value(limits).unwrap();
    })
    .await;
    let image = json!({"product": "image-generation", "model": "kling-v3", "prompt": "a fox"});
    let refused = world.submit(&image).await;
    refused.is_refusal("budget-exceeded", 402, "", "image-unit");
    assert_eq!(refused.body["fits"], 0);
}

/// What an operator sends.
fn limit(more: &Value) -> Value {
    let mut body = json!({
        "tenant": "acme", "unit": "video-unit", "limit": "2", "who": "ada", "reason": "a test",
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn operators_change_a_days_limit_over_http_and_nats() {
    let world = small().await;
    let put = async |key, body: &Value| {
        let method = Method::PUT;
        world.call_as(key, method, "/v1/budget", body).await
    };
    let set = put(OPERATOR, &limit(&json!({}))).await;
    assert_eq!(set.status, 200, "{}", set.body);
    assert_eq!(world.balance().await, ["0", "0", "2"]);
    world.accepted(&video(&json!({}))).await;
    let refused = world.submit(&video(&json!({}))).await;
    refused.is_refusal("budget-exceeded", 402, "", "0.5 video-unit");

    let url = world.node.endpoint().url;
    let client = async_nats::connect(url).await.unwrap();
    let body = limit(&json!({"limit": "4"})).to_string();
    let answer = client
        .request("kling.operator.v1.set-limit", body.into())
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(
        answer["remaining"],
        json!([{"amount": "2.5", "unit": "video-unit"}])
    );
    assert_eq!(answer["used"], json!({"video-unit": "0.375"}));
    assert_eq!(world.get("/v1/budget").await.body, answer);
    world.accepted(&video(&json!({}))).await;

    let own_key = put(super::KEY, &limit(&json!({}))).await;
    own_key.is_refusal("unauthorized", 401, "", "operator");
    for (more, field, words) in [
        (json!({"limit": "-1"}), "limit", "0.000001"),
        (
            json!({"limit": "0.0000000000000000000000000001"}),
            "limit",
            "0.000001",
        ),
        (json!({"limit": "10000000000"}), "limit", "1000000000"),
        (json!({"limit": "much"}), "limit", "must be"),
        (json!({"tenant": "A B"}), "tenant", "a-z"),
        (
            json!({"tenant": "_account"}),
            "tenant",
            "budget.account_daily_limit",
        ),
        (json!({"unit": "video"}), "unit", "video-unit"),
        (json!({"day": "2020-01-01"}), "day", "from"),
        (json!({"day": "2126-01-01"}), "day", "from"),
        (json!({"who": " "}), "who", "64"),
        (json!({"reason": "two\nlines"}), "reason", "256"),
        (json!({"reasons": ""}), "reasons", "reason"),
    ] {
        let refused = put(OPERATOR, &limit(&more)).await;
        refused.is_refusal("invalid-request", 400, field, words);
    }
    assert_eq!(world.balance().await[2], "4");
}

#[tokio::test]
async fn budgets_are_shown_to_whom_they_belong() {
    let world = World::start().await;
    world.accepted(&video(&json!({}))).await;
    let mine = world.get("/v1/budget").await;
    assert_eq!(mine.body["tenant"], "acme");
    assert_ne!(mine.body["balance"]["video-unit"]["held"], "0");
    let as_operator = async |path| {
        let answer = world
            .call_as(OPERATOR, Method::GET, path, &Value::Null)
            .await;
        answer.body
    };
    assert_eq!(as_operator("/v1/budget?tenant=acme").await, mine.body);
    let other = as_operator("/v1/budget?tenant=other").await;
    assert_eq!(other["balance"]["video-unit"]["held"], "0");
    assert_eq!(as_operator("/v1/budget").await["tenant"], "_account");
    assert_eq!(
        as_operator("/v1/budget?tenant=A%20B").await["field"],
        "tenant"
    );
}
