//! Corrections of settled deductions, posted for an operator.

use std::collections::HashSet;

use rust_decimal::Decimal;

use super::Intake;
use super::budget::signed;
use crate::edge::nats::log::LogError;
use crate::edge::nats::money::Adjustment;
use crate::model::answer::Adjusted;
use crate::model::ids::Tenant;
use crate::model::operator::Adjust;
use crate::model::problem::{Problem, ProblemCode};
use crate::telemetry;

/// Changes of one call: with both ledgers they fit into one commit beside others.
const CHANGES_MAX: usize = 200;
/// No task costs more: a larger figure is a slip.
pub(super) const AMOUNT_MAX: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

impl Intake {
    /// Corrects deductions of one tenant's day, each only while it is what the operator saw.
    ///
    /// # Errors
    /// `invalid-request` with the field; `unavailable` when the outcome is unknown: the same
    /// correction again is harmless.
    pub async fn adjust(&self, wish: Adjust) -> Result<Adjusted, Problem> {
        let wish = self.adjustment(wish)?;
        let (tenant, day, who) = (wish.tenant.clone(), wish.day, wish.who.clone());
        let adjusted = self.money.adjust(wish, self.rules.accept_timeout).await;
        let adjusted = adjusted.map_err(|error| not_posted(&error))?;
        tracing::info!(tenant.id = %tenant, day = %day, who, posted = adjusted.posted,
            already = adjusted.already, moved_on = adjusted.moved_on.len(),
            "deductions were corrected");
        Ok(adjusted)
    }

    fn adjustment(&self, wish: Adjust) -> Result<Adjustment, Problem> {
        let invalid = |field: &str, detail: String| {
            Problem::new(ProblemCode::InvalidRequest, detail).field(field)
        };
        let tenant = Tenant::parse(&wish.tenant).map_err(|e| invalid("tenant", e.to_string()))?;
        let today = self.day(self.clock.now());
        if wish.day > today {
            return Err(invalid(
                "day",
                format!("the day must not lie after {today}"),
            ));
        }
        let count = wish.changes.len();
        if !(1..=CHANGES_MAX).contains(&count) {
            let detail = format!("expected 1 to {CHANGES_MAX} changes, not {count}");
            return Err(invalid("changes", detail));
        }
        let mut seen = HashSet::new();
        for change in &wish.changes {
            let task_id = &change.task_id;
            let amounts = [change.from, change.to];
            let wrong = if task_id.tenant() != tenant {
                Some("is another tenant's")
            } else if amounts
                .iter()
                .any(|a| *a < Decimal::ZERO || *a > AMOUNT_MAX)
            {
                Some("has an amount below 0 or beyond any task's")
            } else if change.from == change.to {
                Some("does not change")
            } else if !seen.insert((task_id.clone(), change.unit)) {
                Some("stands there twice in one unit")
            } else {
                None
            };
            if let Some(wrong) = wrong {
                return Err(invalid("changes", format!("task {task_id} {wrong}")));
            }
        }
        signed(&wish.who, &wish.reason)?;
        Ok(Adjustment {
            tenant,
            day: wish.day,
            changes: wish.changes,
            who: wish.who,
            reason: wish.reason,
        })
    }
}

fn not_posted(error: &LogError) -> Problem {
    tracing::warn!(error = %telemetry::chain(error), "a correction was not confirmed");
    let detail = "it is not known whether the deductions were corrected; send the same correction \
                  again: that is harmless";
    Problem::new(ProblemCode::Unavailable, detail).retry_after(2)
}
