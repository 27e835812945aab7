//! `usage drift`: what Kling takes beside what we estimate.

use futures::StreamExt;

use super::{Range, portions};
use crate::decide::pricing::PriceBook;
use crate::decide::usage::Drifts;
use crate::edge::nats::log::Log;
use crate::model::ids::Day;
use crate::model::usage::{Drift, DriftReport};
use crate::ops::output::{Output, figures_table};

/// Columns that are words.
const WORDS: usize = 5;

pub(super) async fn run(
    log: &Log,
    range: &Range,
    book: &PriceBook,
    today: Day,
    output: Output,
) -> anyhow::Result<bool> {
    let mut drifts = Drifts::default();
    let mut portions = std::pin::pin!(portions(log, range).await?);
    while let Some(portion) = portions.next().await {
        for cell in &portion?.cells {
            drifts.add(cell)?;
        }
    }
    let (drifts, agreeing) = drifts.into_rows(book, today.0);
    let report = DriftReport {
        from: range.from,
        to: range.to,
        tenant: range.tenant.as_ref().map(ToString::to_string),
        label: range.label_text(),
        book: book.name().to_owned(),
        agreeing,
        drifts,
    };
    output.result(&report, &shown(&report));
    Ok(true)
}

fn shown(report: &DriftReport) -> String {
    let agreeing = match report.agreeing {
        0 => String::new(),
        1 => "1 kind of task was billed as estimated".to_owned(),
        count => format!("{count} kinds of task were billed as estimated"),
    };
    let head = format!("{} to {}", report.from, report.to);
    if report.drifts.is_empty() {
        let nothing = "nothing was billed otherwise than estimated";
        let parts = [format!("{head}: {nothing}"), agreeing];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        return parts.collect::<Vec<_>>().join("\n");
    }
    let heading = [
        "PRODUCT",
        "MODEL",
        "MODE",
        "SECONDS",
        "SOUND",
        "TASKS",
        "ESTIMATED",
        "BILLED",
        "RATIO",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(report.drifts.iter().map(row));
    let mut lines = vec![head, figures_table(&rows, WORDS)];
    lines.extend(report.drifts.iter().map(|drift| {
        let kind = format!("{} {}", drift.product, drift.model);
        match &drift.suggestion {
            Some(suggestion) => format!("{kind}: {suggestion}"),
            None => {
                format!("{kind}: drifts by design, since the longest that Kling documents is held")
            }
        }
    }));
    lines.dedup();
    lines.extend((!agreeing.is_empty()).then_some(agreeing));
    lines.join("\n")
}

fn row(drift: &Drift) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        drift.product.to_string(),
        drift.model.clone(),
        or_none(drift.mode.clone()),
        or_none(drift.duration.clone()),
        if drift.audio { "on" } else { "off" }.to_owned(),
        drift.tasks.to_string(),
        drift.estimated.to_string(),
        drift.billed.to_string(),
        or_none(drift.ratio.map(|ratio| ratio.to_string())),
    ]
}
