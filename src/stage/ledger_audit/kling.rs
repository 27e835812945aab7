//! Kling's side of the audit: its lists of tasks and of deduction records, page by page.

use std::collections::BTreeSet;

use crate::decide::products::ProductRow;
use crate::decide::reconcile::{DayBooks, SeenTask, Whose};
use crate::edge::kling::client::Span;
use crate::edge::kling::wire::{Entry, Terms};
use crate::model::ids::{Day, KlingTaskId};
use crate::model::observation::Observation;
use crate::model::task::Generation;

use super::{AuditError, LedgerAudit};

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
        if !self.lists.kling.serves(Generation::New) {
            return self.legacy_tasks(day, whole, main, books).await;
        }
        let mut walk = self.lists.tasks(whole);
        while let Some(entries) = walk.next().await? {
            self.show(day, main, entries, books).await?;
        }
        Ok(())
    }

    /// The same from the legacy lists: of the products that the day's ledger knows.
    async fn legacy_tasks(
        &self,
        day: Day,
        whole: Span,
        main: Span,
        books: &mut DayBooks,
    ) -> Result<(), AuditError> {
        let paths: BTreeSet<_> = books
            .products()
            .map(|product| {
                let row = ProductRow::of(product);
                (row.legacy.path, row.pack.unit())
            })
            .collect();
        for (path, pack) in paths {
            let terms = Terms::new(pack, self.lists.kling.cash_unit());
            let mut walk = self.lists.legacy(path, terms, whole);
            while let Some(entries) = walk.next().await? {
                self.show(day, main, entries, books).await?;
            }
        }
        Ok(())
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
        for source in self.lists.kling.record_sources() {
            let mut walk = self.lists.records(source, span);
            while let Some(records) = walk.next().await? {
                for record in &records {
                    books.record(record, with_strangers);
                }
            }
        }
        Ok(())
    }
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
