//! Which task goes next: slots, tenants, order.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use kling_relay::decide::schedule::{InUse, Waiting, next};
use kling_relay::model::ids::{TaskId, Tenant};
use kling_relay::model::task::Slots;
use proptest::prelude::*;

const POOLS: [&str; 2] = ["2.6/video", "v3/image"];
const TENANTS: [&str; 3] = ["acme", "beta", "zeta"];

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn slots(pool: &str, count: u32) -> Slots {
    let pool = pool.to_owned();
    Slots { pool, count }
}

fn task(n: u64, tenant: &str, pool: &str, count: u32) -> Waiting {
    let tenant = Tenant::parse(tenant).unwrap();
    Waiting {
        task_id: TaskId::derived(&tenant, "test", &n.to_string()),
        tenant,
        slots: slots(pool, count),
        requested_seq: n,
        ready_at: None,
        counted: false,
    }
}

fn used(tenants: &[(&str, u32)], pool: &str) -> InUse {
    let mut in_use = InUse::default();
    for (tenant, count) in tenants {
        in_use.take(&Tenant::parse(tenant).unwrap(), &slots(pool, *count));
    }
    in_use
}

fn ids(tasks: &[&Waiting]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.task_id.clone()).collect()
}

prop_compose! {
    fn a_task(n: u64)(
        tenant in prop::sample::select(&TENANTS[..]),
        pool in prop::sample::select(&POOLS[..]),
        count in 1..=9u32,
        wait_s in prop::option::weighted(0.2, -5..5i64),
        counted in prop::bool::weighted(0.1),
    ) -> Waiting {
        let ready_at = wait_s.map(|wait_s| now() + SignedDuration::from_secs(wait_s));
        Waiting { ready_at, counted, ..task(n, tenant, pool, count) }
    }
}

fn tasks() -> impl Strategy<Value = Vec<Waiting>> {
    (0..40usize).prop_flat_map(|count| (0..count as u64).map(a_task).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn capacity_is_never_exceeded(
        waiting in tasks(),
        before in prop::collection::vec((prop::sample::select(&TENANTS[..]), 1..4u32), 0..4),
        capacity in 0..12u32,
        picks_max in 0..30usize,
    ) {
        let in_use = used(&before, POOLS[0]);
        let schedule = next(waiting.clone(), in_use.clone(), |_| capacity, now(), picks_max);
        prop_assert!(schedule.picks.len() <= picks_max);
        let by_id: HashMap<&TaskId, &Waiting> =
            waiting.iter().map(|task| (&task.task_id, task)).collect();
        let mut after = in_use.clone();
        for id in &schedule.picks {
            let task = by_id[id];
            prop_assert!(task.ready_at.is_none_or(|at| at <= now()), "not ready");
            if task.counted {
                continue;
            }
            // Larger than its pool: alone.
            let alone = after.total(&task.slots.pool) == 0 && capacity > 0;
            after.take(&task.tenant, &task.slots);
            prop_assert!(after.total(&task.slots.pool) <= capacity || alone, "too many");
        }
    }

    #[test]
    fn nobody_is_picked_twice_and_the_oldest_of_a_tenant_goes_first(waiting in tasks()) {
        let picks = next(waiting.clone(), InUse::default(), |_| 9, now(), 100).picks;
        let distinct: std::collections::HashSet<&TaskId> = picks.iter().collect();
        prop_assert_eq!(distinct.len(), picks.len());
        let mut last: HashMap<(&Tenant, &str), u64> = HashMap::new();
        for id in &picks {
            let task = waiting.iter().find(|task| task.task_id == *id).unwrap();
            if !task.counted {
                let queue = (&task.tenant, task.slots.pool.as_str());
                let before = last.insert(queue, task.requested_seq);
                prop_assert!(before.is_none_or(|before| before < task.requested_seq));
            }
        }
    }

    #[test]
    fn everybody_gets_there_when_what_runs_ends(waiting in tasks(), capacity in 1..6u32) {
        let mut left: BTreeMap<u64, Waiting> =
            waiting.into_iter().map(|task| (task.requested_seq, task)).collect();
        left.values_mut().for_each(|task| task.ready_at = None);
        // Each round everything that runs ends: a round without a pick would be for ever.
        while !left.is_empty() {
            let waiting = left.values().cloned();
            let picks = next(waiting, InUse::default(), |_| capacity, now(), 100).picks;
            prop_assert!(!picks.is_empty(), "{} starve", left.len());
            left.retain(|_, task| !picks.contains(&task.task_id));
        }
    }

    #[test]
    fn tenants_share_a_pool_evenly(batch in 10..60u64, capacity in 3..30u32) {
        // The first tenant was earlier with everything.
        let mut waiting: Vec<Waiting> =
            (0..batch).map(|n| task(n, "acme", POOLS[0], 1)).collect();
        waiting.extend((0..10).map(|n| task(1_000 + n, "beta", POOLS[0], 1)));
        waiting.extend((0..10).map(|n| task(2_000 + n, "zeta", POOLS[0], 1)));
        let picks = next(waiting.clone(), InUse::default(), |_| capacity, now(), 100).picks;
        let of = |tenant: &str| picks.iter().filter(|id| id.tenant().as_str() == tenant).count();
        let (most, least) = (of("acme"), of("beta").min(of("zeta")));
        prop_assert!(least >= 10 || most <= least + 1, "{most} and {least}");
    }
}

#[test]
fn one_pool_without_slots_does_not_hold_up_another() {
    let (video, image) = (task(1, "acme", POOLS[0], 1), task(2, "acme", POOLS[1], 3));
    let in_use = used(&[("zeta", 5)], POOLS[0]);
    let picks = next([video, image.clone()], in_use, |_| 5, now(), 9).picks;
    assert_eq!(picks, ids(&[&image]));
}

#[test]
fn a_task_larger_than_its_pool_goes_when_the_pool_is_empty() {
    let large = task(1, "acme", POOLS[1], 9);
    let all = || [large.clone(), task(2, "acme", POOLS[1], 1)];
    let picks = next(all(), InUse::default(), |_| 5, now(), 9).picks;
    assert_eq!(picks, ids(&[&large]), "alone, and first");
    let in_use = used(&[("zeta", 1)], POOLS[1]);
    let picks = next(all(), in_use, |_| 5, now(), 9).picks;
    assert_eq!(
        picks,
        [],
        "the small one behind it does not overtake it for ever"
    );
    assert_eq!(
        next(all(), InUse::default(), |_| 0, now(), 9).picks,
        [],
        "the pool is closed"
    );
}

#[test]
fn what_may_be_at_kling_already_needs_no_slot_of_its_own() {
    let fresh = task(1, "acme", POOLS[0], 1);
    let unsure = Waiting {
        counted: true,
        ..task(2, "acme", POOLS[0], 1)
    };
    let in_use = used(&[("acme", 5)], POOLS[0]);
    let picks = next([fresh, unsure.clone()], in_use, |_| 5, now(), 9).picks;
    assert_eq!(picks, ids(&[&unsure]));
}

#[test]
fn it_says_when_to_look_again() {
    let at = |seconds| now() + SignedDuration::from_secs(seconds);
    let waits = |n, seconds| Waiting {
        ready_at: Some(at(seconds)),
        ..task(n, "acme", POOLS[0], 1)
    };
    let schedule = next(
        [waits(1, 9), waits(2, 4)],
        InUse::default(),
        |_| 5,
        now(),
        9,
    );
    assert_eq!(
        (schedule.picks, schedule.next_ready_at),
        (Vec::new(), Some(at(4)))
    );
    let ready = next([waits(1, 0)], InUse::default(), |_| 5, now(), 9);
    assert_eq!((ready.picks.len(), ready.next_ready_at), (1, None));
}
