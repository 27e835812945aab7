//! The writer's loop: fold what waits, commit, answer; on a conflict look again and fold again.
//!
//! One batch is in flight at a time. A batch is never sent again as it was: every try has its own
//! id and fresh expectations, so a try that surfaces late is refused.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fold::{Fold, Head, Heads, NotFolded};
use super::job::Job;
use super::{AcceptError, MoneyRules, adjust, message, repair};
use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::topology;
use crate::edge::nats::wire::{self, Ack, Refusal};
use crate::model::ledger::LedgerKey;

mod check;
mod figures;
mod refusal;
mod stored;
mod turns;

/// Ledgers remembered at once; past it all are forgotten and read again when needed.
const HEADS_MAX: usize = 4_096;

/// Before a log that does not answer after a reconnect is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(super) struct Writer {
    log: Log,
    rules: MoneyRules,
    jobs: OwnedMutexGuard<mpsc::Receiver<Job>>,
    waiting: VecDeque<Job>,
    heads: Heads,
    /// The broker connections seen: after another one the server may have restarted.
    connections: u64,
    figures: figures::Figures,
    turns: turns::Turns,
}

/// Which tasks of a fold must be looked at before it is folded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    None,
    All,
}

/// What is to be done about a fold after a try.
enum Next {
    Done,
    /// Fold again at once: nothing was tried.
    Again,
    /// Fold again after a moment.
    Retry,
    /// Fold again soon: another writer was first.
    Lost,
}

/// The wishes of one fold, and what is known of the tries so far.
struct Attempt {
    jobs: Vec<Job>,
    check: Check,
    /// Whether a try ended without an answer: then everything must be looked at from now on.
    uncertain: bool,
    tries: u32,
}

impl Writer {
    pub(super) fn new(
        log: Log,
        rules: MoneyRules,
        jobs: OwnedMutexGuard<mpsc::Receiver<Job>>,
        connections: u64,
    ) -> Self {
        Self {
            log,
            rules,
            jobs,
            waiting: VecDeque::new(),
            heads: Heads::new(),
            connections,
            figures: figures::Figures::default(),
            turns: turns::Turns::default(),
        }
    }

    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let broker = self.log.inner.broker.clone();
        let mut closing = false;
        loop {
            if self.waiting.is_empty() {
                tokio::select! {
                    job = self.jobs.recv() => match job {
                        Some(job) => self.waiting.push_back(job),
                        None => return,
                    },
                    // A batch that the server's end has torn is repaired at once: the next wish
                    // may be hours away, and the repair looks at the newest messages only.
                    () = broker.connected_since(self.connections) => {
                        self.look_at_new_connection().await;
                        continue;
                    }
                    () = cancel.cancelled(), if !closing => {
                        // What waits already is still answered.
                        closing = true;
                        self.jobs.close();
                        continue;
                    }
                }
            }
            while self.waiting.len() < self.rules.bounds.queue_max {
                match self.jobs.try_recv() {
                    Ok(job) => self.waiting.push_back(job),
                    Err(_) => break,
                }
            }
            let jobs = self.take();
            Box::pin(self.work_off(jobs)).await;
            if let Some(wait) = self.turns.give_way() {
                // What is remembered is old by then.
                self.heads.clear();
                self.log.inner.clock.sleep(wait).await;
            }
        }
    }

    async fn look_at_new_connection(&mut self) {
        if let Err(error) = self.after_reconnect().await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the log cannot be looked over yet"
            );
            self.log.inner.clock.sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes what fits into one commit, in order; a big wish goes alone.
    fn take(&mut self) -> Vec<Job> {
        let bounds = &self.rules.bounds;
        let with_account = self.rules.account_limits.is_some();
        let mut jobs: Vec<Job> = Vec::new();
        let (mut tasks, mut messages, mut bytes) = (0, 0, 0);
        while let Some(job) = self.waiting.front() {
            tasks += job.task_count();
            messages += job.messages(with_account);
            bytes += job.bytes;
            let fits = tasks <= bounds.fold_tasks_max
                && messages <= bounds.fold_messages_max
                && bytes <= bounds.fold_bytes_max;
            if !jobs.is_empty() && !fits {
                break;
            }
            jobs.extend(self.waiting.pop_front());
        }
        jobs
    }

    async fn work_off(&mut self, jobs: Vec<Job>) {
        let mut attempt = Attempt {
            jobs,
            check: Check::None,
            uncertain: false,
            tries: 0,
        };
        loop {
            attempt.drop_over();
            if attempt.jobs.is_empty() {
                return;
            }
            match self.attempt(&mut attempt).await {
                Ok(Next::Done) => return,
                Ok(Next::Again) => {}
                Ok(Next::Retry) => self.pause(&mut attempt).await,
                Ok(Next::Lost) => {
                    let wait = self.turns.after_loss(attempt.tries);
                    attempt.tries += 1;
                    self.log.inner.clock.sleep(wait).await;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        waiting = attempt.jobs.len(),
                        "the money writer cannot read the log; it tries again"
                    );
                    self.heads.clear();
                    self.pause(&mut attempt).await;
                }
            }
        }
    }

    /// Waits a moment that grows with the tries: the broker is away or busy.
    async fn pause(&self, attempt: &mut Attempt) {
        attempt.tries += 1;
        let cap = 10_u64 << attempt.tries.min(5);
        let wait = Duration::from_millis(rand::random_range(5..=cap.max(20)));
        self.log.inner.clock.sleep(wait).await;
    }

    async fn attempt(&mut self, attempt: &mut Attempt) -> Result<Next, LogError> {
        self.after_reconnect().await?;
        let fresh = self.read_heads(attempt).await?;
        // Looked at only now: an earlier try that surfaces after this look makes the heads old, and
        // this try is refused. Looked at before the heads were read, it could surface in between,
        // stand among them, and be written again.
        if attempt.check != Check::None || attempt.jobs.iter().any(Job::has_tries) {
            attempt.jobs = check::check(&self.log, &mut attempt.jobs).await?;
            attempt.check = Check::None;
        }
        adjust::prepare(&self.log, &mut attempt.jobs, &self.heads).await?;
        let batch = wire::fresh_id();
        let mut fold = Fold::new(&self.rules, &self.heads, self.log.inner.clock.now());
        let mut folded = Vec::new();
        let mut refused = Vec::new();
        for job in std::mem::take(&mut attempt.jobs) {
            match fold.add(&job) {
                Ok(()) => folded.push(job),
                Err(NotFolded::Later) => self.waiting.push_front(job),
                Err(NotFolded::Refused(error)) => refused.push((job, error)),
            }
        }
        if self.are_stale(&refused, &fresh) {
            drop(fold);
            let refused = refused.into_iter().map(|(job, _)| job);
            attempt.jobs = folded.into_iter().chain(refused).collect();
            self.forget(&attempt.jobs);
            return Ok(Next::Again);
        }
        self.refuse(refused).await;
        if folded.is_empty() {
            return Ok(Next::Done);
        }
        if fold.message_count() > topology::BATCH_MESSAGES_MAX {
            drop(fold);
            attempt.jobs = self.halve(folded);
            return Ok(Next::Again);
        }
        for job in &mut folded {
            job.note_try(&batch, &self.heads);
        }
        let messages = message::messages(&self.log, &mut fold, &self.heads, &batch);
        let count = messages.len() as u64;
        let started = std::time::Instant::now();
        let stored = self.publish(&batch, messages).await;
        let took = started.elapsed();
        match stored {
            Ok(ack) => {
                let heads = stored::new_heads(&fold, ack.seq, count);
                let seqs = stored::event_seqs(&fold, ack.seq);
                self.figures.count(&fold);
                drop(fold);
                self.heads.extend(heads);
                self.turns.took(took);
                stored::answer(folded, seqs);
                Ok(Next::Done)
            }
            Err(refusal) => {
                drop(fold);
                attempt.jobs = folded;
                self.turns.took(took);
                self.after_refusal(attempt, refusal).await
            }
        }
    }

    /// Refuses acceptances, but for those whose own earlier try is what fills the budget.
    async fn refuse(&self, refused: Vec<(Job, AcceptError)>) {
        for (job, error) in refused {
            if let Some(job) = check::unless_stored(&self.log, job).await {
                job.refuse_accept(error);
            }
        }
    }

    async fn publish(&self, batch: &str, messages: Vec<wire::Outgoing>) -> Result<Ack, Refusal> {
        let (inner, started) = (&self.log.inner, std::time::Instant::now());
        let stored =
            wire::publish_batch(&inner.broker, batch, messages, inner.commit_timeout).await;
        self.log.measure("money", started, &stored);
        stored
    }

    /// A restarted server may have torn the last batch, and what is remembered may be gone.
    async fn after_reconnect(&mut self) -> Result<(), LogError> {
        let connections = self.log.inner.broker.connections();
        if connections != self.connections {
            self.heads.clear();
            repair::repair(&self.log).await?;
            self.connections = connections;
        }
        Ok(())
    }

    /// Reads the ledgers that are not remembered; returns those that were read just now. Wishes
    /// on one that cannot be read are answered: tried again, they would hold up everybody's money.
    async fn read_heads(&mut self, attempt: &mut Attempt) -> Result<HashSet<LedgerKey>, LogError> {
        if self.heads.len() > HEADS_MAX {
            self.heads.clear();
        }
        let with_account = self.rules.account_limits.is_some();
        let (mut fresh, mut unreadable) = (HashSet::new(), BTreeMap::new());
        let of_job = |job: &Job| job.ledgers(with_account);
        for key in attempt.jobs.iter().flat_map(of_job) {
            if self.heads.contains_key(&key) || unreadable.contains_key(&key) {
                continue;
            }
            let head = match self.log.ledger(&key).await {
                Ok(Some((balance, seq))) => Head { seq, balance },
                Ok(None) => Head::default(),
                Err(error) if error.is_lasting() => {
                    unreadable.insert(key, error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.heads.insert(key.clone(), head);
            fresh.insert(key);
        }
        for job in std::mem::take(&mut attempt.jobs) {
            let unreadable = of_job(&job).into_iter().find_map(|key| {
                let error = unreadable.get(&key)?;
                Some((key, error))
            });
            match unreadable {
                Some((key, error)) => job.refuse_unreadable(&key, error),
                None => attempt.jobs.push(job),
            }
        }
        Ok(fresh)
    }

    /// Tells whether a refusal rests on a remembered balance: another process may have given
    /// money back since, so it is read before anybody is refused.
    fn are_stale(&self, refused: &[(Job, AcceptError)], fresh: &HashSet<LedgerKey>) -> bool {
        let with_account = self.rules.account_limits.is_some();
        refused
            .iter()
            .flat_map(|(job, _)| job.ledgers(with_account))
            .any(|key| !fresh.contains(&key))
    }

    fn forget(&mut self, jobs: &[Job]) {
        let with_account = self.rules.account_limits.is_some();
        for key in jobs.iter().flat_map(|job| job.ledgers(with_account)) {
            self.heads.remove(&key);
        }
    }

    /// Gives half of a fold that is too big back to the queue.
    fn halve(&mut self, mut jobs: Vec<Job>) -> Vec<Job> {
        if jobs.len() == 1 {
            let reason = "more money entries and alerts than one commit carries";
            for job in jobs {
                job.refuse_accept(AcceptError::TooLarge(reason));
            }
            return Vec::new();
        }
        for job in jobs.split_off(jobs.len() / 2).into_iter().rev() {
            self.waiting.push_front(job);
        }
        jobs
    }
}

impl Attempt {
    fn drop_over(&mut self) {
        let now = Instant::now();
        let (over, open) = std::mem::take(&mut self.jobs)
            .into_iter()
            .partition(|job| job.is_over(now));
        self.jobs = open;
        let over: Vec<Job> = over;
        over.into_iter().for_each(Job::give_up);
    }
}
