//! `estimate`: what requests would cost, whether the day allows them, and what would be cheaper;
//! nothing is submitted.

use super::batch::{body, split};
use super::connect::Connected;
use super::output::Output;
use super::{advice, requests};
use crate::cli::EstimateArgs;
use crate::decide::estimate::{join, over};
use crate::edge::nats::topology;
use crate::model::amount::{Amount, Unit};
use crate::model::answer::{Estimate, Estimates};
use crate::model::ids::Tenant;

/// Prices one request or a file. What the budget says of it is printed, and no failure.
///
/// # Errors
/// The service's refusal, or that there is none.
pub async fn run(link: &Connected, args: &EstimateArgs, output: Output) -> anyhow::Result<bool> {
    let tenant = Tenant::parse(&args.tenant.tenant)?;
    let tasks = match &args.file {
        Some(file) => requests::from_file_at(file, args.request.off_peak)?,
        None => vec![requests::from_args(&args.request)?],
    };
    let estimates = ask(link, &tenant, &split(&tasks)?, args.advise).await?;
    print(&estimates, output);
    Ok(true)
}

/// Asks for the price of the parts of a file, and joins the answers.
///
/// # Errors
/// The service's refusal, or that there is none.
pub async fn ask(
    link: &Connected,
    tenant: &Tenant,
    parts: &[String],
    advise: bool,
) -> anyhow::Result<Estimates> {
    let mut answers = Vec::with_capacity(parts.len());
    for part in parts {
        let subject = topology::estimate_subject(tenant);
        let answer: Estimates = link.ask(subject, body(part, advise), None).await?;
        answers.push(answer);
    }
    Ok(join(answers))
}

/// Prints estimates, and the advice if there is any.
pub fn print(estimates: &Estimates, output: Output) {
    let verdict = match over(estimates) {
        Some(over) => over.message,
        None => "The budget allows it.".to_owned(),
    };
    let mut text = format!("{}\n{verdict}", figures(estimates));
    if let Some(of_all) = &estimates.advice {
        text += &format!("\n\n{}", advice::text(of_all, estimates.estimates.len()));
    }
    output.result(estimates, &text);
}

/// Says what it costs and what is left, in two lines.
#[must_use]
pub fn figures(estimates: &Estimates) -> String {
    let price = match estimates.estimates.as_slice() {
        [one] => format!("1 task: {} ({})", one.price, made(one)),
        all => format!("Batch estimate: {}", sum(all, &estimates.total)),
    };
    let remaining = amounts(&estimates.remaining);
    format!("{price}\nBudget remaining: {remaining}")
}

/// `12 videos x 3 video-unit = 36 video-unit`, or the sum alone where prices differ.
fn sum(all: &[Estimate], total: &[Amount]) -> String {
    let videos = all.iter().all(|task| task.price.unit == Unit::Video);
    let noun = if videos { "videos" } else { "tasks" };
    let (count, total) = (all.len(), amounts(total));
    match all.first().map(|first| first.price) {
        Some(price) if all.iter().all(|task| task.price == price) => {
            format!("{count} {noun} x {price} = {total}")
        }
        _ => format!("{count} {noun} = {total}"),
    }
}

/// Says what is made for the price.
fn made(task: &Estimate) -> String {
    let seconds = task.duration.as_ref().map(|seconds| format!("{seconds} s"));
    let sound = task.audio.then(|| "with sound".to_owned());
    let parts = [Some(task.model.clone()), task.mode.clone(), seconds, sound];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Lists amounts.
#[must_use]
pub fn amounts(amounts: &[Amount]) -> String {
    let words: Vec<String> = amounts.iter().map(ToString::to_string).collect();
    words.join(" + ")
}
