//! A window of the day by the wall clock, as `22:00-06:00`. Which moments it holds is
//! `decide::off_peak`'s.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Time;
use serde::{Deserialize, Serialize};

/// From one time of the day to another, the second excluded; over midnight if that is earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DayWindow {
    /// The first minute.
    pub from: Time,
    /// The first minute after it.
    pub until: Time,
}

/// Why a text is no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected two different times of the day as HH:MM-HH:MM, for example \"22:00-06:00\"")]
pub struct NoWindow;

impl FromStr for DayWindow {
    type Err = NoWindow;

    fn from_str(text: &str) -> Result<Self, NoWindow> {
        let (from, until) = text.split_once('-').ok_or(NoWindow)?;
        let (from, until) = (time_of_day(from), time_of_day(until));
        match (from, until) {
            (Some(from), Some(until)) if from != until => Ok(Self { from, until }),
            _ => Err(NoWindow),
        }
    }
}

impl TryFrom<String> for DayWindow {
    type Error = NoWindow;

    fn try_from(text: String) -> Result<Self, NoWindow> {
        text.parse()
    }
}

impl From<DayWindow> for String {
    fn from(window: DayWindow) -> Self {
        window.to_string()
    }
}

impl fmt::Display for DayWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
        write!(f, "{}-{}", minutes(self.from), minutes(self.until))
    }
}

/// Reads a time of the day, `HH:MM` with two digits each.
#[must_use]
pub fn time_of_day(text: &str) -> Option<Time> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |part: &str| {
        let plain = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| part.parse::<i8>().ok()).flatten()
    };
    Time::new(two_digits(hours)?, two_digits(minutes)?, 0, 0).ok()
}
