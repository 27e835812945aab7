//! Any order of things, and dispatchers that see them late: of equal requests one is made.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kling_relay::decide::dispatch;
use kling_relay::decide::placement::stored;
use kling_relay::decide::reuse;
use kling_relay::model::event::{EventKind, NewEvent};
use kling_relay::model::ids::{KlingTaskId, TaskId, Tenant};
use kling_relay::model::task::{Status, Task, TaskError};
use kling_relay::stage::views::Fold;
use proptest::prelude::*;

use super::{HOUR, asset, at, rules};
use crate::a_task;

/// The log of a few equal requests, two dispatchers with views that lag behind it, and Kling.
struct House {
    log: Vec<(EventKind, Task)>,
    last: HashMap<TaskId, u64>,
    dispatchers: [Dispatcher; 2],
    now: Timestamp,
    /// What was sent to Kling, and whether it failed there.
    created: HashMap<TaskId, Option<bool>>,
}

#[derive(Default)]
struct Dispatcher {
    fold: Fold,
    seen: u64,
    claimed: Vec<(TaskId, u64)>,
}

impl House {
    fn new() -> Self {
        Self {
            log: Vec::new(),
            last: HashMap::new(),
            dispatchers: Default::default(),
            now: at(0),
            created: HashMap::new(),
        }
    }

    fn task(&self, id: &TaskId) -> &Task {
        &self.log[self.last[id] as usize - 1].1
    }

    fn submit(&mut self, n: usize, asked: bool, delay_s: Option<i64>) {
        let tenant = Tenant::parse("acme").unwrap();
        let mut task = a_task::task(Status::Requested);
        task.task_id = TaskId::derived(&tenant, "test", &n.to_string());
        task.tenant = tenant;
        task.occurred_at = self.now;
        task.relay.expires_at = Timestamp::MAX;
        task.relay.reuse.key = "0".repeat(64);
        task.relay.reuse.asked = asked;
        task.relay.not_before = delay_s.map(|s| self.now + SignedDuration::from_secs(s));
        task.relay.dispatching = 0;
        self.last.insert(task.task_id.clone(), 0);
        self.commit(0, NewEvent::plain(EventKind::Requested, 1, task));
    }

    /// Stores an event if its task stands where it was read.
    fn commit(&mut self, on: u64, event: NewEvent) -> Option<u64> {
        let (seq, mut task) = (self.log.len() as u64 + 1, event.body.task);
        if self.last[&task.task_id] != on {
            return None;
        }
        if let Some(before) = on.checked_sub(1) {
            let (kind, before) = &self.log[before as usize];
            task.relay.requested_seq = match kind {
                EventKind::Requested => on,
                _ => before.relay.requested_seq,
            };
        }
        self.last.insert(task.task_id.clone(), seq);
        self.log.push((event.kind, task));
        Some(seq)
    }

    /// Lets a dispatcher's view see the log up to a sequence.
    fn see(&mut self, d: usize, until: u64) {
        let dispatcher = &mut self.dispatchers[d];
        while dispatcher.seen < until {
            let (kind, task) = &self.log[dispatcher.seen as usize];
            dispatcher.seen += 1;
            dispatcher.fold.apply(task, Some(*kind), dispatcher.seen);
        }
    }

    /// Claims or answers what a dispatcher's view offers.
    fn look(&mut self, d: usize) {
        let dispatcher = &self.dispatchers[d];
        let in_hand = |id: &TaskId| dispatcher.claimed.iter().any(|(known, _)| known == id);
        let possible = dispatcher
            .fold
            .dispatchable(self.now, &rules(), None, in_hand);
        for id in possible.answered {
            let (on, task) = (self.last[&id], self.task(&id).clone());
            if !reuse::may_be_answered(&task) {
                continue;
            }
            let key = &task.relay.reuse.key;
            let fold = &self.dispatchers[d].fold;
            let source = fold.answer(&task.tenant, key, self.now, &rules());
            let source = self.task(source.expect("something answers")).clone();
            assert!(reuse::can_answer(&source, &task.tenant, key), "{source:?}");
            self.commit(on, reuse::answered(&task, &source, self.now));
        }
        for waiting in possible.waiting {
            let id = waiting.task_id;
            let (on, task) = (self.last[&id], self.task(&id).clone());
            if dispatch::may_take(&task, self.now) {
                let event = dispatch::claimed(&task, "claim".to_owned(), 24 * HOUR, self.now);
                let seq = self.commit(on, event).expect("it has just been read");
                self.dispatchers[d].claimed.push((id, seq));
            }
        }
    }

    /// Sends one claimed task to Kling, or gives it back.
    fn send(&mut self, d: usize) {
        if self.dispatchers[d].claimed.is_empty() {
            return;
        }
        let (id, seq) = self.dispatchers[d].claimed.remove(0);
        self.see(d, seq);
        let task = self.task(&id).clone();
        let fold = &self.dispatchers[d].fold;
        let may = !task.relay.reuse.asked || fold.may_make(&task, self.now, &rules());
        let event = if may {
            let again = self.created.insert(id, None);
            assert!(again.is_none(), "sent twice");
            let kling_id = KlingTaskId::parse(&format!("kling-{seq}")).unwrap();
            dispatch::submitted(&task, kling_id, self.now)
        } else {
            dispatch::given_back(&task, false, 0, Duration::ZERO, self.now)
        };
        self.commit(seq, event).expect("the claim stands");
    }

    /// Kling ends what it has: the oldest of all.
    fn end(&mut self, fails: bool) {
        let running = self.created.iter().filter(|(_, ended)| ended.is_none());
        let oldest = running.map(|(id, _)| id).min_by_key(|id| self.last[*id]);
        let Some(id) = oldest.cloned() else { return };
        self.created.insert(id.clone(), Some(fails));
        let (on, mut task) = (self.last[&id], self.task(&id).clone());
        task.relay.changed_at = self.now;
        if fails {
            task.status = Status::Failed;
            task.error = Some(TaskError {
                code: "kling-failed".to_owned(),
                message: String::new(),
                retryable: true,
            });
            self.commit(on, NewEvent::plain(EventKind::Failed, 1, task));
            return;
        }
        task.status = Status::Succeeded;
        task.relay.outputs = 1;
        self.commit(on, NewEvent::plain(EventKind::Succeeded, 1, task));
    }

    /// Stores what has succeeded.
    fn store(&mut self) {
        let ids: Vec<TaskId> = self.last.keys().cloned().collect();
        for id in ids {
            let (on, task) = (self.last[&id], self.task(&id).clone());
            if task.status == Status::Succeeded
                && let Some(event) = stored(&task, vec![asset()], self.now)
            {
                self.commit(on, event);
            }
        }
    }

    fn asked_and_made(&self) -> usize {
        let asked = |id: &&TaskId| self.task(id).relay.reuse.asked;
        self.created.keys().filter(asked).count()
    }
}

#[derive(Clone, Debug)]
enum Act {
    Submit(bool, Option<i64>),
    See(usize, u64),
    Look(usize),
    Send(usize),
    End(bool),
    Store,
    Time(i64),
}

fn act(asked: f64, fails: f64) -> impl Strategy<Value = Act> {
    let delay = prop::option::weighted(0.4, 0..20i64);
    prop_oneof![
        (prop::bool::weighted(asked), delay).prop_map(|(asked, delay)| Act::Submit(asked, delay)),
        (0..2usize, 1..4u64).prop_map(|(d, count)| Act::See(d, count)),
        (0..2usize).prop_map(Act::Look),
        (0..2usize).prop_map(Act::Send),
        prop::bool::weighted(fails).prop_map(Act::End),
        Just(Act::Store),
        (0..15i64).prop_map(Act::Time),
    ]
}

fn play(acts: Vec<Act>) -> House {
    let mut house = House::new();
    for (n, act) in acts.into_iter().enumerate() {
        match act {
            Act::Submit(asked, delay) => house.submit(n, asked, delay),
            Act::See(d, count) => {
                let until = house.dispatchers[d].seen + count;
                house.see(d, until.min(house.log.len() as u64));
            }
            Act::Look(d) => house.look(d),
            Act::Send(d) => house.send(d),
            Act::End(fails) => house.end(fails),
            Act::Store => house.store(),
            Act::Time(seconds) => house.now += SignedDuration::from_secs(seconds),
        }
    }
    // Then everything goes on until it is over.
    let open = |house: &House| {
        let mut ids = house.last.keys();
        ids.any(|id| !house.task(id).status.is_terminal())
    };
    for _ in 0..200 {
        if !open(&house) {
            break;
        }
        house.now += SignedDuration::from_secs(5);
        for d in 0..2 {
            house.see(d, house.log.len() as u64);
            house.look(d);
            house.send(d);
        }
        house.end(false);
        house.store();
    }
    assert!(!open(&house), "somebody waits for ever");
    house
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equal_requests_are_made_once_and_once_more_for_each_failure(
        acts in prop::collection::vec(act(1.0, 0.3), 1..60),
    ) {
        let house = play(acts);
        let failures = house.created.values().filter(|failed| **failed == Some(true)).count();
        let made = house.asked_and_made();
        let some = usize::from(!house.last.is_empty());
        prop_assert!(made <= failures + some, "{made} made, {failures} failed");
    }

    #[test]
    fn what_is_not_to_be_shared_is_always_made(
        acts in prop::collection::vec(act(0.5, 0.0), 1..60),
    ) {
        let house = play(acts);
        let mut made_by_asked = 0;
        for id in house.last.keys() {
            let task = house.task(id);
            let made = house.created.contains_key(id);
            prop_assert_eq!(made, task.reused_from.is_none());
            prop_assert!(made || task.relay.reuse.asked, "not made, and nobody allowed that");
            made_by_asked += usize::from(made && task.relay.reuse.asked);
        }
        prop_assert!(made_by_asked <= 1, "{made_by_asked} made although they allow reuse");
    }
}
