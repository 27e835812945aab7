//! The budget day: when it begins and ends, and which limits it has.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rust_decimal::Decimal;

use crate::decide::ledger::Limits;
use crate::model::amount::Unit;
use crate::model::ids::Day;
use crate::model::ledger::{LIMIT_RANGE, LimitSetting, is_limit};
use crate::model::window::time_of_day;

/// Returns the budget day of a moment: the latest date whose window has begun.
///
/// A window begins at `day_starts` of its date in the time zone. Where clocks skip that time it
/// begins as much later as they skip, where they repeat it, at the first time. So every moment has
/// one day, and days only move forward, whatever the clocks do.
#[must_use]
pub fn day_of(now: Timestamp, time_zone: &TimeZone, day_starts: Time) -> Day {
    let today = now.to_zoned(time_zone.clone()).date();
    // A clock set back over midnight can make tomorrow's window begin before today's date ends.
    let tomorrow = today.saturating_add(1.day());
    let begun = |date: Date| starts_at(Day(date), time_zone, day_starts).is_some_and(|t| t <= now);
    let mut date = if begun(tomorrow) { tomorrow } else { today };
    // Two steps reach past any offset that a zone has ever skipped.
    for _ in 0..2 {
        if begun(date) {
            break;
        }
        date = date.saturating_sub(1.day());
    }
    Day(date)
}

/// Returns the moment at which a budget day begins; `None` past the end of time (year 9999).
#[must_use]
pub fn starts_at(day: Day, time_zone: &TimeZone, day_starts: Time) -> Option<Timestamp> {
    let civil = day.0.to_datetime(day_starts);
    // The compatible reading: the later time in a gap, the first one in a fold.
    time_zone
        .to_ambiguous_zoned(civil)
        .compatible()
        .ok()
        .map(|zoned| zoned.timestamp())
}

/// Returns when a budget day ends: when the next one begins.
#[must_use]
pub fn ends_at(day: Day, time_zone: &TimeZone, day_starts: Time) -> Option<Timestamp> {
    let next = day.0.checked_add(1.day()).ok()?;
    starts_at(Day(next), time_zone, day_starts)
}

/// Reads `budget.day_starts`.
///
/// # Errors
/// [`BudgetError`] unless the text is `HH:MM`.
pub fn parse_day_starts(text: &str) -> Result<Time, BudgetError> {
    let wrong = || BudgetError::DayStarts {
        text: text.chars().take(40).collect(),
    };
    time_of_day(text).ok_or_else(wrong)
}

/// Why a budget setting cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// A unit that does not exist.
    #[error("{unit:?} is no unit; known: {}", units())]
    NoSuchUnit {
        /// As written.
        unit: String,
    },
    /// A limit that is none.
    #[error("the limit of {unit} is {limit}; it must be {}", LIMIT_RANGE)]
    OutOfRange {
        /// Of which unit.
        unit: Unit,
        /// As written.
        limit: Decimal,
    },
    /// A start of the day that is no time.
    #[error("budget.day_starts {text:?} must be a time of day as HH:MM, from 00:00 to 23:59")]
    DayStarts {
        /// As written, at most 40 characters.
        text: String,
    },
}

fn units() -> String {
    Unit::ALL.map(Unit::as_str).join(", ")
}

/// Works out the limits of a day: a setting over the ones that would hold without it.
///
/// A tenant's are `resolve(tenant's own, daily_limit over the book's)`.
///
/// # Errors
/// [`BudgetError`] for unknown units and limits out of range.
pub fn resolve(
    setting: Option<&LimitSetting>,
    without: &Limits,
    main_unit: Unit,
) -> Result<Limits, BudgetError> {
    let mut limits = match setting {
        None | Some(LimitSetting::Main(_)) => without.clone(),
        Some(LimitSetting::ByUnit(_)) => Limits::new(),
    };
    match setting {
        None => {}
        Some(LimitSetting::Main(limit)) => {
            limits.insert(main_unit, *limit);
        }
        Some(LimitSetting::ByUnit(table)) => {
            for (name, limit) in table {
                let unit = Unit::from_name(name).ok_or_else(|| BudgetError::NoSuchUnit {
                    unit: name.chars().take(40).collect(),
                })?;
                limits.insert(unit, *limit);
            }
        }
    }
    match limits.iter().find(|(_, limit)| !is_limit(**limit)) {
        Some((unit, limit)) => Err(BudgetError::OutOfRange {
            unit: *unit,
            limit: *limit,
        }),
        None => Ok(limits),
    }
}
