//! Fault tags as types, and how they are read. Their meaning is told in `faults`.

use std::str::FromStr;
use std::time::Duration;

use rust_decimal::Decimal;

use super::catalogue::Pack;

/// The faults of one task.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Faults {
    pub(super) fail: Option<String>,
    pub(super) slow: Option<Duration>,
    pub(super) stuck: bool,
    pub(super) outputs: Option<u32>,
    pub(super) create: Vec<Counted<CreateFault>>,
    pub(super) lag: Option<Duration>,
    pub(super) lookup: Vec<Counted<u32>>,
    pub(super) billing: Vec<BillingFault>,
    pub(super) record: Vec<RecordFault>,
    pub(super) cdn: Vec<Counted<CdnFault>>,
    pub(super) callback: Vec<(CallbackFault, Option<Moment>)>,
}

/// A fault and how often it strikes; `None` is always.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counted<T> {
    pub(super) fault: T,
    pub(super) times: Option<u32>,
}

/// The fault that strikes on the `attempt`-th time (from 0), in the order given.
pub(super) fn at<T>(faults: &[Counted<T>], attempt: u32) -> Option<&T> {
    let mut begins = 0_u32;
    for counted in faults {
        let ends = counted
            .times
            .map_or(u32::MAX, |times| begins.saturating_add(times));
        if attempt < ends {
            return Some(&counted.fault);
        }
        begins = ends;
    }
    None
}

/// What happens to a create; `after` means that the task exists all the same.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CreateFault {
    Refuse(u32),
    Status { http: u16, after: bool },
    Garbage { after: bool },
    BadGateway { after: bool },
    Reset { after: bool },
    Timeout { after: bool },
}

impl CreateFault {
    /// Whether the task is created before the fault strikes.
    pub(super) fn is_after(&self) -> bool {
        match self {
            Self::Refuse(_) => false,
            Self::Status { after, .. }
            | Self::Garbage { after }
            | Self::BadGateway { after }
            | Self::Reset { after }
            | Self::Timeout { after } => *after,
        }
    }
}

/// What happens to billing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum BillingFault {
    None,
    Never,
    Over(Decimal),
    Amount(Decimal),
    Split,
    /// Paid in cash, but for so many units.
    Cash(Decimal),
}

/// What happens to the deduction records, while the task's own bill stays as it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RecordFault {
    Missing,
    Amount(Decimal),
    Twice,
    Split,
    Cash,
    Pack(Pack),
}

/// What happens to a download.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CdnFault {
    Truncate,
    Status(u16),
    Slow(Duration),
    Expired,
    WrongType,
    Redirect(String),
    Empty,
}

/// What happens to a callback.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CallbackFault {
    Drop,
    Duplicate { copies: u32, new_id: bool },
    Reorder,
    Delay(Duration),
    Truncate,
    BadSignature,
    Stale,
    Unsigned,
    Early,
    EarlyTerminal,
    Wrapped,
    Submitted,
    Nulls,
}

/// Which of a task's callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Submitted,
    Processing,
    Terminal,
}

impl Faults {
    /// Whether some callback fault equal to `wanted` applies at `moment`.
    pub(super) fn has(&self, wanted: &CallbackFault, moment: Moment) -> bool {
        self.callbacks_at(moment).any(|fault| fault == wanted)
    }

    /// The callback faults that apply at `moment`.
    pub(super) fn callbacks_at(&self, moment: Moment) -> impl Iterator<Item = &CallbackFault> {
        self.callback
            .iter()
            .filter(move |(_, only)| only.is_none_or(|only| only == moment))
            .map(|(fault, _)| fault)
    }

    /// Adds tags separated by commas; `Err` is the tag that is not understood.
    pub(super) fn add(&mut self, tags: &str) -> Result<(), String> {
        for tag in tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            let (key, value) = tag.split_once('=').unwrap_or((tag, ""));
            self.add_one(key.trim(), value.trim())
                .ok_or_else(|| tag.to_owned())?;
        }
        Ok(())
    }

    fn add_one(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "fail" => self.fail = Some(value.to_owned()),
            "slow" => self.slow = Some(duration(value)?),
            "stuck" => self.stuck = true,
            "outputs" => self.outputs = Some(value.parse().ok().filter(|n| *n <= 20)?),
            "create" => self.create.push(create_fault(value)?),
            "lookup" => match value.strip_prefix("lag:") {
                Some(lag) => self.lag = Some(duration(lag)?),
                None => {
                    let (code, times) = counted(value);
                    self.lookup.push(Counted {
                        fault: code.parse().ok()?,
                        times,
                    });
                }
            },
            "billing" => self.billing.push(billing_fault(value)?),
            "record" => self.record.push(record_fault(value)?),
            "cdn" => self.cdn.push(cdn_fault(value)?),
            "callback" => self.callback.push(callback_fault(value)?),
            _ => return None,
        }
        Some(())
    }
}

fn duration(text: &str) -> Option<Duration> {
    humantime_serde::re::humantime::parse_duration(text).ok()
}

/// Splits `504-afterx2` into `504-after` and 2.
fn counted(text: &str) -> (&str, Option<u32>) {
    match text.rsplit_once('x') {
        Some((head, times)) if !head.is_empty() => match times.parse() {
            Ok(times) => (head, Some(times)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    }
}

fn create_fault(value: &str) -> Option<Counted<CreateFault>> {
    let (name, times) = counted(value);
    let (kind, after) = match name.rsplit_once('-') {
        Some((kind, "before")) => (kind, false),
        Some((kind, "after")) => (kind, true),
        _ => (name, true),
    };
    let fault = match kind {
        "garbage" => CreateFault::Garbage { after },
        "badgateway" => CreateFault::BadGateway { after },
        "reset" => CreateFault::Reset { after },
        "timeout" => CreateFault::Timeout { after },
        number => match u32::from_str(number).ok()? {
            http @ (500 | 502 | 503 | 504) => CreateFault::Status {
                http: u16::try_from(http).ok()?,
                after,
            },
            code @ 1000..=9999 => {
                return Some(Counted {
                    fault: CreateFault::Refuse(code),
                    times,
                });
            }
            _ => return None,
        },
    };
    Some(Counted {
        fault,
        times: Some(times.unwrap_or(1)),
    })
}

fn billing_fault(value: &str) -> Option<BillingFault> {
    Some(match value.split_once(':') {
        None if value == "none" => BillingFault::None,
        None if value == "never" => BillingFault::Never,
        None if value == "split" => BillingFault::Split,
        None if value == "cash" => BillingFault::Cash(Decimal::ZERO),
        Some(("mixed", units)) => BillingFault::Cash(units.parse().ok()?),
        Some(("over", amount)) => BillingFault::Over(amount.parse().ok()?),
        Some(("amount", amount)) => BillingFault::Amount(amount.parse().ok()?),
        _ => return None,
    })
}

fn record_fault(value: &str) -> Option<RecordFault> {
    Some(match value.split_once(':') {
        None if value == "missing" => RecordFault::Missing,
        None if value == "twice" => RecordFault::Twice,
        None if value == "split" => RecordFault::Split,
        None if value == "cash" => RecordFault::Cash,
        Some(("amount", amount)) => RecordFault::Amount(amount.parse().ok()?),
        Some(("pack", name)) => {
            let packs = [Pack::Video, Pack::Image, Pack::TryOn];
            RecordFault::Pack(packs.into_iter().find(|pack| pack.name() == name)?)
        }
        _ => return None,
    })
}

fn cdn_fault(value: &str) -> Option<Counted<CdnFault>> {
    if let Some(url) = value.strip_prefix("redirect:") {
        return Some(Counted {
            fault: CdnFault::Redirect(url.to_owned()),
            times: None,
        });
    }
    let (kind, times) = counted(value);
    let fault = match kind {
        "truncate" => CdnFault::Truncate,
        "slow" => CdnFault::Slow(Duration::from_secs(5)),
        "expired" => CdnFault::Expired,
        "wrong-type" => CdnFault::WrongType,
        "empty" => CdnFault::Empty,
        other => match other.strip_prefix("slow:") {
            Some(time) => CdnFault::Slow(duration(time)?),
            None => CdnFault::Status(other.parse().ok().filter(|s| (400..600).contains(s))?),
        },
    };
    Some(Counted { fault, times })
}

fn callback_fault(value: &str) -> Option<(CallbackFault, Option<Moment>)> {
    let (value, moment) = match value.split_once('@') {
        None => (value, None),
        Some((value, "submitted")) => (value, Some(Moment::Submitted)),
        Some((value, "processing")) => (value, Some(Moment::Processing)),
        Some((value, "terminal")) => (value, Some(Moment::Terminal)),
        Some(_) => return None,
    };
    let (kind, argument) = value.split_once(':').unwrap_or((value, ""));
    let copies = if argument.is_empty() {
        Some(2)
    } else {
        argument.parse().ok()
    };
    let fault = match kind {
        "drop" => CallbackFault::Drop,
        "duplicate" => CallbackFault::Duplicate {
            copies: copies?,
            new_id: false,
        },
        "duplicate-new-id" => CallbackFault::Duplicate {
            copies: copies?,
            new_id: true,
        },
        "reorder" => CallbackFault::Reorder,
        "delay" => CallbackFault::Delay(duration(argument)?),
        "truncate" => CallbackFault::Truncate,
        "bad-signature" => CallbackFault::BadSignature,
        "stale" => CallbackFault::Stale,
        "unsigned" => CallbackFault::Unsigned,
        "early" => CallbackFault::Early,
        "early-terminal" => CallbackFault::EarlyTerminal,
        "wrapped" => CallbackFault::Wrapped,
        "submitted" => CallbackFault::Submitted,
        "nulls" => CallbackFault::Nulls,
        _ => return None,
    };
    Some((fault, moment))
}
