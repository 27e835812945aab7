//! What an operator does, recorded before and after it is done.

use anyhow::{Context, bail};
use jiff::Timestamp;

use crate::cli::AuditArgs;
use crate::config::user_name;
use crate::edge::nats::log::{Log, LogError, new_commit_id};
use crate::model::audit::{Audit, AuditAction, AuditState, Selection};
use crate::model::operator::{REASON_MAX, WHO_MAX, is_line};

impl AuditArgs {
    /// Checks that somebody does it for a reason.
    ///
    /// # Errors
    /// Names the flag.
    pub fn check(&self) -> anyhow::Result<()> {
        if self
            .reason
            .as_deref()
            .is_none_or(|reason| reason.trim().is_empty())
        {
            bail!("--reason is missing: say why; it is kept with the money");
        }
        let who = self.who().context("--who is missing: say who does it")?;
        let reason = self.reason.as_deref().unwrap_or_default();
        for (flag, text, length_max) in [("who", &*who, WHO_MAX), ("reason", reason, REASON_MAX)] {
            if !is_line(text, length_max) {
                bail!("--{flag} must be one line of 1 to {length_max} characters");
            }
        }
        Ok(())
    }

    /// Returns who does it.
    #[must_use]
    pub fn who(&self) -> Option<String> {
        self.who.clone().or_else(user_name)
    }
}

/// One thing that an operator does.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Names it.
    pub id: String,
    /// To which messages.
    pub selection: Selection,
    /// To whom, for a replay.
    pub consumer: Option<String>,
    /// How far it has come, for a replay.
    pub last_sequence: Option<u64>,
    action: AuditAction,
    who: String,
    reason: String,
}

impl Deed {
    /// Makes a new one.
    #[must_use]
    pub fn new(
        action: AuditAction,
        args: &AuditArgs,
        selection: Selection,
        consumer: Option<&str>,
    ) -> Self {
        Self {
            id: new_commit_id().as_str().to_owned(),
            selection,
            consumer: consumer.map(str::to_owned),
            last_sequence: None,
            action,
            who: args.who().unwrap_or_default(),
            reason: args.reason.clone().unwrap_or_default(),
        }
    }

    /// Takes one up again where its newest record says.
    #[must_use]
    pub fn again(newest: &Audit, args: &AuditArgs) -> Self {
        Self {
            id: newest.audit_id.clone(),
            selection: newest.selection.clone(),
            consumer: newest.consumer.clone(),
            last_sequence: newest.last_sequence,
            action: newest.action,
            who: args.who().unwrap_or_else(|| newest.who.clone()),
            reason: args.reason.clone().unwrap_or_else(|| newest.reason.clone()),
        }
    }

    /// Records how far it has come.
    ///
    /// # Errors
    /// [`LogError`]; what cannot be recorded must not be done.
    pub async fn record(
        &self,
        log: &Log,
        state: AuditState,
        messages: u64,
        now: Timestamp,
    ) -> Result<(), LogError> {
        log.record_audit(&Audit {
            audit_id: self.id.clone(),
            action: self.action,
            state,
            who: self.who.clone(),
            reason: self.reason.clone(),
            selection: self.selection.clone(),
            consumer: self.consumer.clone(),
            messages,
            last_sequence: self.last_sequence,
            occurred_at: now,
        })
        .await
    }
}
