//! One result for several requests: made once, stored once, paid once.

use std::collections::HashMap;
use std::time::Duration;

use jiff::SignedDuration;
use kling_relay::config::{LimitSetting, Role};
use kling_relay::decide::again::retry_id;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::log::ReadFrom;
use kling_relay::edge::nats::topology;
use kling_relay::model::amount::Unit;
use kling_relay::model::event::EventKind;
use kling_relay::model::ids::TaskId;
use kling_relay::model::ledger::{EntryKind, LedgerEntry, LedgerKey, LedgerOwner};
use kling_relay::model::task::{Status, Task};
use kling_relay::sim::faults::ScriptedFault;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use url::Url;

use crate::broker::{self, until};
use crate::world::{DEADLINE, Expected, Options, World, client, legacy_video, secret_of, video};

/// The same request, and any earlier result of it will do.
fn again(mut request: Value) -> Value {
    request["reuse"] = json!(true);
    request
}

async fn finished(world: &World, id: &TaskId) -> Task {
    let mut tasks = world.finished(std::slice::from_ref(id)).await;
    tasks.remove(id).expect("it was waited for")
}

/// Waits until the service has stored a task, and returns it.
async fn made(world: &World, request: &Value) -> Task {
    let id = world.submit(request).await;
    finished(world, &id).await
}

async fn kinds(world: &World, id: &TaskId) -> Vec<EventKind> {
    let history = world.app.log().history(id).await.unwrap();
    let kind = |recorded: &kling_relay::edge::nats::record::Recorded| recorded.task_subject();
    history
        .iter()
        .filter_map(kind)
        .map(|(_, kind)| kind)
        .collect()
}

/// The ledger entries of an owner on a task's day.
async fn entries(world: &World, owner: LedgerOwner, task: &Task) -> Vec<LedgerEntry> {
    let day = task.relay.day;
    let subject = topology::ledger_subject(&LedgerKey { owner, day });
    let found = world.app.log().read(&subject, ReadFrom::Sequence(1), 1_000);
    let found = found.await.unwrap();
    found
        .iter()
        .map(|entry| entry.ledger_entry().unwrap())
        .collect()
}

fn count(tasks: &HashMap<TaskId, Task>, what: impl Fn(&Task) -> bool) -> usize {
    tasks.values().filter(|task| what(task)).count()
}

fn reused(task: &Task) -> bool {
    task.status == Status::Succeeded && task.reused_from.is_some()
}

/// With a limit over all tenants, so that there is an account ledger.
fn with_account() -> Options {
    Options::default().service(|config| {
        config.budget.account_daily_limit = Some(LimitSetting::Main(Decimal::from(1_000)));
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_result_answers_at_once_and_costs_nothing() {
    let world = World::start(with_account()).await;
    for request in [video(""), legacy_video("")] {
        let first = made(&world, &request).await;
        let body = json!({ "tasks": [again(request.clone()), request.clone()] });
        let (_, estimate) = world.post("acme", "/v1/estimates", &body, None).await;
        assert_eq!(estimate["estimates"][0]["amount"], "0", "{estimate}");
        assert_ne!(estimate["estimates"][1]["amount"], "0", "{estimate}");
        let request = again(request);
        let (status, answer) = world.post("acme", "/v1/tasks", &request, None).await;
        assert_eq!(status, 202, "{answer}");
        assert_eq!(answer["reused_from"], first.task_id.as_str(), "{answer}");
        assert_eq!(answer["estimate"]["amount"], "0", "{answer}");
        let id = world.note(&answer["task_id"]);
        let second = finished(&world, &id).await;
        assert_eq!(second.reused_from.as_ref(), Some(&first.task_id));
        assert_eq!(second.assets, first.assets);
        assert_eq!(second.saved, Some(first.estimate));
        assert_eq!(second.held.unwrap().amount, Decimal::ZERO);
        let mut kinds = kinds(&world, &id).await;
        let settled_first = kinds[2] == EventKind::Settled;
        kinds.swap(2, if settled_first { 3 } else { 2 });
        let expected = [
            EventKind::Requested,
            EventKind::Succeeded,
            EventKind::Stored,
            EventKind::Settled,
        ];
        assert_eq!(kinds, expected);
        for owner in [
            LedgerOwner::Tenant(second.tenant.clone()),
            LedgerOwner::Account,
        ] {
            let entries = entries(&world, owner, &second).await;
            let own: Vec<_> = entries
                .iter()
                .filter(|entry| entry.task_id.as_ref() == Some(&id))
                .collect();
            let [hold, void] = own[..] else {
                panic!("{own:#?}")
            };
            assert_eq!((hold.kind, hold.saved), (EntryKind::Hold, None));
            assert_eq!((void.kind, void.saved), (EntryKind::Void, second.saved));
            assert_eq!(void.outcome.as_deref(), Some("succeeded"));
            assert_eq!(void.held_change.to_string(), "0");
            assert!(void.kling_task_id.is_none() && void.deducted_change.is_zero());
        }
    }
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.requests, 2, "{:?}", stats.creates);
    assert_eq!(stats.queries.total(), 0, "{:?}", stats.queries);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once_over_two_dispatchers_are_made_once() {
    let world = World::start(with_account()).await;
    let replica = world.replica(&[Role::Dispatcher]).await;
    let posts = (0..20).map(|n| {
        // Labels and keys make no difference.
        let mut request = again(video("slow=300ms"));
        request["labels"] = json!({ "n": n.to_string() });
        let world = &world;
        async move {
            let key = format!("key-{n}");
            world.post("acme", "/v1/tasks", &request, Some(&key)).await
        }
    });
    let answers = futures::future::join_all(posts).await;
    let ids: Vec<TaskId> = answers
        .iter()
        .map(|(_, answer)| world.note(&answer["task_id"]))
        .collect();
    let ended = world.finished(&ids).await;
    assert_eq!(count(&ended, reused), 19, "{ended:#?}");
    let one = ended.values().find(|task| !reused(task)).unwrap();
    let price = one.estimate;
    let saved: Decimal = ended
        .values()
        .filter_map(|task| task.saved)
        .map(|s| s.amount)
        .sum();
    assert_eq!(saved, price.amount * Decimal::from(19));
    for owner in [
        LedgerOwner::Tenant(one.tenant.clone()),
        LedgerOwner::Account,
    ] {
        let entries = entries(&world, owner, one).await;
        let told = entries.iter().filter_map(|entry| entry.saved);
        assert_eq!(told.map(|saved| saved.amount).sum::<Decimal>(), saved);
        let balance = &entries.last().unwrap().balance[&Unit::Video];
        assert_eq!(
            (balance.held, balance.deducted),
            (Decimal::ZERO, price.amount)
        );
    }
    replica.stop().await;
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.requests, 1, "{:?}", stats.creates);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_equal_requests_is_made_once() {
    let world = World::start(Options::default()).await;
    let mut requests = vec![again(video("")); 10];
    requests.extend(vec![again(legacy_video("")); 5]);
    let ids = world.submit_batch("acme", &requests).await;
    let ended = world.finished(&ids).await;
    assert_eq!(count(&ended, reused), 13);
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.requests, 2, "{:?}", stats.creates);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_fails_the_next_is_made_and_the_others_join_it() {
    let world = World::start(Options::default().sim(|sim| {
        let fail = |create| ScriptedFault {
            create,
            tags: "fail,slow=200ms".to_owned(),
        };
        sim.faults.script = vec![fail(1), fail(2)];
    }))
    .await;
    let ids = world.submit_batch("acme", &vec![again(video("")); 6]).await;
    let ended = world.finished(&ids).await;
    let failed = count(&ended, |task| task.status == Status::Failed);
    assert_eq!((failed, count(&ended, reused)), (2, 3), "{ended:#?}");
    // The order of the log: the two oldest failed, the third was made.
    let third = &ended[&ids[2]];
    assert!(!reused(third) && third.status == Status::Succeeded);
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.requests, 3, "{:?}", stats.creates);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_answered_by_what_was_made_meanwhile() {
    let options = Options::default()
        .sim(|sim| {
            let tags = "fail=input".to_owned();
            sim.faults.script = vec![ScriptedFault { create: 1, tags }];
        })
        .service(|config| config.retry.generation_max = 1);
    let world = World::start(options).await;
    let ids = world.submit_batch("acme", &vec![again(video("")); 2]).await;
    let ended = world.finished(&ids).await;
    assert_eq!(ended[&ids[0]].status, Status::Failed);
    let retry = world.note(&json!(retry_id(&ended[&ids[0]])));
    // It waits for half a minute to be made, and is answered before that.
    let retry = finished(&world, &retry).await;
    assert_eq!(retry.reused_from.as_ref(), Some(&ids[1]));
    assert_eq!(retry.retry_of.as_ref(), Some(&ids[0]));
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.requests, 2, "{:?}", stats.creates);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_word_and_for_another_tenant_everything_is_made() {
    let world = World::start(Options::default()).await;
    let first = made(&world, &video("")).await;
    let second = made(&world, &video("")).await;
    assert!(second.reused_from.is_none(), "it did not ask for that");
    let other = made(&world, &again(video("slow=1ms"))).await;
    assert!(other.reused_from.is_none(), "another prompt");
    let foreign = world.submit_batch("zeta", &[again(video(""))]).await;
    let foreign = finished(&world, &foreign[0]).await;
    assert!(foreign.reused_from.is_none(), "another tenant's");
    let mine = made(&world, &again(video(""))).await;
    assert_eq!(mine.reused_from, Some(second.task_id), "the newest");
    assert_ne!(mine.reused_from, Some(first.task_id));
    // What was reused is no source itself: its own would not be told.
    let once_more = made(&world, &again(video(""))).await;
    assert_eq!(once_more.reused_from, mine.reused_from);
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.requests, 4, "{:?}", stats.creates);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_too_old_is_made_again() {
    let options = Options::default().service(|config| {
        config.reuse.max_age = Duration::from_secs(1);
    });
    let world = World::start(options).await;
    let first = made(&world, &video("")).await;
    let over = first.relay.stored_at.unwrap() + SignedDuration::from_millis(1_001);
    until("the first is too old", DEADLINE, async || {
        Clock::system().now() > over
    })
    .await;
    let second = made(&world, &again(video(""))).await;
    assert!(second.reused_from.is_none(), "{second:#?}");
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.requests, 2, "{:?}", stats.creates);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_left_to_spend_a_stored_result_still_answers() {
    let options = Options::default().service(|config| {
        let limit = [("video-unit".to_owned(), Decimal::from(2))];
        config.budget.daily_limit = Some(LimitSetting::ByUnit(limit.into()));
    });
    let world = World::start(options).await;
    let first = made(&world, &video("")).await;
    let price = first.estimate.amount;
    assert!(price <= 2.into() && price + price > 2.into(), "{price}");
    let (status, refused) = world.post("acme", "/v1/tasks", &video(""), None).await;
    assert_eq!(status, 402, "{refused}");
    let (status, refused) = world
        .post("acme", "/v1/tasks", &again(legacy_video("")), None)
        .await;
    assert_eq!(status, 402, "{refused}");
    let ids = world.submit_batch("acme", &vec![again(video("")); 3]).await;
    let ended = world.finished(&ids).await;
    assert_eq!(count(&ended, reused), 3);
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_its_time_holds_nobody_up_and_is_answered() {
    let world = World::start(Options::default()).await;
    let mut later = again(video(""));
    let at = Clock::system().now() + SignedDuration::from_hours(24);
    later["not_before"] = json!(at.to_string());
    let later = world.submit(&later).await;
    let now = made(&world, &again(video(""))).await;
    assert!(now.reused_from.is_none());
    let later = finished(&world, &later).await;
    assert_eq!(later.reused_from, Some(now.task_id));
    assert_eq!(
        later.held.unwrap().amount,
        now.estimate.amount,
        "held until then"
    );
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_another_can_be_cancelled() {
    let world = World::start(Options::default()).await;
    let first = world.submit(&video("stuck")).await;
    let second = world.submit(&again(video("stuck"))).await;
    world.reaches(&first, Status::Processing).await;
    assert_eq!(world.task(&second).await.status, Status::Requested);
    let address = world.app.address("api").unwrap();
    let url = format!("http://{address}/v1/tasks/{second}");
    let request = client().delete(url).bearer_auth(secret_of("acme"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert!(world.control().finish(first.as_str()));
    let ended = world.finished(&[first.clone(), second.clone()]).await;
    assert_eq!(ended[&first].status, Status::Succeeded);
    assert_eq!(ended[&second].error.as_ref().unwrap().code, "cancelled");
    let stats = world.stop(Expected::default()).await;
    assert_eq!(stats.creates.requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_whose_file_has_gone_is_not_said_to_be_stored() {
    let world = World::start(Options::default()).await;
    let first = made(&world, &video("")).await;
    let file = Url::parse(&first.assets[0].uri).unwrap();
    std::fs::remove_file(file.to_file_path().unwrap()).unwrap();
    let second = world.submit(&again(video(""))).await;
    let broker = world.app.broker();
    let dead = async || {
        let info = broker::api(broker, "STREAM.INFO.KLING_DEAD").await;
        info.is_some_and(|info| info["state"]["messages"] == 1)
    };
    until("a person is told", DEADLINE, dead).await;
    let second = world.task(&second).await;
    assert_eq!(second.status, Status::Succeeded);
    assert!(second.relay.stored_at.is_none());
    world.app.stop().await;
}
