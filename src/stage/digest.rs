//! The ledger to pages of usage: what many entries add up to, so that a report over a million tasks
//! reads some hundred pages.
//!
//! A page sums up a stretch of one tenant's day, and pages follow one another without gap or
//! overlap: each says where it ends, and the next begins there or is refused by the broker. So
//! entries that arrive late, on whatever day, are simply behind the last page. Nothing depends on
//! a page being there; a report reads the entries themselves where none is.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::decide::usage::Cells;
use crate::edge::clock::Clock;
use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::usage::{Entries, TenantDay};
use crate::model::ledger::LedgerKey;
use crate::model::usage::UsagePage;
use crate::telemetry;

/// Entries that are worth a page at once.
const WORTH_A_PAGE: usize = 1_000;
/// Fewer wait so long for company.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);
/// Entries of one page.
const ENTRIES_MAX: u64 = 10_000;
/// Cells of one page in bytes of JSON: with one entry's more it stays below a broker's message.
const PAGE_MAX_BYTES: usize = 512 << 10;

/// Writes the pages.
#[derive(Clone, Debug)]
pub struct Digest {
    log: Log,
    clock: Clock,
    every: Duration,
}

impl Digest {
    /// Makes the stage; it looks for new entries after each `every`.
    #[must_use]
    pub fn new(log: Log, clock: Clock, every: Duration) -> Self {
        Self { log, clock, every }
    }

    /// Works until the stop.
    pub async fn run(&self, stop: CancellationToken) {
        let mut seen = HashMap::new();
        loop {
            let pass = self.pass(&mut seen);
            match stop.run_until_cancelled(pass).await {
                Some(Ok(0)) | None => {}
                Some(Ok(pages)) => tracing::debug!(pages, "usage was summed up"),
                Some(Err(error)) => tracing::warn!(
                    error = %telemetry::chain(&error),
                    "usage cannot be summed up now; reports read the ledger instead"
                ),
            }
            let pause = self.clock.sleep(self.every);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Sums up what is worth it on every tenant's days; returns how many pages that made.
    ///
    /// `seen` holds how many entries the days had that need no further look.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn pass(&self, seen: &mut HashMap<LedgerKey, u64>) -> Result<usize, LogError> {
        let mut pages = 0;
        let mut done = HashMap::new();
        for day in self.log.tenant_days(None).await? {
            if seen.get(&day.key) != Some(&day.entries) {
                let (made, all) = self.sum_up(&day).await?;
                pages += made;
                if !all {
                    continue;
                }
            }
            done.insert(day.key, day.entries);
        }
        // Days whose entries have all expired are no more.
        *seen = done;
        Ok(pages)
    }

    /// Sums up one day; returns how many pages that made, and whether all entries are on pages.
    async fn sum_up(&self, day: &TenantDay) -> Result<(usize, bool), LogError> {
        let last = self.log.last_usage_page(&day.key).await?;
        let (mut page_seq, mut after) = match last {
            Some((seq, page)) => (seq, page.to_seq),
            None => (0, 0),
        };
        let mut pages = 0;
        let mut page = Draft::new(day, after);
        loop {
            let found = self.log.ledger_after(&day.key, after).await?;
            if page.is_empty() && !self.is_worth_it(&found) {
                return Ok((pages, found.entries.is_empty()));
            }
            for (seq, entry) in &found.entries {
                after = *seq;
                if page.add(*seq, entry) {
                    let Some(stored) = self.store(&day.key, page, page_seq).await? else {
                        return Ok((pages, false));
                    };
                    (page_seq, pages) = (stored, pages + 1);
                    page = Draft::new(day, after);
                }
            }
            if !found.is_full() && !page.is_empty() {
                let stored = self.store(&day.key, page, page_seq).await?;
                return Ok((pages + usize::from(stored.is_some()), stored.is_some()));
            }
        }
    }

    fn is_worth_it(&self, found: &Entries) -> bool {
        let old = |stored: Timestamp| self.clock.now().duration_since(stored) >= PATIENCE;
        found.entries.len() >= WORTH_A_PAGE || found.oldest_stored_at.is_some_and(old)
    }

    /// Another instance that was first has written the same.
    async fn store(
        &self,
        key: &LedgerKey,
        page: Draft,
        expected_seq: u64,
    ) -> Result<Option<u64>, LogError> {
        let page = page.finish();
        self.log.store_usage_page(key, &page, expected_seq).await
    }
}

/// A page in the making.
struct Draft {
    page: UsagePage,
    cells: Cells,
}

impl Draft {
    fn new(day: &TenantDay, after_seq: u64) -> Self {
        Self {
            page: UsagePage {
                tenant: day.tenant.to_string(),
                day: day.key.day,
                after_seq,
                to_seq: after_seq,
                entries: 0,
                cells: Vec::new(),
            },
            cells: Cells::default(),
        }
    }

    fn is_empty(&self) -> bool {
        self.page.entries == 0
    }

    /// Adds an entry; returns whether the page is full.
    fn add(&mut self, seq: u64, entry: &crate::model::ledger::LedgerEntry) -> bool {
        self.cells.add(entry);
        self.page.to_seq = seq;
        self.page.entries += 1;
        self.page.entries >= ENTRIES_MAX || self.cells.size_bytes() >= PAGE_MAX_BYTES
    }

    fn finish(mut self) -> UsagePage {
        self.page.cells = self.cells.into_cells();
        self.page
    }
}
