//! What a day may spend: shown, and changed by an operator.

use jiff::{Timestamp, ToSpan};

use super::Intake;
use super::refusals::away;
use crate::decide::budget::day_of;
use crate::decide::ledger;
use crate::edge::nats::log::LogError;
use crate::edge::nats::money::LimitChange;
use crate::model::answer::DayBudget;
use crate::model::ids::Day;
use crate::model::ledger::{Balance, LIMIT_RANGE, LedgerKey, LedgerOwner, is_limit};
use crate::model::operator::{REASON_MAX, SetLimit, WHO_MAX, is_line};
use crate::model::problem::{Problem, ProblemCode};
use crate::telemetry;

/// How far ahead a limit may be changed: a day that is opened now keeps the limits of now.
const DAYS_AHEAD_MAX: i64 = 31;

impl Intake {
    /// Reads a day's balance; a day without entries shows the limits that it will open with.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn balance(&self, key: &LedgerKey) -> Result<Balance, Problem> {
        let balance = self.log.balance(key).await.map_err(|error| away(&error))?;
        Ok(balance.unwrap_or_else(|| {
            ledger::with_limits(Balance::new(), &self.rules.money.limits_of(&key.owner))
        }))
    }

    /// Reads a day's balance and what follows from it.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn day_budget(&self, key: &LedgerKey) -> Result<DayBudget, Problem> {
        Ok(ledger::day_budget(key, self.balance(key).await?))
    }

    /// Changes one limit of one day, for an operator; returns the day as it is then.
    ///
    /// # Errors
    /// `invalid-request` with the field; `unavailable` when the outcome is unknown: setting a limit
    /// again is harmless.
    pub async fn set_limit(&self, wish: SetLimit) -> Result<DayBudget, Problem> {
        let change = self.limit_change(wish)?;
        let (key, timeout) = (change.key.clone(), self.rules.accept_timeout);
        let (unit, limit, who) = (change.unit, change.limit, change.who.clone());
        self.money
            .set_limit(change, timeout)
            .await
            .map_err(|error| not_set(&error))?;
        tracing::info!(tenant.id = key.owner.as_str(), day = %key.day, unit = %unit,
            limit = %limit, who, "a limit was changed");
        self.day_budget(&key).await
    }

    fn limit_change(&self, wish: SetLimit) -> Result<LimitChange, Problem> {
        let invalid = |field: &str, detail: String| {
            Problem::new(ProblemCode::InvalidRequest, detail).field(field)
        };
        let owner =
            LedgerOwner::parse(&wish.tenant).map_err(|e| invalid("tenant", e.to_string()))?;
        if owner == LedgerOwner::Account && self.rules.money.account_limits.is_none() {
            let detail = "there is no limit over all tenants; set budget.account_daily_limit first";
            return Err(invalid("tenant", detail.to_owned()));
        }
        let today = self.day(self.clock.now());
        let day = wish.day.unwrap_or(today);
        let last = Day(today.0.saturating_add(DAYS_AHEAD_MAX.days()));
        if day < today || day > last {
            let detail = format!("the day must be from {today} to {last}");
            return Err(invalid("day", detail));
        }
        if !is_limit(wish.limit) {
            let detail = format!("the limit must be {LIMIT_RANGE}, not {}", wish.limit);
            return Err(invalid("limit", detail));
        }
        signed(&wish.who, &wish.reason)?;
        Ok(LimitChange {
            key: LedgerKey { owner, day },
            unit: wish.unit,
            limit: wish.limit.normalize(),
            who: wish.who,
            reason: wish.reason,
        })
    }

    /// Returns the budget day at a time.
    #[must_use]
    pub fn day(&self, at: Timestamp) -> Day {
        day_of(at, &self.rules.time_zone, self.rules.day_starts)
    }
}

/// Checks who changes the books and why: both stand in the ledger, one line each.
pub(super) fn signed(who: &str, reason: &str) -> Result<(), Problem> {
    for (field, text, length_max) in [("who", who, WHO_MAX), ("reason", reason, REASON_MAX)] {
        if !is_line(text, length_max) {
            let detail = format!("{field:?} must be one line of 1 to {length_max} characters");
            return Err(Problem::new(ProblemCode::InvalidRequest, detail).field(field));
        }
    }
    Ok(())
}

fn not_set(error: &LogError) -> Problem {
    tracing::warn!(error = %telemetry::chain(error), "a limit was not confirmed");
    let detail = "it is not known whether the limit was changed; look at the day's budget, and \
                  set it again: that is harmless";
    Problem::new(ProblemCode::Unavailable, detail).retry_after(2)
}
