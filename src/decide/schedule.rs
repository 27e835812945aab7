//! Open tasks and slots: which to dispatch next.
//!
//! Kling counts slots by model version and pack type, so one model without free slots never holds
//! up another. Within a pool the tenant with the fewest slots goes first, so one tenant's batch
//! never holds up another tenant; within a tenant the oldest request goes first.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::model::ids::{TaskId, Tenant};
use crate::model::task::Slots;

/// A task that waits to be created at Kling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which task.
    pub task_id: TaskId,
    /// Whose.
    pub tenant: Tenant,
    /// What it takes.
    pub slots: Slots,
    /// Place in the order of acceptance.
    pub requested_seq: u64,
    /// The earliest time: the caller's wish, a back-off, or the end of another dispatcher's claim.
    pub ready_at: Option<Timestamp>,
    /// Whether its slots are counted as in use already: an earlier create may have reached Kling.
    pub counted: bool,
}

/// The slots in use, by pool and tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse(HashMap<String, BTreeMap<Tenant, u32>>);

impl InUse {
    /// Counts a task's slots.
    pub fn take(&mut self, tenant: &Tenant, slots: &Slots) {
        let by_tenant = self.0.entry(slots.pool.clone()).or_default();
        *by_tenant.entry(tenant.clone()).or_default() += slots.count;
    }

    /// Returns the slots in use of a pool.
    #[must_use]
    pub fn total(&self, pool: &str) -> u32 {
        self.0
            .get(pool)
            .map_or(0, |by_tenant| by_tenant.values().sum())
    }

    /// Lists the pools and their slots in use.
    pub fn pools(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0
            .iter()
            .map(|(pool, by_tenant)| (pool.as_str(), by_tenant.values().sum()))
    }

    fn of_tenant(&self, pool: &str, tenant: &Tenant) -> u32 {
        self.0
            .get(pool)
            .and_then(|by_tenant| by_tenant.get(tenant))
            .copied()
            .unwrap_or(0)
    }
}

/// What to dispatch now, and when to look again if nothing changes before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// In this order.
    pub picks: Vec<TaskId>,
    /// When the next waiting task becomes ready by itself.
    pub next_ready_at: Option<Timestamp>,
}

/// Picks tasks to dispatch: at most `picks_max`, and never more slots than `capacity` allows.
///
/// A task that needs more slots than its pool has is picked when the pool is empty: Kling knows its
/// own limit better than our configuration does.
#[must_use]
pub fn next(
    waiting: impl IntoIterator<Item = Waiting>,
    mut in_use: InUse,
    capacity: impl Fn(&str) -> u32,
    now: Timestamp,
    picks_max: usize,
) -> Schedule {
    let mut schedule = Schedule::default();
    let mut queues: BTreeMap<String, BTreeMap<Tenant, Vec<Waiting>>> = BTreeMap::new();
    for task in waiting {
        match task.ready_at.filter(|at| *at > now) {
            Some(at) => {
                let next = schedule.next_ready_at.map_or(at, |next| next.min(at));
                schedule.next_ready_at = Some(next);
            }
            None => {
                let by_tenant = queues.entry(task.slots.pool.clone()).or_default();
                by_tenant.entry(task.tenant.clone()).or_default().push(task);
            }
        }
    }
    for (pool, mut by_tenant) in queues {
        for queue in by_tenant.values_mut() {
            // Popping from the end is cheap: oldest last, and after them those that need no slot.
            queue.sort_by_key(|task| (task.counted, std::cmp::Reverse(task.requested_seq)));
        }
        let capacity = capacity(&pool);
        while schedule.picks.len() < picks_max {
            let Some(task) = next_of_pool(&mut by_tenant, &pool, &in_use, capacity) else {
                break;
            };
            if !task.counted {
                in_use.take(&task.tenant, &task.slots);
            }
            schedule.picks.push(task.task_id);
        }
    }
    schedule
}

fn next_of_pool(
    by_tenant: &mut BTreeMap<Tenant, Vec<Waiting>>,
    pool: &str,
    in_use: &InUse,
    capacity: u32,
) -> Option<Waiting> {
    let used = in_use.total(pool);
    let (tenant, _) = by_tenant
        .iter()
        .filter_map(|(tenant, queue)| Some((tenant, queue.last()?)))
        .min_by_key(|(tenant, first)| {
            let used = in_use.of_tenant(pool, tenant);
            (!first.counted, used, first.requested_seq)
        })?;
    let tenant = tenant.clone();
    let queue = by_tenant.get_mut(&tenant)?;
    let first = queue.last()?;
    let fits = first.counted
        || used.saturating_add(first.slots.count) <= capacity
        || (used == 0 && capacity > 0);
    if fits { queue.pop() } else { None }
}
