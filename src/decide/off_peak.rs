//! When the platform is quiet: the moments at which an `off_peak` task may be dispatched.
//!
//! The window is one of the wall clock, so each date has its own, whatever the clocks do that
//! night.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::decide::budget::starts_at;
use crate::model::ids::Day;
use crate::model::window::DayWindow;

/// The configured window, in its time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct OffPeak {
    window: DayWindow,
    time_zone: TimeZone,
}

impl OffPeak {
    /// Places a window in a time zone.
    #[must_use]
    pub fn new(window: DayWindow, time_zone: TimeZone) -> Self {
        Self { window, time_zone }
    }

    /// Returns the first moment inside a window, from `at` on: `at` itself inside one, else the
    /// next start.
    ///
    /// A time that the clocks skip counts as the one that they show instead, a time that they
    /// repeat counts once, the first time. A window that a change of the clocks swallows is passed
    /// over.
    #[must_use]
    pub fn first_from(&self, at: Timestamp) -> Timestamp {
        let today = at.to_zoned(self.time_zone.clone()).date();
        // Yesterday's window may reach over midnight. Clocks that jump over a whole day have been
        // seen, so tomorrow's may be missing too.
        let dates = (-1..=3).filter_map(|days| today.checked_add(days.days()).ok());
        let moments = dates.filter_map(|date| {
            let (from, until) = self.on(date)?;
            (at < until && from < until).then_some(from.max(at))
        });
        // Past the end of time (year 9999) there is no night to wait for.
        moments.min().unwrap_or(at)
    }

    fn on(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        let last = match self.window.until > self.window.from {
            true => date,
            false => date.checked_add(1.day()).ok()?,
        };
        let from = starts_at(Day(date), &self.time_zone, self.window.from)?;
        let until = starts_at(Day(last), &self.time_zone, self.window.until)?;
        Some((from, until))
    }
}

/// Returns when a waiting task may be dispatched: `earliest` (at once, if it has none), and an
/// `off_peak` task not outside the window.
///
/// A create that may have reached Kling is looked up and finished whatever the time is: it began
/// inside a window. So is every task once the configuration has no window any more.
#[must_use]
pub fn ready_at(
    window: Option<&OffPeak>,
    off_peak: bool,
    may_exist: bool,
    earliest: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    match window.filter(|_| off_peak && !may_exist) {
        Some(window) => Some(window.first_from(earliest.map_or(now, |at| at.max(now)))),
        None => earliest,
    }
}
