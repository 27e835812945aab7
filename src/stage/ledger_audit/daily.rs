//! The audit of every closed day, once its records have settled.

use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use tokio_util::sync::CancellationToken;

use super::{AuditError, AuditRules, LedgerAudit};
use crate::decide::budget::day_of;
use crate::decide::reconcile::{Class, DayReport, Finding};
use crate::model::ids::Day;
use crate::telemetry;

const DAY: Duration = Duration::from_secs(86_400);
/// Between two looks at the calendar.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Before an audit that failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(3_600);
/// Days audited at once: Kling lists no task that is older.
const DAYS_MAX: i32 = 30;
/// Differences that are logged one by one.
const LOGGED_MAX: usize = 20;

impl LedgerAudit {
    /// Audits each day once it has ended and its records have settled, until stopped; `every` says
    /// how many days are taken together. The first round takes as many days as came before it.
    pub async fn keep(&self, every: Duration, stop: CancellationToken) {
        let together = i32::try_from(every.as_secs().div_ceil(DAY.as_secs())).unwrap_or(DAYS_MAX);
        let together = together.clamp(1, DAYS_MAX);
        let mut audited = None;
        loop {
            let due = self.rules.last_settled(self.clock.now());
            let first = match audited {
                None => back(due, together - 1),
                Some(done) => next(done).max(back(due, DAYS_MAX - 1)),
            };
            let mut wait = LOOK_EVERY;
            if back(due, together - 1) >= first {
                match stop.run_until_cancelled(self.round(first, due)).await {
                    None => return,
                    Some(Ok(())) => audited = Some(due),
                    Some(Err(error)) => {
                        tracing::warn!(error = %telemetry::chain(&error),
                            "our ledger could not be compared with Kling's records");
                        wait = AFTER_FAILURE;
                    }
                }
            }
            if stop
                .run_until_cancelled(self.clock.sleep(wait))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    async fn round(&self, first: Day, last: Day) -> Result<(), AuditError> {
        let mut day = first;
        while day <= last {
            let books = self.ledger(day, None).await?;
            // Without money of ours there is nothing to compare, and Kling is left alone.
            if !books.is_empty() {
                tell(day, &self.compare(day, books).await?);
            }
            day = next(day);
        }
        Ok(())
    }
}

impl AuditRules {
    /// Returns the last budget day that has ended so long ago that its records have settled.
    #[must_use]
    pub fn last_settled(&self, now: Timestamp) -> Day {
        let then = now.saturating_sub(self.lag).unwrap_or(Timestamp::MIN);
        let open = day_of(then, &self.time_zone, self.day_starts);
        back(open, 1)
    }
}

fn tell(day: Day, report: &DayReport) {
    for class in Class::ALL.into_iter().filter(|class| class.is_difference()) {
        let count = report.counts.get(&class).copied().unwrap_or(0);
        // A gauge is a float by definition; a count of tasks fits.
        metrics::gauge!(telemetry::RECONCILE_DIFFERENCES, "class" => class.as_str())
            .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
    let count = |class| report.counts.get(&class).copied().unwrap_or(0);
    let (matches, differences) = (count(Class::Match), report.differences());
    if differences == 0 {
        tracing::info!(%day, matches, "our ledger agrees with Kling's records");
        return;
    }
    tracing::error!(%day, matches, differences,
        "our ledger differs from Kling's records: run kling-relay reconcile");
    let differ = |finding: &&Finding| finding.class.is_difference();
    for finding in report.findings.iter().filter(differ).take(LOGGED_MAX) {
        tracing::warn!(%day,
            task.id = finding.task_id.as_ref().map(tracing::field::display),
            kling_task_id = finding.kling_task_id.as_ref().map(tracing::field::display),
            class = finding.class.as_str(), "differs");
    }
}

fn back(day: Day, days: i32) -> Day {
    Day(day.0.saturating_sub(days.days()))
}

fn next(day: Day) -> Day {
    Day(day.0.saturating_add(1.day()))
}
