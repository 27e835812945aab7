//! Lists by creation time: the account's tasks, and what was deducted for them, page by page.
//!
//! Each call is one page. The pace between pages is the caller's, who knows what else is asked.

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::query::unreadable;
use super::{Client, QueryReason, endpoint};
use crate::edge::kling::wire::{
    Entry, Page, RecordPage, RecordSource, Terms, parse_page, parse_records, parse_tasks,
};
use crate::model::amount::Unit;
use crate::model::reply::CallFailure;

/// Tasks or records that one page may hold.
///
/// Source: platform reference 2.4, 2.1, 7.5.
pub const PAGE_MAX: usize = 500;

/// A stretch of time in which Kling created tasks; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first moment.
    pub from: Timestamp,
    /// The last moment.
    pub to: Timestamp,
}

/// Which page is asked for.
#[derive(Clone, Copy, Debug)]
pub enum PageOf<'a> {
    /// The first one of a stretch.
    First(Span),
    /// The one that the last page's `next_cursor` names.
    After(&'a str),
}

impl PageOf<'_> {
    fn body(self, limit: usize) -> Value {
        let limit = limit.clamp(1, PAGE_MAX);
        match self {
            PageOf::First(span) => json!({
                "start_time": span.from.as_millisecond(),
                "end_time": span.to.as_millisecond(),
                "limit": limit,
            }),
            PageOf::After(cursor) => json!({ "cursor": cursor, "limit": limit }),
        }
    }
}

impl Client {
    /// Lists the account's tasks of both standards. Needs an API key.
    ///
    /// Source: platform reference 2.4 (at most 30 days back).
    ///
    /// # Errors
    /// [`CallFailure`] when the tries are used up or trying again is pointless.
    pub async fn tasks_page(
        &self,
        page: PageOf<'_>,
        limit: usize,
        reason: QueryReason,
    ) -> Result<Page, CallFailure> {
        let url = self.url("/tasks")?;
        let body = page.body(limit);
        let envelope = self
            .read_call(Method::POST, "POST /tasks", url, Some(&body), reason)
            .await?;
        let terms = Terms::new(Unit::Video, self.cash_unit());
        parse_page(envelope.data, terms).map_err(|problem| unreadable(&problem))
    }

    /// Lists the tasks that were created on a legacy endpoint, newest first; pages count from 1,
    /// and one that is not full is the last.
    ///
    /// Source: platform reference 2.1 (the order is not documented).
    ///
    /// # Errors
    /// As [`Client::tasks_page`].
    pub async fn legacy_page(
        &self,
        path: &str,
        page: u32,
        limit: usize,
        terms: Terms,
        reason: QueryReason,
    ) -> Result<Vec<Entry>, CallFailure> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut url = self.url(path)?;
        url.set_query(Some(&format!("pageNum={page}&pageSize={limit}")));
        let endpoint = format!("GET {}", endpoint(path));
        let envelope = self
            .read_call(Method::GET, &endpoint, url, None, reason)
            .await?;
        parse_tasks(envelope.data, |_, _| terms).map_err(|problem| unreadable(&problem))
    }

    /// Lists deduction records; the stretch is of the tasks' creation, not of the deduction.
    ///
    /// Source: platform reference 7.5.
    ///
    /// # Errors
    /// As [`Client::tasks_page`].
    pub async fn records_page(
        &self,
        source: RecordSource,
        page: PageOf<'_>,
        limit: usize,
        reason: QueryReason,
    ) -> Result<RecordPage, CallFailure> {
        let path = match source {
            RecordSource::Package => "/account/billing/package",
            RecordSource::Balance { .. } => "/account/billing/balance",
        };
        let url = self.url(path)?;
        let body = page.body(limit);
        let endpoint = format!("POST {path}");
        let envelope = self
            .read_call(Method::POST, &endpoint, url, Some(&body), reason)
            .await?;
        parse_records(&envelope.data, source).map_err(|problem| unreadable(&problem))
    }

    /// Returns the sources of deduction records that the account has.
    #[must_use]
    pub fn record_sources(&self) -> [RecordSource; 2] {
        let cash = self.cash_unit();
        [RecordSource::Package, RecordSource::Balance { cash }]
    }
}
