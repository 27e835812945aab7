//! Rules for budgets: limits, alerts, the day, and the money writer's bounds.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use secrecy::ExposeSecret;
use url::Url;

use super::{Findings, has_no_credentials, is_loopback, positive, positive_from};
use crate::config::{Budget, Config, LimitSetting, Thresholds};
use crate::model::amount::Unit;
use crate::model::ids::Tenant;
use crate::model::ledger::{LIMIT_RANGE, is_limit};

/// Messages that the broker's commit takes.
///
/// Source: broker reference 4.
const COMMIT_MESSAGES_MAX: usize = 1_000;

pub(super) fn budget(config: &Config, found: &mut Findings) {
    let budget = &config.budget;
    for (key, limit) in [
        ("budget.daily_limit", &budget.daily_limit),
        ("budget.account_daily_limit", &budget.account_daily_limit),
    ] {
        limit
            .iter()
            .for_each(|limit| limit_setting(key, limit, found));
    }
    for (tenant, limit) in &budget.tenants {
        let key = format!("budget.tenants.{tenant}");
        let fix = "a tenant's name takes 1 to 24 characters of a-z, 0-9 and '-'";
        found.require_hidden(Tenant::parse(tenant).is_ok(), &key, fix);
        limit_setting(&key, limit, found);
    }
    let shares = match &budget.alert_threshold {
        Thresholds::One(share) => std::slice::from_ref(share),
        Thresholds::Several(shares) => shares,
    };
    for share in shares {
        let fits = *share > Decimal::ZERO && *share <= Decimal::ONE;
        let fix = "expected a share above 0 and at most 1";
        found.require(fits, "budget.alert_threshold", share, fix);
    }
    day(budget, found);
    hook(config, found);
    writer(config, found);
}

fn day(budget: &Budget, found: &mut Findings) {
    let zone = &budget.time_zone;
    let fix = "expected a name of the time zone database, for example \"Europe/Berlin\"";
    found.require(
        TimeZone::get(zone).is_ok(),
        "budget.time_zone",
        format!("{zone:?}"),
        fix,
    );
    let starts = &budget.day_starts;
    let fits = starts.len() == 5 && Time::strptime("%H:%M", starts).is_ok();
    let fix = "expected HH:MM, for example \"00:00\"";
    found.require(fits, "budget.day_starts", format!("{starts:?}"), fix);
}

fn limit_setting(key: &str, limit: &LimitSetting, found: &mut Findings) {
    let amounts: Vec<(String, Decimal)> = match limit {
        LimitSetting::Main(amount) => vec![(key.to_owned(), *amount)],
        LimitSetting::ByUnit(amounts) => {
            for unit in amounts
                .keys()
                .filter(|unit| Unit::from_name(unit).is_none())
            {
                let units = Unit::ALL.map(Unit::as_str).join(", ");
                let fix = format!("there is no unit {unit:?}; the units are {units}");
                found.require_hidden(false, key, fix);
            }
            amounts
                .iter()
                .map(|(unit, amount)| (format!("{key}.{unit}"), *amount))
                .collect()
        }
    };
    for (key, amount) in amounts {
        let fix = format!("expected {LIMIT_RANGE}");
        found.require(is_limit(amount), &key, amount, &fix);
    }
}

/// The address itself is the secret: it is never shown.
fn hook(config: &Config, found: &mut Findings) {
    let (budget, key) = (&config.budget, "budget.alert_hook");
    positive(
        found,
        "budget.alert_hook_timeout",
        budget.alert_hook_timeout,
    );
    let Some(hook) = &budget.alert_hook else {
        return;
    };
    let fits = Url::parse(hook.expose_secret()).is_ok_and(|url| {
        let plain = url.scheme() == "http" && is_loopback(&url) && config.storage.allow_private;
        (url.scheme() == "https" || plain) && url.has_host() && has_no_credentials(&url)
    });
    let fix = "expected https://… without a user; http is for loopback hosts with \
               storage.allow_private = true";
    found.require_hidden(fits, key, fix);
}

fn writer(config: &Config, found: &mut Findings) {
    let writer = &config.budget.writer;
    for (key, value, from, to) in [
        ("queue_max", writer.queue_max, 1, 1_000_000),
        (
            "fold_tasks_max",
            writer.fold_tasks_max,
            1,
            COMMIT_MESSAGES_MAX,
        ),
        (
            "fold_messages_max",
            writer.fold_messages_max,
            1,
            COMMIT_MESSAGES_MAX,
        ),
        ("fold_bytes_max", writer.fold_bytes_max, 64 << 10, 64 << 20),
    ] {
        let key = format!("budget.writer.{key}");
        let fits = (from..=to).contains(&value);
        found.require(fits, &key, value, &format!("expected {from} to {to}"));
    }
    let needed = 2 * config.nats.commit_timeout;
    let fix = "at least twice nats.commit_timeout, or a closing never sees a second try";
    let (key, timeout) = ("budget.writer.closing_timeout", writer.closing_timeout);
    positive_from(found, key, timeout, needed, fix);
}
