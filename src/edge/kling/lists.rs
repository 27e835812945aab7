//! Kling's lists read to their end, page by page, at most so many calls a second.
//!
//! A list that goes round in circles, or never ends, is an error: nobody may conclude from a part
//! of it what is not there.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::client::{Client, PAGE_MAX, PageOf, QueryReason, Span};
use super::wire::{Entry, RecordSource, Terms};
use crate::model::deduction::DeductionRecord;
use crate::model::reply::CallFailure;

/// Bounds the queries of a process.
pub type Limiter = Arc<DefaultDirectRateLimiter>;

/// Tasks with their outputs are larger than records, and an answer has a bound.
pub const TASKS_PAGE: usize = 100;
/// Pages of one list; beyond them a list does not end.
const PAGES_MAX: u32 = 20_000;

/// Makes the bound of a process's queries: no burst, so that it holds in every second.
#[must_use]
pub fn limiter(per_second: u32) -> Limiter {
    let per_second = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::per_second(per_second).allow_burst(NonZeroU32::MIN);
    Arc::new(RateLimiter::direct(quota))
}

/// Why a list was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A page was not given.
    #[error("Kling did not give its {what}")]
    Kling {
        /// Which list.
        what: String,
        /// Why.
        #[source]
        source: CallFailure,
    },
    /// It goes round in circles, or is longer than any account's.
    #[error("there is no end of Kling's {what}: page {page} is not the last")]
    Endless {
        /// Which list.
        what: String,
        /// Pages read.
        page: u32,
    },
}

/// Reads lists.
#[derive(Clone, Debug)]
pub struct Lists {
    /// Whose they are.
    pub kling: Arc<Client>,
    /// Its bound on queries.
    pub limiter: Limiter,
    /// Why they are read.
    pub reason: QueryReason,
    /// Tasks in one page.
    pub tasks_page: usize,
    /// Deduction records in one page.
    pub records_page: usize,
}

impl Lists {
    /// Reads with pages of the usual size.
    #[must_use]
    pub fn new(kling: Arc<Client>, limiter: Limiter, reason: QueryReason) -> Self {
        Self {
            kling,
            limiter,
            reason,
            tasks_page: TASKS_PAGE,
            records_page: PAGE_MAX,
        }
    }

    /// Lists the tasks of both standards that were created in a stretch. Needs an API key.
    #[must_use]
    pub fn tasks(&self, span: Span) -> TaskWalk<'_> {
        TaskWalk {
            legacy: None,
            place: Place::new(self, "list of tasks".to_owned(), span),
        }
    }

    /// Lists the tasks of one legacy path that were created in a stretch, newest first.
    #[must_use]
    pub fn legacy<'a>(&'a self, path: &'a str, terms: Terms, span: Span) -> TaskWalk<'a> {
        TaskWalk {
            legacy: Some((path, terms)),
            place: Place::new(self, format!("list {path}"), span),
        }
    }

    /// Lists the deduction records of tasks that were created in a stretch.
    #[must_use]
    pub fn records(&self, source: RecordSource, span: Span) -> RecordWalk<'_> {
        let what = match source {
            RecordSource::Package => "deduction records of packs",
            RecordSource::Balance { .. } => "deduction records of cash",
        };
        RecordWalk {
            source,
            place: Place::new(self, what.to_owned(), span),
        }
    }
}

/// A walk through a list of tasks.
#[derive(Debug)]
pub struct TaskWalk<'a> {
    legacy: Option<(&'a str, Terms)>,
    place: Place<'a>,
}

impl TaskWalk<'_> {
    /// Reads the next page; `None` after the last one.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, ListError> {
        if !self.place.turn().await? {
            return Ok(None);
        }
        let (lists, limit) = (self.place.lists, self.place.lists.tasks_page);
        match self.legacy {
            None => {
                let page = lists
                    .kling
                    .tasks_page(self.place.page(), limit, lists.reason);
                let page = page.await.map_err(|source| self.place.not_given(source))?;
                self.place.go_on(page.next_cursor)?;
                Ok(Some(page.tasks))
            }
            Some((path, terms)) => {
                let n = self.place.read;
                let page = lists.kling.legacy_page(path, n, limit, terms, lists.reason);
                let entries = page.await.map_err(|source| self.place.not_given(source))?;
                Ok(Some(self.within(entries, limit)))
            }
        }
    }

    /// Leaves what was created in the stretch. A legacy page that is not full is the last, and one
    /// that is all older than the stretch, since the newest come first.
    fn within(&mut self, entries: Vec<Entry>, limit: usize) -> Vec<Entry> {
        let span = self.place.span;
        let created = |entry: &Entry| entry.observation.as_ref().ok()?.created_at;
        let before = |entry: &Entry| created(entry).is_some_and(|at| at < span.from);
        if entries.len() < limit || entries.iter().all(before) {
            self.place.next = Next::End;
        }
        let within =
            |entry: &Entry| created(entry).is_none_or(|at| span.from <= at && at <= span.to);
        entries.into_iter().filter(within).collect()
    }
}

/// A walk through a list of deduction records.
#[derive(Debug)]
pub struct RecordWalk<'a> {
    source: RecordSource,
    place: Place<'a>,
}

impl RecordWalk<'_> {
    /// Reads the next page; `None` after the last one.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn next(&mut self) -> Result<Option<Vec<DeductionRecord>>, ListError> {
        if !self.place.turn().await? {
            return Ok(None);
        }
        let (lists, of) = (self.place.lists, self.place.page());
        let limit = lists.records_page;
        let page = lists
            .kling
            .records_page(self.source, of, limit, lists.reason);
        let page = page.await.map_err(|source| self.place.not_given(source))?;
        self.place.go_on(page.next_cursor)?;
        Ok(Some(page.records))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    First,
    After(String),
    End,
}

/// Where a walk is.
#[derive(Debug)]
struct Place<'a> {
    lists: &'a Lists,
    what: String,
    span: Span,
    /// Pages asked for so far.
    read: u32,
    next: Next,
}

impl<'a> Place<'a> {
    fn new(lists: &'a Lists, what: String, span: Span) -> Self {
        Self {
            lists,
            what,
            span,
            read: 0,
            next: Next::First,
        }
    }

    /// Waits for the turn of the next page; false at the end of the list.
    async fn turn(&mut self) -> Result<bool, ListError> {
        if self.next == Next::End {
            return Ok(false);
        }
        if self.read == PAGES_MAX {
            return Err(self.endless());
        }
        self.read += 1;
        self.lists.limiter.until_ready().await;
        Ok(true)
    }

    fn page(&self) -> PageOf<'_> {
        match &self.next {
            Next::First | Next::End => PageOf::First(self.span),
            Next::After(cursor) => PageOf::After(cursor),
        }
    }

    fn go_on(&mut self, cursor: Option<String>) -> Result<(), ListError> {
        let next = cursor.map_or(Next::End, Next::After);
        if next != Next::End && next == self.next {
            return Err(self.endless());
        }
        self.next = next;
        Ok(())
    }

    fn not_given(&self, source: CallFailure) -> ListError {
        let what = self.what.clone();
        ListError::Kling { what, source }
    }

    fn endless(&self) -> ListError {
        let (what, page) = (self.what.clone(), self.read);
        ListError::Endless { what, page }
    }
}
