//! The audit of closed days, which nobody has to ask for.

use std::time::Duration;

use jiff::SignedDuration;
use kling_relay::edge::clock::Clock;
use kling_relay::model::task::Task;
use tokio_util::sync::CancellationToken;

use super::audit;
use crate::broker::until;
use crate::world::{DEADLINE, Options, World, client, video};

const DAY: Duration = Duration::from_secs(86_400);

/// What the metrics say of a class.
async fn differences(world: &World, class: &str) -> Option<String> {
    let address = world.app.address("admin").expect("every process has it");
    let url = format!("http://{address}/metrics");
    let text = client().get(url).send().await.ok()?.text().await.ok()?;
    let name = format!("kling_relay_reconcile_differences{{class=\"{class}\"}} ");
    text.lines()
        .find_map(|line| line.strip_prefix(&name).map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_day_is_compared_and_nothing_is_posted() {
    let world = World::start(Options::default()).await;
    let requests = ["", "", "record=amount:7", "record=missing"].map(video);
    let ids = world.submit_all(&requests).await;
    let tasks: Vec<Task> = world.finished(&ids).await.into_values().collect();
    let before = world.stats().queries;
    assert_eq!(
        (before.total(), before.account),
        (0, 0),
        "today is nobody's yet"
    );

    // A clock at noon two days later: the day has ended, and its records have settled.
    let clock = Clock::system();
    let later = SignedDuration::from_hours(48).as_millis();
    clock.set_offset_ms(i64::try_from(later).expect("two days"));
    let lag = SignedDuration::from_hours(12);
    let stop = CancellationToken::new();
    let daily = audit(&world, &clock, lag);
    let (stopped, every) = (stop.clone(), 3 * DAY);
    let daily = tokio::spawn(async move { daily.keep(every, stopped).await });
    until("the day was audited", DEADLINE, async || {
        // Around midnight the tasks may stand on two days: the last one is what is shown.
        differences(&world, "assumed").await.is_some()
    })
    .await;
    stop.cancel();
    daily.await.expect("it ends when it is told to");
    let one_day = tasks
        .iter()
        .all(|task| task.relay.day == tasks[0].relay.day);
    if one_day {
        for (class, count) in [
            ("different", "1"),
            ("missing-at-kling", "1"),
            ("assumed", "0"),
        ] {
            assert_eq!(
                differences(&world, class).await.as_deref(),
                Some(count),
                "{class}"
            );
        }
    }
    let queries = world.stats().queries;
    assert!(
        queries.tasks_by_cursor > 0 && queries.account > 0,
        "{queries:?}"
    );
    for task in &tasks {
        let taken = world.balance(task).await;
        let unit = kling_relay::model::amount::Unit::Video;
        assert!(
            taken[&unit].deducted <= rust_decimal::Decimal::from(6),
            "as settled"
        );
    }
    world.app.stop().await;
    world.sim.stop().await;
}
