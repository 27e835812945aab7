//! The races that the whole design rests on: many writers on one task and one ledger while the
//! broker is killed and its leader moves, on one node and on three.
//!
//! Three nodes show what one cannot: there a second spelling of the expected subject would break
//! the guarantee silently.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::log::{Committed, Log, LogError};
use kling_relay::edge::nats::money::{AcceptError, Money, MoneyRules};
use kling_relay::edge::nats::record::Recorded;
use kling_relay::edge::nats::{Endpoint, topology};
use kling_relay::model::ids::TaskId;
use kling_relay::model::ledger::EntryKind;
use tokio_util::sync::CancellationToken;

use crate::broker::{Cluster, Node, config, open, step_down};
use crate::kit::{
    account_key, audit, billed, count, end, everything, fresh_task_id, fresh_tasks, key, limits,
    new_task, next_claim, video,
};

const WRITERS: usize = 64;
/// Connections, each standing for a process with its own money writer.
const PROCESSES: usize = 3;
/// Less than the submitters ask for, so that the limit is raced for as well.
const LIMIT: i64 = 400;

struct Race {
    processes: Vec<(Log, Money)>,
    task: TaskId,
    stop: Arc<AtomicBool>,
    /// Sequences that a writer was told, with the commit's subject.
    told: Arc<std::sync::Mutex<Vec<(u64, TaskId)>>>,
    commits: Arc<AtomicUsize>,
    conflicts: Arc<AtomicU64>,
    unknown: Arc<AtomicU64>,
    accepted: Arc<AtomicUsize>,
    settled: Arc<AtomicUsize>,
}

impl Race {
    async fn start(endpoint: &Endpoint, replicas: usize) -> Self {
        let nats = config(replicas);
        let mut processes = Vec::new();
        for _ in 0..PROCESSES {
            let (_broker, log) = open(endpoint, &nats).await;
            let rules = MoneyRules {
                account_limits: Some(limits(2 * LIMIT)),
                ..MoneyRules::new(limits(LIMIT))
            };
            let money = Money::start(log.clone(), rules, CancellationToken::new()).await;
            processes.push((log, money.expect("a writer")));
        }
        let task = fresh_task_id();
        let first = vec![new_task(&task, video(1))];
        let accepted = processes[0].1.accept(first, Duration::from_secs(30)).await;
        let told = vec![(accepted.expect("accepted")[0], task.clone())];
        Self {
            processes,
            task,
            stop: Arc::default(),
            told: Arc::new(std::sync::Mutex::new(told)),
            commits: Arc::default(),
            conflicts: Arc::default(),
            unknown: Arc::default(),
            accepted: Arc::new(AtomicUsize::new(1)),
            settled: Arc::default(),
        }
    }

    /// Half of the writers race on one task, half accept and settle tasks on one ledger.
    fn run(&self) -> Vec<tokio::task::JoinHandle<()>> {
        let mut writers = Vec::new();
        for index in 0..WRITERS {
            let (log, money) = self.processes[index % PROCESSES].clone();
            let shared = self.shared();
            writers.push(tokio::spawn(shared.clone().claim(log.clone())));
            writers.push(tokio::spawn(shared.submit(log, money, index)));
        }
        writers
    }

    fn shared(&self) -> Shared {
        Shared {
            task: self.task.clone(),
            stop: self.stop.clone(),
            told: self.told.clone(),
            commits: self.commits.clone(),
            conflicts: self.conflicts.clone(),
            unknown: self.unknown.clone(),
            accepted: self.accepted.clone(),
            settled: self.settled.clone(),
        }
    }

    #[expect(
        clippy::print_stderr,
        reason = "how much was raced belongs to the result"
    )]
    async fn finish(self, writers: Vec<tokio::task::JoinHandle<()>>) -> Vec<Recorded> {
        self.stop.store(true, Ordering::SeqCst);
        for writer in futures::future::join_all(writers).await {
            writer.expect("no writer panicked");
        }
        let messages = everything(&self.processes[0].0).await;
        audit(&messages);
        let told = self.told.lock().expect("not poisoned").clone();
        for (seq, task) in &told {
            let found = messages.iter().find(|message| message.seq == *seq);
            let found = found.and_then(Recorded::task_subject).map(|(task, _)| task);
            assert_eq!(
                found.as_ref(),
                Some(task),
                "an acknowledged message is lost"
            );
        }
        let holds = count(&messages, &key(), EntryKind::Hold);
        assert_eq!(holds, count(&messages, &account_key(), EntryKind::Hold));
        let voids = count(&messages, &key(), EntryKind::Void);
        assert!(
            holds >= self.accepted.load(Ordering::SeqCst),
            "an accepted task is lost"
        );
        assert!(
            voids >= self.settled.load(Ordering::SeqCst),
            "a settlement is lost"
        );
        eprintln!(
            "{} events, {holds} holds, {voids} voids, {} told, {} conflicts, {} unknown",
            messages.len(),
            told.len(),
            self.conflicts.load(Ordering::SeqCst),
            self.unknown.load(Ordering::SeqCst),
        );
        assert!(
            self.commits.load(Ordering::SeqCst) > 100,
            "hardly anything was raced"
        );
        assert!(
            self.conflicts.load(Ordering::SeqCst) > 100,
            "hardly any conflict"
        );
        messages
    }
}

#[derive(Clone)]
struct Shared {
    task: TaskId,
    stop: Arc<AtomicBool>,
    told: Arc<std::sync::Mutex<Vec<(u64, TaskId)>>>,
    commits: Arc<AtomicUsize>,
    conflicts: Arc<AtomicU64>,
    unknown: Arc<AtomicU64>,
    accepted: Arc<AtomicUsize>,
    settled: Arc<AtomicUsize>,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn tell(&self, seq: u64, task: &TaskId) {
        self.told
            .lock()
            .expect("not poisoned")
            .push((seq, task.clone()));
        self.commits.fetch_add(1, Ordering::SeqCst);
    }

    /// Moves the one task on, again and again.
    async fn claim(self, log: Log) {
        while !self.is_over() {
            let on = match log.load(&self.task).await {
                Ok(on) => on.expect("the task does not vanish"),
                Err(error) => {
                    self.bear(&error).await;
                    continue;
                }
            };
            match log.commit(&on, next_claim(on.task.clone())).await {
                Ok(Committed::Stored { seq }) => self.tell(seq, &self.task),
                Ok(Committed::MovedOn) => {
                    self.conflicts.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => self.bear(&error).await,
            }
        }
    }

    /// Accepts a task, ends it, gives the money back.
    async fn submit(self, log: Log, money: Money, index: usize) {
        while !self.is_over() {
            let tasks = fresh_tasks(1 + index % 3, video(4));
            let ids: Vec<TaskId> = tasks.iter().map(|t| t.event.task.task_id.clone()).collect();
            match money.accept(tasks, Duration::from_secs(5)).await {
                Ok(seqs) => {
                    self.accepted.fetch_add(ids.len(), Ordering::SeqCst);
                    seqs.iter()
                        .zip(&ids)
                        .for_each(|(seq, id)| self.tell(*seq, id));
                }
                Err(AcceptError::BudgetExceeded { .. }) => continue,
                Err(AcceptError::Unavailable) => {
                    self.unknown.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                Err(error) => panic!("{error}"),
            }
            for id in &ids {
                self.close(&log, &money, id).await;
            }
        }
    }

    /// As a stage does: load, decide, commit, and again until it is done.
    async fn close(&self, log: &Log, money: &Money, id: &TaskId) {
        while !self.is_over() {
            let on = match log.load(id).await {
                Ok(on) => on.expect("an accepted task does not vanish"),
                Err(error) => {
                    self.bear(&error).await;
                    continue;
                }
            };
            if on.task.relay.settled_at.is_some() {
                self.settled.fetch_add(1, Ordering::SeqCst);
                return;
            }
            let done = match on.task.status.is_terminal() {
                true => money.settle(&on, billed(&on.task, &[])).await,
                false => log.commit(&on, crate::kit::failed(on.task.clone())).await,
            };
            match done {
                Ok(Committed::Stored { seq }) => self.tell(seq, id),
                Ok(Committed::MovedOn) => {}
                Err(error) => self.bear(&error).await,
            }
        }
    }

    async fn bear(&self, error: &LogError) {
        match error {
            LogError::Unavailable { .. } => {}
            LogError::Unknown { .. } => {
                self.unknown.fetch_add(1, Ordering::SeqCst);
            }
            LogError::Full { .. } | LogError::Misconfigured { .. } | LogError::Corrupt { .. } => {
                panic!("{error}")
            }
        }
        Clock::system().sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until this many more commits were stored: progress, not time, separates the blows.
async fn progress(race: &Race, more: usize) {
    let before = race.commits.load(Ordering::SeqCst);
    let stored = || race.commits.load(Ordering::SeqCst) >= before + more;
    crate::broker::until("writers go on", Duration::from_secs(60), async || stored()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_killed_under_64_writers() {
    let mut node = Node::start();
    let race = Race::start(&node.endpoint(), 1).await;
    let writers = race.run();
    for _ in 0..4 {
        progress(&race, 250).await;
        node.kill();
        node.restart();
        node.wait_ready();
    }
    progress(&race, 250).await;
    race.finish(writers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_stepped_down_and_killed_under_64_writers() {
    let mut cluster = Cluster::start();
    let race = Race::start(&cluster.endpoint(), 3).await;
    let (observer, _) = open(&cluster.endpoint(), &config(3)).await;
    let writers = race.run();
    for _ in 0..12 {
        progress(&race, 60).await;
        step_down(&observer, topology::LOG).await;
    }
    for _ in 0..2 {
        progress(&race, 100).await;
        let mut leader = None;
        let within = Duration::from_secs(30);
        crate::broker::until("there is a leader", within, async || {
            leader = cluster.leader(&observer, topology::LOG).await;
            leader.is_some()
        })
        .await;
        let leader = leader.expect("the wait has ended");
        cluster.nodes[leader].kill();
        // The two that are left elect another and go on.
        progress(&race, 100).await;
        cluster.nodes[leader].restart();
        cluster.nodes[leader].wait_ready();
    }
    progress(&race, 100).await;
    race.finish(writers).await;
}

#[tokio::test]
async fn ended_tasks_can_be_ended_once_on_three_nodes() {
    let cluster = Cluster::start();
    let race = Race::start(&cluster.endpoint(), 3).await;
    let (log, money) = race.processes[0].clone();
    let on = end(&log, &race.task).await;
    let settles = race.processes.iter().map(|(_, money)| {
        let closing = billed(&on.task, &[video(1)]);
        money.settle(&on, closing)
    });
    let outcomes = futures::future::join_all(settles).await;
    let stored =
        |outcome: &&Result<Committed, LogError>| matches!(outcome, Ok(Committed::Stored { .. }));
    assert_eq!(outcomes.iter().filter(stored).count(), 1, "{outcomes:?}");
    let balance = money
        .balance(&key())
        .await
        .expect("a broker")
        .expect("an open day");
    let video = &balance[&kling_relay::model::amount::Unit::Video];
    assert_eq!((video.held, video.deducted), (0.into(), 1.into()));
    audit(&everything(&log).await);
}
