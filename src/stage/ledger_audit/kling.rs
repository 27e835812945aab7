//! Kling's side of the audit: its lists of tasks and of deduction records, page by page.

use std::collections::BTreeSet;

use crate::decide::products::ProductRow;
use crate::decide::reconcile::{DayBooks, SeenTask, Whose};
use crate::edge::kling::client::{PageOf, QueryReason, Span};
use crate::edge::kling::wire::{Entry, RecordSource, Terms};
use crate::model::ids::{Day, KlingTaskId};
use crate::model::observation::Observation;
use crate::model::reply::CallFailure;
use crate::model::task::Generation;

use super::{AuditError, LedgerAudit, PAGES_MAX};

const REASON: QueryReason = QueryReason::Reconcile;

impl LedgerAudit {
    /// Enters the tasks that Kling lists in `whole`. Those created in `main` that have an id of
    /// our form and are not in the books are looked for in the log.
    pub(super) async fn tasks(
        &self,
        day: Day,
        whole: Span,
        main: Span,
        books: &mut DayBooks,
    ) -> Result<(), AuditError> {
        if !self.kling.serves(Generation::New) {
            return self.legacy_tasks(day, whole, main, books).await;
        }
        let what = "list of tasks";
        let mut cursor = None;
        for page in 1..=PAGES_MAX {
            let of = page_of(cursor.as_deref(), whole);
            self.limiter.until_ready().await;
            let answer = self
                .kling
                .tasks_page(of, self.rules.tasks_page, REASON)
                .await;
            let answer = answer.map_err(|source| of_kling(what, source))?;
            self.show(day, main, answer.tasks, books).await?;
            if answer.next_cursor.is_none() {
                return Ok(());
            }
            if answer.next_cursor == cursor {
                return Err(endless(what, page));
            }
            cursor = answer.next_cursor;
        }
        Err(endless(what, PAGES_MAX))
    }

    /// The same from the legacy lists: of the products that the day's ledger knows, newest first.
    async fn legacy_tasks(
        &self,
        day: Day,
        whole: Span,
        main: Span,
        books: &mut DayBooks,
    ) -> Result<(), AuditError> {
        let lists: BTreeSet<_> = books
            .products()
            .map(|product| {
                let row = ProductRow::of(product);
                (row.legacy.path, row.pack.unit())
            })
            .collect();
        for (path, pack) in lists {
            let terms = Terms::new(pack, self.kling.cash_unit());
            self.legacy_list(day, path, terms, (whole, main), books)
                .await?;
        }
        Ok(())
    }

    async fn legacy_list(
        &self,
        day: Day,
        path: &str,
        terms: Terms,
        (whole, main): (Span, Span),
        books: &mut DayBooks,
    ) -> Result<(), AuditError> {
        let limit = self.rules.tasks_page;
        for page in 1..=PAGES_MAX {
            self.limiter.until_ready().await;
            let answer = self.kling.legacy_page(path, page, limit, terms, REASON);
            let entries = answer.await.map_err(|source| of_kling(path, source))?;
            let created = |entry: &Entry| entry.observation.as_ref().ok()?.created_at;
            let before = |entry: &Entry| created(entry).is_some_and(|at| at < whole.from);
            let is_last = entries.len() < limit || entries.iter().all(before);
            let within =
                |entry: &Entry| created(entry).is_none_or(|at| whole.from <= at && at <= whole.to);
            let entries = entries.into_iter().filter(within).collect();
            self.show(day, main, entries, books).await?;
            if is_last {
                return Ok(());
            }
        }
        Err(endless(path, PAGES_MAX))
    }

    async fn show(
        &self,
        day: Day,
        main: Span,
        entries: Vec<Entry>,
        books: &mut DayBooks,
    ) -> Result<(), AuditError> {
        let mut unknown = Vec::new();
        for entry in entries {
            let created_at = entry
                .observation
                .as_ref()
                .ok()
                .and_then(|seen| seen.created_at);
            let Some(seen) = seen(entry) else {
                continue;
            };
            let on_the_day = created_at.is_none_or(|at| main.from <= at && at <= main.to);
            match books.show(&seen) {
                Whose::AskLog(task_id) if on_the_day => unknown.push((task_id, seen)),
                Whose::Entered | Whose::Others | Whose::AskLog(_) => {}
            }
        }
        let ids = unknown.iter().map(|(task_id, _)| task_id.clone()).collect();
        let loaded = self.load(day, ids).await?;
        for (task_id, seen) in unknown {
            let known = loaded.iter().find(|(id, _)| *id == task_id);
            match known.and_then(|(_, loaded)| loaded.as_ref()) {
                // It was held on another day, and is compared there.
                Some(loaded) if loaded.task.relay.day != day => books.elsewhere(seen.kling_task_id),
                Some(_) | None => books.adopt(&task_id, &seen),
            }
        }
        Ok(())
    }

    /// Enters the deduction records of tasks created in a stretch, of packs and of cash.
    pub(super) async fn records(
        &self,
        span: Span,
        with_strangers: bool,
        books: &mut DayBooks,
    ) -> Result<(), AuditError> {
        for source in self.kling.record_sources() {
            let what = match source {
                RecordSource::Package => "deduction records of packs",
                RecordSource::Balance { .. } => "deduction records of cash",
            };
            let limit = self.rules.records_page;
            let mut cursor = None;
            let mut page = 0;
            loop {
                page += 1;
                let of = page_of(cursor.as_deref(), span);
                self.limiter.until_ready().await;
                let answer = self.kling.records_page(source, of, limit, REASON).await;
                let answer = answer.map_err(|source| of_kling(what, source))?;
                for record in &answer.records {
                    books.record(record, with_strangers);
                }
                if answer.next_cursor.is_none() {
                    break;
                }
                if answer.next_cursor == cursor || page == PAGES_MAX {
                    return Err(endless(what, page));
                }
                cursor = answer.next_cursor;
            }
        }
        Ok(())
    }
}

fn page_of(cursor: Option<&str>, span: Span) -> PageOf<'_> {
    cursor.map_or(PageOf::First(span), PageOf::After)
}

fn of_kling(what: &str, source: CallFailure) -> AuditError {
    let what = what.to_owned();
    AuditError::Kling { what, source }
}

fn endless(what: &str, page: u32) -> AuditError {
    let what = what.to_owned();
    AuditError::Endless { what, page }
}

/// Reads what the comparison needs of a listed task; one without a readable id is nobody's.
fn seen(entry: Entry) -> Option<SeenTask> {
    let kling_task_id = KlingTaskId::parse(entry.kling_id.as_deref()?).ok()?;
    let observation = entry.observation.ok();
    let ended = |seen: &Observation| seen.status.is_terminal().then_some(seen.updated_at)?;
    Some(SeenTask {
        kling_task_id,
        external_id: entry.external_id,
        ended_at: observation.as_ref().and_then(ended),
        billing: observation.and_then(|seen| seen.billing),
    })
}
