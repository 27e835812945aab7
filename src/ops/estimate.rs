//! `estimate`: what requests would cost, and whether the day allows them; nothing is submitted.

use super::batch::split;
use super::connect::Connected;
use super::output::Output;
use super::requests;
use crate::cli::EstimateArgs;
use crate::edge::nats::topology;
use crate::model::amount::{Amount, sum_by_unit};
use crate::model::answer::Estimates;
use crate::model::ids::Tenant;

/// Prices one request or a file. Returns whether the budget allows all of it.
///
/// # Errors
/// The service's refusal, or that there is none.
pub async fn run(link: &Connected, args: &EstimateArgs, output: Output) -> anyhow::Result<bool> {
    let tenant = Tenant::parse(&args.tenant.tenant)?;
    let tasks = match &args.file {
        Some(file) => requests::from_file_at(file, args.request.off_peak)?,
        None => vec![requests::from_args(&args.request)?],
    };
    let estimates = ask(link, &tenant, &split(&tasks)?).await?;
    print(&estimates, output);
    Ok(true)
}

/// Asks for the price of the parts of a file.
///
/// # Errors
/// The service's refusal, or that there is none.
pub async fn ask(
    link: &Connected,
    tenant: &Tenant,
    parts: &[Vec<u8>],
) -> anyhow::Result<Estimates> {
    let mut estimates = Vec::new();
    let mut allowed = true;
    let mut remaining: Vec<Amount> = Vec::new();
    for part in parts {
        let subject = topology::estimate_subject(tenant);
        let answer: Estimates = link.ask(subject, part.clone(), None).await?;
        estimates.extend(answer.estimates);
        allowed &= answer.allowed;
        let new = |left: &Amount| remaining.iter().all(|known| known.unit != left.unit);
        let news: Vec<Amount> = answer
            .remaining
            .iter()
            .filter(|left| new(left))
            .copied()
            .collect();
        remaining.extend(news);
    }
    // Each part may fit by itself and all of them not.
    let total = sum_by_unit(estimates.iter().copied());
    let fits = |needed: &Amount| {
        remaining
            .iter()
            .any(|left| left.unit == needed.unit && needed.amount <= left.amount)
    };
    allowed &= parts.len() == 1 || total.iter().all(fits);
    Ok(Estimates {
        estimates,
        total,
        allowed,
        remaining,
    })
}

/// Prints estimates.
pub fn print(estimates: &Estimates, output: Output) {
    output.result(estimates, &text(estimates));
}

/// Says estimates in words.
#[must_use]
pub fn text(estimates: &Estimates) -> String {
    let total: Vec<String> = estimates.total.iter().map(ToString::to_string).collect();
    let tasks = match estimates.estimates.len() {
        1 => "1 task".to_owned(),
        n => format!("{n} tasks"),
    };
    let allowed = if estimates.allowed {
        "allows it"
    } else {
        "does NOT allow it"
    };
    format!("{tasks}: {}; today's budget {allowed}", total.join(" + "))
}
