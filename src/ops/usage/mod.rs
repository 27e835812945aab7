//! `usage`: what ended tasks used, read from the ledger, which outlives them.
//!
//! Whole budget days are read, several at once, each in order: the pages of usage that sum it up,
//! then the entries behind the last page. Nothing is kept but the groups.

mod report;
mod export;
mod drift;

use futures::stream::{self, Stream, StreamExt};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rust_decimal::Decimal;

pub use report::Reports;

use super::connect::Connected;
use super::output::Output;
use crate::cli::{UsageArgs, UsageCommand};
use crate::config;
use crate::decide::budget::{day_of, parse_day_starts};
use crate::decide::pricing::PriceBook;
use crate::decide::usage::{Cells, Rates};
use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::usage::TenantDay;
use crate::model::amount::Unit;
use crate::model::ids::{Day, Tenant};
use crate::model::ledger::LedgerKey;
use crate::model::usage::UsageCell;

/// Days that a report goes back without `--from`.
const DAYS: i64 = 30;
/// Days that are read at once.
const READERS: usize = 4;

/// What the usage commands work by.
#[derive(Debug)]
pub struct Settings<'a> {
    /// When a budget day begins.
    pub calendar: Calendar,
    /// Which day it is.
    pub today: Day,
    /// What units cost.
    pub rates: Option<Rates>,
    /// What estimates are compared with.
    pub book: PriceBook,
    /// Names the source of exported events.
    pub environment: &'a str,
}

/// Runs a usage command.
///
/// # Errors
/// A flag that cannot be read, or that the log does not answer.
pub async fn run(
    link: &Connected,
    command: &UsageCommand,
    settings: &Settings<'_>,
    output: Output,
) -> anyhow::Result<bool> {
    let range = |which: &UsageArgs| Range::from_args(which, &settings.calendar, settings.today);
    match command {
        UsageCommand::Report { which, group_by } => {
            let rates = settings.rates.as_ref();
            report::run(&link.log, &range(which)?, group_by, rates, output).await
        }
        UsageCommand::Export {
            which,
            format,
            output: file,
            prompt_preview,
        } => {
            let how = export::How {
                format: export::format(*format, output),
                file: file.as_deref(),
                prompt_preview: *prompt_preview,
                environment: settings.environment,
            };
            export::run(&link.log, &range(which)?, &how, output).await
        }
        UsageCommand::Drift { which } => {
            let (book, today) = (&settings.book, settings.today);
            drift::run(&link.log, &range(which)?, book, today, output).await
        }
    }
}

/// Checks the flags.
///
/// # Errors
/// Names the flag.
pub fn check(command: &UsageCommand) -> anyhow::Result<()> {
    let which = match command {
        UsageCommand::Report { which, group_by } => {
            report::dimensions(group_by).map_err(Unreadable::flag)?;
            which
        }
        UsageCommand::Export { which, .. } | UsageCommand::Drift { which } => which,
    };
    // Any calendar will do: only the flags are looked at.
    let calendar = Calendar {
        time_zone: TimeZone::UTC,
        day_starts: Time::midnight(),
    };
    Range::from_args(which, &calendar, Day(Date::MAX)).map(|_| ())
}

/// Reads `[pricing.cost]`.
#[must_use]
pub fn rates(cost: &config::Cost) -> Option<Rates> {
    let known = |(name, rate): (&String, &Decimal)| Some((Unit::from_name(name)?, *rate));
    let rates = cost.rates.iter().filter_map(known).collect();
    Some(Rates::new(cost.currency.as_deref()?, rates))
}

/// A flag or parameter that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{name} {problem}")]
pub struct Unreadable {
    /// Its name, without dashes.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Unreadable {
    fn new(name: &'static str, problem: impl Into<String>) -> Self {
        Self {
            name,
            problem: problem.into(),
        }
    }

    /// Words it for the command line.
    fn flag(self) -> anyhow::Error {
        anyhow::anyhow!("--{} {}", self.name.replace('_', "-"), self.problem)
    }
}

/// When budget days begin.
#[derive(Clone, Debug)]
pub struct Calendar {
    time_zone: TimeZone,
    day_starts: Time,
}

impl Calendar {
    /// Reads the configured one.
    ///
    /// # Errors
    /// The key that cannot be read.
    pub fn new(budget: &config::Budget) -> anyhow::Result<Self> {
        Ok(Self {
            time_zone: TimeZone::get(&budget.time_zone)?,
            day_starts: parse_day_starts(&budget.day_starts)?,
        })
    }

    /// Returns the budget day of a moment.
    #[must_use]
    pub fn day(&self, at: Timestamp) -> Day {
        day_of(at, &self.time_zone, self.day_starts)
    }

    /// Reads a day, or the day of a time.
    fn read(&self, name: &'static str, text: &str) -> Result<Day, Unreadable> {
        let day = text.parse::<Day>().ok().filter(|_| text.len() == 10);
        let time = || text.parse().ok().map(|time| self.day(time));
        day.or_else(time).ok_or_else(|| {
            let text: String = text.chars().take(40).collect();
            let problem = format!("{text:?}: use 2026-11-21 or 2026-11-21T08:00:00Z");
            Unreadable::new(name, problem)
        })
    }
}

/// Which usage: whole budget days, both ends included.
#[derive(Clone, Debug)]
pub struct Range {
    from: Day,
    to: Day,
    tenant: Option<Tenant>,
    label: Option<(String, String)>,
}

impl Range {
    fn from_args(args: &UsageArgs, calendar: &Calendar, today: Day) -> anyhow::Result<Self> {
        Self::new(args, calendar, today).map_err(Unreadable::flag)
    }

    /// Reads what was asked for.
    fn new(args: &UsageArgs, calendar: &Calendar, today: Day) -> Result<Self, Unreadable> {
        let day = |name, text: &Option<String>| {
            let text = text.as_deref();
            text.map(|text| calendar.read(name, text)).transpose()
        };
        let to = day("to", &args.to)?.unwrap_or(today);
        let first = Day(to.0.saturating_sub((DAYS - 1).days()));
        let from = day("from", &args.from)?.unwrap_or(first);
        if from > to {
            let problem = format!("{from} lies after the last day, {to}");
            return Err(Unreadable::new("from", problem));
        }
        let tenant = args.tenant.as_deref().map(Tenant::parse).transpose();
        let pair = |text: &str| {
            let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty())?;
            Some((key.to_owned(), value.to_owned()))
        };
        let label = match args.label.as_deref().map(pair) {
            Some(None) => return Err(Unreadable::new("label", "must be key=value")),
            Some(Some(pair)) => Some(pair),
            None => None,
        };
        Ok(Self {
            from,
            to,
            tenant: tenant.map_err(|error| Unreadable::new("tenant", error.to_string()))?,
            label,
        })
    }

    fn label_text(&self) -> Option<String> {
        let (key, value) = self.label.as_ref()?;
        Some(format!("{key}={value}"))
    }

    fn takes(&self, labels: &std::collections::BTreeMap<String, String>) -> bool {
        let wanted = self.label.as_ref();
        wanted.is_none_or(|(key, value)| labels.get(key) == Some(value))
    }

    /// Returns the days that have entries, by day and tenant.
    async fn days(&self, log: &Log) -> Result<Vec<TenantDay>, LogError> {
        let mut days = log.tenant_days(self.tenant.as_ref()).await?;
        days.retain(|day| (self.from..=self.to).contains(&day.key.day));
        Ok(days)
    }
}

/// Some cells of a tenant's day.
struct Portion {
    tenant: Tenant,
    day: Day,
    cells: Vec<UsageCell>,
}

/// Reads everything in a range, portion by portion, in no order.
async fn portions(
    log: &Log,
    range: &Range,
) -> Result<impl Stream<Item = Result<Portion, LogError>> + use<>, LogError> {
    let days = range.days(log).await?;
    let log = log.clone();
    let label = range.clone();
    Ok(stream::iter(days)
        .map(move |day| Box::pin(day_portions(log.clone(), day)))
        .flatten_unordered(READERS)
        .map(move |portion| {
            portion.map(|mut portion| {
                portion.cells.retain(|cell| label.takes(&cell.key.labels));
                portion
            })
        }))
}

/// Where the reading of a day stands.
#[derive(Clone, Copy)]
enum At {
    /// After this page of the log; the pages so far sum up the ledger to this sequence.
    Pages {
        after: u64,
        covered: u64,
    },
    /// After this entry of the ledger.
    Entries {
        after: u64,
    },
    End,
}

fn day_portions(log: Log, day: TenantDay) -> impl Stream<Item = Result<Portion, LogError>> {
    let start = At::Pages {
        after: 0,
        covered: 0,
    };
    stream::try_unfold((log, day, start), |(log, day, at)| async move {
        let (cells, next) = match at {
            At::Pages { after, covered } => pages(&log, &day.key, after, covered).await?,
            At::Entries { after } => entries(&log, &day.key, after).await?,
            At::End => return Ok(None),
        };
        let portion = Portion {
            tenant: day.tenant.clone(),
            day: day.key.day,
            cells,
        };
        Ok(Some((portion, (log, day, next))))
    })
}

async fn pages(
    log: &Log,
    key: &LedgerKey,
    after: u64,
    covered: u64,
) -> Result<(Vec<UsageCell>, At), LogError> {
    let pages = log.usage_pages(key, after).await?;
    let next = match pages.last() {
        Some((seq, page)) => At::Pages {
            after: *seq,
            covered: page.to_seq,
        },
        None => At::Entries { after: covered },
    };
    let cells = pages.into_iter().flat_map(|(_, page)| page.cells);
    Ok((cells.collect(), next))
}

async fn entries(log: &Log, key: &LedgerKey, after: u64) -> Result<(Vec<UsageCell>, At), LogError> {
    let found = log.ledger_after(key, after).await?;
    let mut cells = Cells::default();
    found.entries.iter().for_each(|(_, entry)| cells.add(entry));
    let next = match found.entries.last() {
        Some((seq, _)) if found.is_full() => At::Entries { after: *seq },
        Some(_) | None => At::End,
    };
    Ok((cells.into_cells(), next))
}
