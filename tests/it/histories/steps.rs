//! The steps of a history, and how the outcome of each is found out.

use std::time::Duration;

use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::log::{Committed, Loaded, LogError};
use kling_relay::edge::nats::money::{AcceptError, LimitChange, NewTask};
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::ids::Day;
use kling_relay::model::ledger::LedgerKey;
use rand::RngExt;
use rust_decimal::Decimal;

use super::model::ledgers;
use super::{DEADLINE, History, LOSSY, answered, days, writer};
use crate::broker::until;
use crate::kit::{billed, end, everything, fresh_task_id, new_task, orphans, video};
use crate::torn::power_cut;

impl History {
    pub(super) async fn accept(&mut self, place: usize) -> &'static str {
        let tasks = self.new_tasks();
        let deadline = self.deadline(place);
        let answer = self.writers[place].accept(tasks.clone(), deadline).await;
        match answer {
            Ok(_) => self.accepted(&tasks),
            Err(AcceptError::BudgetExceeded { .. }) => {
                assert!(!self.fit(&tasks), "refused, and it would have fitted");
                "a refusal"
            }
            Err(AcceptError::Unavailable) if place == LOSSY => self.find_accepted(&tasks).await,
            Err(error) => panic!("{error}"),
        }
    }

    /// The same commit again finds its own success, whatever has become of the budget.
    pub(super) async fn accept_again(&mut self, place: usize) -> &'static str {
        if self.model.accepted.is_empty() {
            return "nothing to accept again";
        }
        let which = self.dice.random_range(0..self.model.accepted.len());
        let tasks = self.model.accepted[which].clone();
        let deadline = self.deadline(place);
        match self.writers[place].accept(tasks, deadline).await {
            Ok(_) => "an acceptance again",
            Err(AcceptError::Unavailable) if place == LOSSY => "an acceptance again, lost",
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) async fn settle(&mut self, place: usize) -> &'static str {
        let Some((on, bill)) = self.ended().await else {
            return "nothing to settle";
        };
        let closing = billed(&on.task, &bill);
        match self.writers[place].settle(&on, closing).await {
            Ok(Committed::Stored { .. }) => self.settled(&on, &bill),
            Ok(Committed::MovedOn) => panic!("nobody else has closed it"),
            Err(LogError::Unknown { .. }) if place == LOSSY => self.find_settled(&on, &bill).await,
            Err(error) => panic!("{error}"),
        }
    }

    /// What was decided on a state that is no more changes nothing.
    pub(super) async fn settle_again(&mut self, place: usize) -> &'static str {
        if self.model.closed.is_empty() {
            return "nothing to settle again";
        }
        let which = self.dice.random_range(0..self.model.closed.len());
        let on = self.model.closed[which].clone();
        let closing = billed(&on.task, &[video(3)]);
        match self.writers[place].settle(&on, closing).await {
            Ok(Committed::MovedOn) => "a closing again",
            Err(LogError::Unknown { .. }) if place == LOSSY => "a closing again, lost",
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn set_limit(&mut self, place: usize) -> &'static str {
        let day = self.day();
        let key = ledgers(day)[self.dice.random_range(0..2)].clone();
        let limit = self.dice.random_range(0..80);
        self.change_limit(place, &key, limit).await;
        self.model.set_limit(&key, limit);
        "a limit"
    }

    /// A process that dies at some moment of its commit, its memory and its connection with it.
    pub(super) async fn crash(&mut self) -> &'static str {
        let endpoint = self.node.endpoint();
        let moment = Duration::from_micros(self.dice.random_range(0..4_000));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let settling = self.dice.random_bool(0.5);
        let ended = if settling { self.ended().await } else { None };
        let tasks = self.new_tasks();
        let (on, own) = (ended.clone(), tasks.clone());
        runtime.spawn(async move {
            let money = writer(&endpoint, false).await;
            begun.send(()).unwrap();
            match on {
                Some((on, bill)) => drop(money.settle(&on, billed(&on.task, &bill)).await),
                None => drop(money.accept(own, DEADLINE).await),
            }
            std::future::pending::<()>().await;
        });
        begins.await.unwrap();
        Clock::system().sleep(moment).await;
        runtime.shutdown_background();
        self.count("a crash");
        match ended {
            Some((on, bill)) => self.find_settled(&on, &bill).await,
            None => self.find_accepted(&tasks).await,
        }
    }

    /// A power cut in the middle of the newest batch; every writer repairs it by itself.
    pub(super) async fn tear(&mut self) -> &'static str {
        let ended = match self.dice.random_bool(0.5) {
            true => self.ended().await,
            false => None,
        };
        let tasks = self.new_tasks();
        let before = answered(async || self.log.last_sequence().await).await;
        let what = match &ended {
            Some((on, bill)) => {
                let closing = billed(&on.task, bill);
                self.writers[0].settle(on, closing).await.unwrap();
                self.settled(on, bill)
            }
            None if !self.fit(&tasks) => return "nothing to tear",
            None => {
                let accepted = self.writers[0].accept(tasks.clone(), DEADLINE).await;
                accepted.unwrap();
                self.accepted(&tasks)
            }
        };
        assert!(what == "an acceptance" || what == "a closing");
        let last = answered(async || self.log.last_sequence().await).await;
        let cut = self.dice.random_range(before + 2..=last);
        power_cut(&mut self.node, &self.log, cut).await;
        self.torn += 1;
        match &ended {
            Some((on, bill)) => {
                let deduction = billed(&on.task, bill).deduction;
                self.model.reopen(on, &deduction);
            }
            None => {
                // The events are the last of the batch, in order.
                let first_event = last + 1 - tasks.len() as u64;
                let kept = usize::try_from(cut.saturating_sub(first_event)).unwrap();
                self.model.forget(&tasks, kept);
            }
        }
        let whole = async || orphans(&everything(&self.log).await).is_empty();
        until("the torn batch is repaired", DEADLINE, whole).await;
        "a torn batch"
    }

    pub(super) async fn kill_server(&mut self) -> &'static str {
        self.node.kill();
        self.node.restart();
        self.node.wait_ready();
        let back = async || self.log.last_sequence().await.is_ok();
        until("the server is back", DEADLINE, back).await;
        "a kill of the server"
    }

    fn accepted(&mut self, tasks: &[NewTask]) -> &'static str {
        assert!(self.fit(tasks), "accepted above a limit");
        self.model.accept(tasks);
        "an acceptance"
    }

    fn settled(&mut self, on: &Loaded, bill: &[Amount]) -> &'static str {
        let deduction = billed(&on.task, bill).deduction;
        self.model.close(on, &deduction);
        "a closing"
    }

    async fn find_accepted(&mut self, tasks: &[NewTask]) -> &'static str {
        self.barrier(tasks[0].event.task.relay.day).await;
        let first = &tasks[0].event.task.task_id;
        if answered(async || self.log.load(first).await)
            .await
            .is_none()
        {
            return "an acceptance that was not stored";
        }
        self.accepted(tasks);
        "an acceptance whose answer was lost"
    }

    async fn find_settled(&mut self, on: &Loaded, bill: &[Amount]) -> &'static str {
        self.barrier(on.task.relay.day).await;
        let now = answered(async || self.log.load(&on.task.task_id).await).await;
        let now = now.unwrap();
        if now.task.relay.settled_at.is_none() {
            return "a closing that was not stored";
        }
        self.settled(on, bill);
        "a closing whose answer was lost"
    }

    /// After it, whatever was on its way to the ledgers of a day is stored, or refused for ever:
    /// the writer that has lost answers is done with what it had, and the ledger has moved on.
    async fn barrier(&mut self, day: Day) {
        for place in [LOSSY, 0] {
            let [tenant, _] = ledgers(day);
            self.change_limit(place, &tenant, self.model.limit(&tenant))
                .await;
        }
    }

    async fn change_limit(&self, place: usize, key: &LedgerKey, limit: i64) {
        let change = LimitChange {
            key: key.clone(),
            unit: Unit::Video,
            limit: Decimal::from(limit),
            who: "a test".to_owned(),
            reason: "chance".to_owned(),
        };
        self.writers[place]
            .set_limit(change, DEADLINE)
            .await
            .unwrap();
    }

    fn deadline(&mut self, place: usize) -> Duration {
        match place {
            LOSSY => Duration::from_millis(self.dice.random_range(1..30)),
            _ => DEADLINE,
        }
    }

    fn day(&mut self) -> Day {
        days()[self.dice.random_range(0..2)]
    }

    fn new_tasks(&mut self) -> Vec<NewTask> {
        let day = self.day();
        let amount = self.dice.random_range(1..9);
        let count = self.dice.random_range(1..4);
        let task = |_| {
            let mut new = new_task(&fresh_task_id(), video(amount));
            new.event.task.relay.day = day;
            new
        };
        (0..count).map(task).collect()
    }

    fn fit(&self, tasks: &[NewTask]) -> bool {
        let amount: Decimal = tasks.iter().map(|new| new.hold.amount).sum();
        let amount = i64::try_from(amount).unwrap();
        self.model.fits(tasks[0].event.task.relay.day, amount)
    }

    /// Ends one of the open tasks, and says what Kling took for it: less, as much, more, nothing,
    /// or from another pack as well.
    async fn ended(&mut self) -> Option<(Loaded, Vec<Amount>)> {
        let open = &self.model.open;
        let which = (!open.is_empty()).then(|| self.dice.random_range(0..open.len()))?;
        let open = open[which].clone();
        let loaded = answered(async || self.log.load(&open.id).await)
            .await
            .unwrap();
        let on = match loaded.task.status.is_terminal() {
            true => loaded,
            false => end(&self.log, &open.id).await,
        };
        let image = Amount::new(Decimal::ONE, Unit::Image);
        let bill = match self.dice.random_range(0..6) {
            0 => vec![],
            1 => vec![video(open.held - 1)],
            2 => vec![video(open.held)],
            3 => vec![video(open.held + 3)],
            4 => vec![video(1), image, video(1)],
            _ => vec![image],
        };
        Some((on, bill))
    }
}
