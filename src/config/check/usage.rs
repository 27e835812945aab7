//! Rules for what units cost and how usage is reported.

use rust_decimal::Decimal;

use super::{Findings, positive};
use crate::config::Config;
use crate::config::duration::text;
use crate::model::amount::Unit;

pub(super) fn usage(config: &Config, found: &mut Findings) {
    let cost = &config.pricing.cost;
    if let Some(currency) = &cost.currency {
        let fits = currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_uppercase());
        let fix = "expected the three letters of a currency, for example \"USD\"";
        found.require(fits, "pricing.cost.currency", format!("{currency:?}"), fix);
    }
    let with_currency = cost.currency.is_some() || cost.rates.is_empty();
    let fix = "is missing: the rates need one, for example \"USD\"";
    found.require_hidden(with_currency, "pricing.cost.currency", fix);
    for (unit, rate) in &cost.rates {
        let key = format!("pricing.cost.rates.{unit}");
        let units = Unit::ALL.map(Unit::as_str).join(", ");
        let fix = format!("there is no such unit; the units are {units}");
        found.require_hidden(Unit::from_name(unit).is_some(), &key, fix);
        found.require(*rate >= Decimal::ZERO, &key, rate, "expected 0 or more");
    }
    let usage = &config.usage;
    positive(found, "usage.digest_every", usage.digest_every);
    positive(found, "usage.report_timeout", usage.report_timeout);
    let limit = config.api.limits.request_timeout;
    let fix = format!("at most api.limits.request_timeout ({})", text(limit));
    let timeout = usage.report_timeout;
    found.require(
        timeout <= limit,
        "usage.report_timeout",
        text(timeout),
        &fix,
    );
    let fits = (1..=100).contains(&usage.reports_max);
    found.require(
        fits,
        "usage.reports_max",
        usage.reports_max,
        "expected 1 to 100",
    );
}
