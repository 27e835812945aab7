//! Which ledgers there are, what their entries say after a place, and the pages of usage that sum
//! up what stands before it. What entries come to is `decide::usage`'s.

use serde_json::json;

use super::log::{Log, LogError, ReadFrom};
use super::wire::{self, Refusal};
use super::{record, topology};
use crate::model::ids::Tenant;
use crate::model::ledger::{LedgerEntry, LedgerKey, LedgerOwner};
use crate::model::usage::UsagePage;

/// Pages read at once: each is at most as large as a broker's message.
const PAGES: usize = 4;
/// Entries read at once.
const ENTRIES: usize = 1_000;

/// A tenant's day that has entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantDay {
    /// The tenant's name.
    pub tenant: Tenant,
    /// Its ledger.
    pub key: LedgerKey,
    /// How many entries it has.
    pub entries: u64,
}

/// Entries in order, each with its sequence, and when the first of them was stored.
#[derive(Debug, Default)]
pub struct Entries {
    /// The entries.
    pub entries: Vec<(u64, LedgerEntry)>,
    /// When the first one was stored.
    pub oldest_stored_at: Option<jiff::Timestamp>,
}

impl Entries {
    /// Tells whether there may be more behind them.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= ENTRIES
    }
}

impl Log {
    /// Returns every day of a tenant, or of every tenant, that has entries, by day and tenant. The
    /// account's ledger is never among them: it repeats the tenants'.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn tenant_days(&self, tenant: Option<&Tenant>) -> Result<Vec<TenantDay>, LogError> {
        let filter = topology::ledgers(tenant);
        let inner = &self.inner;
        let timeout = inner.read_timeout.saturating_mul(5);
        let found = wire::subjects(&inner.broker, topology::LOG, &filter, timeout)
            .await
            .map_err(|failure| LogError::of_read("list the ledgers", failure))?;
        let days = found.into_iter().filter_map(|(subject, entries)| {
            let key = topology::parse_ledger_subject(&subject)?;
            match key.owner.clone() {
                LedgerOwner::Tenant(tenant) => Some(TenantDay {
                    tenant,
                    key,
                    entries,
                }),
                LedgerOwner::Account => None,
            }
        });
        let mut days: Vec<TenantDay> = days.collect();
        days.sort_by(|a, b| (a.key.day, &a.tenant).cmp(&(b.key.day, &b.tenant)));
        Ok(days)
    }

    /// Reads some pages of a day that cover what stands after a sequence, in order.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn usage_pages(
        &self,
        key: &LedgerKey,
        after_page_seq: u64,
    ) -> Result<Vec<(u64, UsagePage)>, LogError> {
        let subject = topology::usage_subject(key);
        let from = ReadFrom::Sequence(after_page_seq + 1);
        let pages = self.read(&subject, from, PAGES).await?;
        pages
            .iter()
            .map(|page| Ok((page.seq, page.usage_page()?)))
            .collect()
    }

    /// Reads the newest page of a day, and where it stands, from the stream's leader.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn last_usage_page(
        &self,
        key: &LedgerKey,
    ) -> Result<Option<(u64, UsagePage)>, LogError> {
        let query = json!({ "last_by_subj": topology::usage_subject(key) });
        match self.read_leader("read a page of usage", &query).await? {
            Some(page) => Ok(Some((page.seq, page.usage_page()?))),
            None => Ok(None),
        }
    }

    /// Stores the next page of a day, if the one at `expected_seq` (0 for none) is still the
    /// newest; `None` when somebody else was first or may have been.
    ///
    /// # Errors
    /// [`LogError`] when the broker does not take it.
    pub async fn store_usage_page(
        &self,
        key: &LedgerKey,
        page: &UsagePage,
        expected_seq: u64,
    ) -> Result<Option<u64>, LogError> {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("content-type", "application/json");
        headers.insert(record::COMMIT, wire::fresh_id());
        let subject = topology::usage_subject(key);
        let message = self.money_message(subject, Some(expected_seq), headers, page);
        let inner = &self.inner;
        match wire::publish(&inner.broker, message, inner.commit_timeout).await {
            Ok(ack) => Ok(Some(ack.seq)),
            Err(Refusal::Conflict { .. } | Refusal::Unknown) => Ok(None),
            Err(refusal) => Err(LogError::of_refusal("store a page of usage", refusal)),
        }
    }

    /// Reads some entries of a ledger after a sequence, in order, from any replica.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn ledger_after(&self, key: &LedgerKey, after: u64) -> Result<Entries, LogError> {
        let subject = topology::ledger_subject(key);
        let from = ReadFrom::Sequence(after + 1);
        let messages = self.read(&subject, from, ENTRIES).await?;
        let oldest_stored_at = messages.first().map(|message| message.stored_at);
        let entries = messages
            .iter()
            .map(|message| Ok((message.seq, message.ledger_entry()?)));
        Ok(Entries {
            entries: entries.collect::<Result<_, LogError>>()?,
            oldest_stored_at,
        })
    }
}
