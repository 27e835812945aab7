//! `reconcile`: its flags, and what they come to.

use std::time::Duration;

use clap::Args;

use crate::app;
use crate::config::Config;
use crate::edge::clock::Clock;
use crate::edge::kling::lists::limiter;
use crate::ops::Usage;
use crate::ops::connect::Connected;
use crate::ops::output::Output;
use crate::ops::reconcile::{Range, Signature, run};
use crate::stage::ledger_audit::{AuditRules, LedgerAudit};

/// `reconcile`
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// The first budget day (2026-11-21, or a time in it); without it, the last day that has ended
    /// so long ago that Kling's records have settled.
    #[arg(long, value_name = "DAY")]
    pub from: Option<String>,
    /// The last budget day; the same as the first without it.
    #[arg(long, value_name = "DAY", requires = "from")]
    pub to: Option<String>,
    /// Of this tenant only.
    #[arg(long)]
    pub tenant: Option<String>,
    /// How long Kling's records may stay behind, for example 12h: what is younger is not judged;
    /// reconciler.audit_lag without it.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub lag: Option<Duration>,
    /// Correct our ledger to Kling's figures, through the running service.
    #[arg(long, requires_all = ["who", "reason"])]
    pub post: bool,
    /// Who corrects; it stands in the ledger.
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub who: Option<String>,
    /// Why; it stands in the ledger.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

fn duration(text: &str) -> Result<Duration, humantime_serde::re::humantime::DurationError> {
    humantime_serde::re::humantime::parse_duration(text)
}

impl ReconcileArgs {
    /// Checks the flags and the configuration that they lean on.
    ///
    /// # Errors
    /// Names what is wrong.
    pub(super) fn check(&self, config: &Config) -> anyhow::Result<()> {
        self.range(config, &Clock::system())?;
        let credential = config.kling.api_key.is_some() || config.kling.access_key.is_some();
        anyhow::ensure!(
            credential,
            "kling.api_key is missing: Kling's records are asked for with the service's own \
             configuration"
        );
        Ok(())
    }

    fn range(&self, config: &Config, clock: &Clock) -> anyhow::Result<(Range, AuditRules)> {
        let mut rules = app::audit_rules(config)?;
        if let Some(lag) = self.lag {
            rules.lag = jiff::SignedDuration::try_from(lag)?;
        }
        let settled = rules.last_settled(clock.now());
        let days = (self.from.as_deref(), self.to.as_deref());
        let range = Range::parse(days, self.tenant.as_deref(), settled, &rules)?;
        Ok((range, rules))
    }

    /// Compares, and posts if that is asked for.
    pub(super) async fn run(
        &self,
        config: &Config,
        clock: &Clock,
        link: &Connected,
        output: Output,
    ) -> anyhow::Result<bool> {
        let (range, rules) = self.range(config, clock).map_err(Usage::of)?;
        let kling = app::kling(config, clock)?;
        let audit = LedgerAudit::new(
            link.log.clone(),
            std::sync::Arc::new(kling),
            clock.clone(),
            limiter(config.reconciler.queries_per_second),
            rules,
        );
        let signature = self.who.clone().zip(self.reason.clone());
        let signature = signature.filter(|_| self.post);
        let signature = signature.map(|(who, reason)| Signature { who, reason });
        run(link, &audit, &range, signature.as_ref(), output).await
    }
}
