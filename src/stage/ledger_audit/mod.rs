//! The audit: one budget day of our ledger against what Kling says it deducted.
//!
//! It reads and compares, and never posts: that is an operator's decision. Operators run it on
//! demand, the reconciler once a day.

mod daily;
mod kling;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::decide::budget::{ends_at, starts_at};
use crate::decide::reconcile::{DayBooks, DayReport, Patience};
use crate::edge::clock::Clock;
use crate::edge::kling::client::{Client, PAGE_MAX, QueryReason, Span};
use crate::edge::kling::lists::{Limiter, ListError, Lists, TASKS_PAGE};
use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::read::ReadFrom;
use crate::edge::nats::topology;
use crate::model::ids::{Day, TaskId, Tenant};
use crate::model::ledger::{LedgerKey, LedgerOwner};

/// A task may be held so long before its day begins: the longest `not_before`, and a day.
const HELD_AHEAD: SignedDuration = SignedDuration::from_hours(8 * 24);
/// How far Kling's clock and ours may be apart, and how late a task of the day is usually made.
const MARGIN: SignedDuration = SignedDuration::from_hours(1);
/// Entries read at once.
const LEDGER_PAGE: usize = 1_000;
/// Tasks loaded at once.
const LOADS: usize = 16;

/// What an audit goes by.
#[derive(Clone, Debug)]
pub struct AuditRules {
    /// Of the budget day.
    pub time_zone: TimeZone,
    /// When the budget day starts.
    pub day_starts: Time,
    /// How long Kling's records may stay behind.
    pub lag: SignedDuration,
    /// Tasks in one page of a list.
    pub tasks_page: usize,
    /// Deduction records in one page.
    pub records_page: usize,
}

impl AuditRules {
    /// Makes rules with pages of the usual size.
    #[must_use]
    pub fn new(time_zone: TimeZone, day_starts: Time, lag: Duration) -> Self {
        Self {
            time_zone,
            day_starts,
            lag: SignedDuration::try_from(lag).unwrap_or(SignedDuration::MAX),
            tasks_page: TASKS_PAGE,
            records_page: PAGE_MAX,
        }
    }
}

/// Why a day could not be compared. Nobody may conclude that it is right.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Our own side.
    #[error("our ledger of {day} cannot be read")]
    Log {
        /// The day.
        day: Day,
        /// Why.
        #[source]
        source: LogError,
    },
    /// Kling's side.
    #[error(transparent)]
    List(#[from] ListError),
    /// A day beyond the calendar.
    #[error("{0} is no day that can be compared")]
    NoSuchDay(Day),
}

/// Compares days.
#[derive(Clone, Debug)]
pub struct LedgerAudit {
    log: Log,
    lists: Lists,
    clock: Clock,
    rules: AuditRules,
}

impl LedgerAudit {
    /// Makes the audit of an account.
    #[must_use]
    pub fn new(
        log: Log,
        kling: Arc<Client>,
        clock: Clock,
        limiter: Limiter,
        rules: AuditRules,
    ) -> Self {
        let mut lists = Lists::new(kling, limiter, QueryReason::Reconcile);
        (lists.tasks_page, lists.records_page) = (rules.tasks_page, rules.records_page);
        Self {
            log,
            lists,
            clock,
            rules,
        }
    }

    /// Compares one day, of every tenant or of one.
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn day(&self, day: Day, tenant: Option<&Tenant>) -> Result<DayReport, AuditError> {
        let books = self.ledger(day, tenant).await?;
        self.compare(day, books).await
    }

    /// Opens the books of a day from our ledger: this alone asks Kling nothing.
    async fn ledger(&self, day: Day, tenant: Option<&Tenant>) -> Result<DayBooks, AuditError> {
        let of_log = |source| AuditError::Log { day, source };
        let (starts, _) = self.bounds(day)?;
        let mut books = DayBooks::new(day, tenant.cloned());
        let filter = match tenant {
            Some(tenant) => topology::ledger_subject(&LedgerKey {
                owner: LedgerOwner::Tenant(tenant.clone()),
                day,
            }),
            None => topology::ledgers_of(day),
        };
        let mut from = ReadFrom::Time(starts.saturating_sub(HELD_AHEAD).unwrap_or(starts));
        loop {
            let page = self.log.read(&filter, from, LEDGER_PAGE).await;
            let page = page.map_err(of_log)?;
            let Some(last) = page.last() else {
                return Ok(books);
            };
            from = ReadFrom::Sequence(last.seq + 1);
            for recorded in &page {
                let Some(key) = recorded.ledger_key() else {
                    continue;
                };
                if key.owner != LedgerOwner::Account {
                    books.enter(&recorded.ledger_entry().map_err(of_log)?);
                }
            }
        }
    }

    async fn compare(&self, day: Day, mut books: DayBooks) -> Result<DayReport, AuditError> {
        let (starts, ends) = self.bounds(day)?;
        let open = books.open();
        for (task_id, loaded) in self.load(day, open.clone()).await? {
            if let Some(kling_task_id) = loaded.and_then(|loaded| loaded.task.kling_task_id) {
                books.name(&task_id, &kling_task_id);
            }
        }
        let now = self.clock.now();
        let main = Span {
            from: starts,
            to: just_before(ends).min(now),
        };
        if main.from > main.to {
            return Ok(DayReport::default());
        }
        // A task is made before its settlement is written, and an open one may be made any time.
        let usual = ends.saturating_add(MARGIN).unwrap_or(ends);
        let latest = match (books.last_entry_at(), open.is_empty()) {
            (Some(at), true) => at.max(usual).min(now),
            (None, true) => usual.min(now),
            (_, false) => now,
        };
        let head = Span {
            from: starts.saturating_sub(MARGIN).unwrap_or(starts),
            to: just_before(starts),
        };
        let tail = Span {
            from: ends,
            to: latest,
        };
        let whole = Span {
            from: head.from,
            to: latest.max(main.to),
        };
        self.tasks(day, whole, main, &mut books).await?;
        self.records(main, true, &mut books).await?;
        for span in [head, tail] {
            if span.from <= span.to && !books.is_empty() {
                self.records(span, false, &mut books).await?;
            }
        }
        Ok(books.close(Patience {
            now: self.clock.now(),
            lag: self.rules.lag,
        }))
    }

    /// Loads tasks from the log.
    async fn load(
        &self,
        day: Day,
        tasks: Vec<TaskId>,
    ) -> Result<Vec<(TaskId, Option<crate::edge::nats::log::Loaded>)>, AuditError> {
        let loads = futures::stream::iter(tasks).map(|task_id| async move {
            let loaded = self.log.load(&task_id).await;
            loaded.map(|loaded| (task_id, loaded))
        });
        let loaded: Vec<_> = loads.buffer_unordered(LOADS).collect().await;
        let loaded: Result<Vec<_>, _> = loaded.into_iter().collect();
        loaded.map_err(|source| AuditError::Log { day, source })
    }

    /// Returns when a day begins and when the next one does.
    fn bounds(&self, day: Day) -> Result<(Timestamp, Timestamp), AuditError> {
        let rules = &self.rules;
        let starts = starts_at(day, &rules.time_zone, rules.day_starts);
        let ends = ends_at(day, &rules.time_zone, rules.day_starts);
        starts.zip(ends).ok_or(AuditError::NoSuchDay(day))
    }
}

/// Kling counts whole milliseconds.
fn just_before(time: Timestamp) -> Timestamp {
    let millisecond = SignedDuration::from_millis(1);
    time.saturating_sub(millisecond).unwrap_or(time)
}
