//! Records of what operators did, beside the money and kept as long.

use super::log::{Log, LogError, ReadFrom, new_commit_id};
use super::topology;
use crate::model::audit::Audit;
use crate::model::ids::Day;

impl Log {
    /// Stores a record of what an operator does.
    ///
    /// # Errors
    /// [`LogError`]: then it must not be done.
    pub async fn record_audit(&self, audit: &Audit) -> Result<(), LogError> {
        let id = new_commit_id();
        let headers = self.event_headers(
            &format!("{}.{}", audit.audit_id, id.as_str()),
            "dev.kling-relay.audit.v1",
            &audit.audit_id,
            audit.occurred_at,
            &id,
        );
        // By the calendar of UTC: an operator's day is nobody's budget day.
        let day = Day(audit.occurred_at.to_zoned(jiff::tz::TimeZone::UTC).date());
        let message = self.money_message(topology::audit_subject(day), None, headers, audit);
        self.publish("audit", "record what is done", message)
            .await
            .map(|_| ())
    }

    /// Reads the records of an action, oldest first.
    ///
    /// # Errors
    /// As [`Log::load`].
    pub async fn audits(&self, audit_id: &str, from: ReadFrom) -> Result<Vec<Audit>, LogError> {
        let (mut found, mut from) = (Vec::new(), from);
        loop {
            let page = self.read(topology::AUDITS, from, 1_000).await?;
            let Some(newest) = page.last() else {
                return Ok(found);
            };
            from = ReadFrom::Sequence(newest.seq + 1);
            // What a newer version of us does is none of the actions here.
            let audits = page.iter().filter_map(|message| message.audit().ok());
            found.extend(audits.filter(|audit| audit.audit_id == audit_id));
        }
    }
}
