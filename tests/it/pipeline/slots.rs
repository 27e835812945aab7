//! Slots at Kling: never more than there are, and no tenant before another.

use std::time::Duration;

use kling_relay::model::task::Status;

use crate::world::{Expected, Options, World, video};

#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_tasks_at_kling_than_slots() {
    // Kling would take more: what keeps to three is the dispatcher.
    let options = Options::default()
        .sim(|sim| sim.slots.video = 50)
        .service(|config| config.kling.max_concurrent = 3);
    let world = World::start(options).await;
    // The last kind runs at Kling and shows itself to nobody for a while.
    let tags = [
        "",
        "callback=early-terminal",
        "create=504-after",
        "slow=200ms",
        "create=reset,lookup=lag:1500ms,slow=2s,callback=drop@processing",
    ];
    let requests: Vec<_> = (0..25).map(|n| video(tags[n % tags.len()])).collect();
    let ids = world.submit_batch("acme", &requests).await;
    world.finished(&ids).await;
    let stats = world.stop(Expected::default()).await;
    assert_eq!(
        stats.max_slots.values().max(),
        Some(&3),
        "{:?}",
        stats.max_slots
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_one_tenant_does_not_hold_up_another() {
    let options = Options::default().sim(|sim| {
        sim.timing.process_time = Duration::from_millis(200);
    });
    let world = World::start(options).await;
    let requests: Vec<_> = (0..100).map(|_| video("")).collect();
    let batch = world.submit_batch("acme", &requests).await;
    world.reaches(&batch[0], Status::Submitted).await;
    let single = world.submit_batch("zeta", &[video("")]).await;
    world.finished(&single).await;
    let mut done = 0;
    for id in &batch {
        done += u32::from(world.task(id).await.status.is_terminal());
    }
    assert!(done < 60, "the single task came after {done} of the batch");
    world.stop(Expected::default()).await;
}
