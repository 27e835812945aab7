//! The clock is set back and forth over midnight: each task counts once, on the day of its hold.

use jiff::Timestamp;
use kling_relay::edge::nats::log::Committed;
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::event::{EventKind, NewEvent};
use kling_relay::model::ids::{TaskId, Tenant};
use kling_relay::model::ledger::{LedgerKey, LedgerOwner};
use kling_relay::model::task::Status;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::api::{WITHIN, World, video};
use crate::broker::until;
use crate::kit::{audit, everything};

const BEFORE: (&str, &str) = ("2027-02-28T23:55:00Z", "2027-02-28");
const AFTER: (&str, &str) = ("2027-03-01T00:05:00Z", "2027-03-01");

/// Four videos of 1.5 a day.
async fn world() -> World {
    World::with(|config| {
        config.budget.daily_limit = serde_json::from_value(json!({"video-unit": "6"})).unwrap();
    })
    .await
}

fn set(world: &World, (time, _): (&str, &str)) {
    let time: Timestamp = time.parse().unwrap();
    world.clock.set_offset_ms(0);
    let offset = time.duration_since(world.clock.now()).as_millis();
    world.clock.set_offset_ms(i64::try_from(offset).unwrap());
}

/// Returns what a day holds and has deducted, in hundredths.
async fn figures(world: &World, (_, day): (&str, &str)) -> (i64, i64) {
    let key = LedgerKey {
        owner: LedgerOwner::Tenant(Tenant::parse("acme").unwrap()),
        day: day.parse().unwrap(),
    };
    let Some(balance) = world.app.log().balance(&key).await.unwrap() else {
        return (0, 0);
    };
    let hundredths = |amount: Decimal| i64::try_from(amount * Decimal::ONE_HUNDRED).unwrap();
    let video = &balance[&Unit::Video];
    (hundredths(video.held), hundredths(video.deducted))
}

/// Submits under a key; returns the task, or none if the day's budget refuses it.
async fn submit(world: &World, key: &str) -> Option<TaskId> {
    let answer = world
        .submit_with_key("/v1/tasks", key, &video(&json!({})))
        .await;
    match answer.status {
        202 => Some(TaskId::parse(answer.body["task_id"].as_str().unwrap()).unwrap()),
        402 => None,
        _ => panic!("{answer:?}"),
    }
}

/// Ends a task as Kling would, two units billed.
async fn succeed(world: &World, id: &TaskId) {
    let log = world.app.log();
    let on = log.load(id).await.unwrap().unwrap();
    let mut task = on.task.clone();
    task.status = Status::Succeeded;
    task.billing = Some(vec![Amount::new(Decimal::TWO, Unit::Video)]);
    let event = NewEvent::plain(EventKind::Succeeded, 1, task);
    let committed = log.commit(&on, event).await.unwrap();
    assert!(matches!(committed, Committed::Stored { .. }));
}

#[tokio::test]
async fn clock_set_back_and_forth_refuses_and_counts_nothing_wrongly() {
    let world = world().await;
    // Both days fill by turns, and the same key over midnight is the same task.
    let mut tasks = Vec::new();
    for n in 0..4 {
        for (side, other) in [(BEFORE, AFTER), (AFTER, BEFORE)] {
            set(&world, side);
            let key = format!("{}-{n}", side.1);
            let task = submit(&world, &key).await.expect("its day has room");
            set(&world, other);
            assert_eq!(submit(&world, &key).await.as_ref(), Some(&task));
            tasks.push((side, task));
        }
    }
    for side in [BEFORE, AFTER, BEFORE] {
        set(&world, side);
        assert_eq!(submit(&world, "one more").await, None, "{} is full", side.1);
        assert_eq!(figures(&world, side).await, (600, 0));
    }
    // Held before midnight and closed after it, and the other way round.
    for (side, other) in [(BEFORE, AFTER), (AFTER, BEFORE)] {
        set(&world, other);
        let mut own = tasks
            .iter()
            .filter(|(of, _)| *of == side)
            .map(|(_, task)| task);
        let (charged, cancelled) = (own.next().unwrap(), own.next().unwrap());
        succeed(&world, charged).await;
        let path = format!("/v1/tasks/{cancelled}");
        let answer = world.call(Method::DELETE, &path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        until("both are settled", WITHIN, async || {
            figures(&world, side).await == (300, 200)
        })
        .await;
    }
    // Six less three held less two taken: half a task too little, until the limit is raised.
    for side in [AFTER, BEFORE] {
        set(&world, side);
        assert_eq!(submit(&world, "too much").await, None);
        let limit = json!({"tenant": "acme", "unit": "video-unit", "limit": "6.5",
            "who": "ada", "reason": "half a unit more"});
        let operator = crate::api::OPERATOR;
        let set = world
            .call_as(operator, Method::PUT, "/v1/budget", &limit)
            .await;
        assert_eq!(set.body["day"], side.1, "{}", set.body);
        submit(&world, &format!("fits {}", side.1))
            .await
            .expect("it fits now");
        assert_eq!(figures(&world, side).await, (450, 200));
    }
    let messages = everything(world.app.log()).await;
    audit(&messages);
    let days: std::collections::BTreeSet<_> = messages
        .iter()
        .filter_map(|message| Some(message.ledger_key()?.day.to_string()))
        .collect();
    assert_eq!(days.into_iter().collect::<Vec<_>>(), [BEFORE.1, AFTER.1]);
}
