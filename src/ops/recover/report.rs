//! What a run over Kling's list has found, for a person or a program.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::found::{Findings, Found};
use super::{LISTED_DAYS, Recovery};
use crate::edge::kling::client::Span;
use crate::ops::output::{Output, table};

/// What Kling cannot tell, so that no rebuild brings it back.
const LOST: [&str; 6] = [
    "prompts and parameters",
    "labels",
    "models",
    "tasks that never reached Kling, and their holds",
    "voids",
    "holds of tasks that are still being made",
];

impl Recovery<'_> {
    pub(super) fn report(&self, span: Span, findings: &Findings, output: Output) {
        let cut = self.cut(span);
        let counts = findings.counts.iter();
        let counts: BTreeMap<_, _> = counts.map(|(found, n)| (found.as_str(), n)).collect();
        let named = findings.named.iter().filter(|(_, ids)| !ids.is_empty());
        let named: BTreeMap<_, _> = named.map(|(found, ids)| (found.as_str(), ids)).collect();
        let lost: &[&str] = if self.args.rebuild { &LOST } else { &[] };
        let document = json!({
            "from": span.from,
            "to": span.to,
            "asked_from": cut,
            "counts": counts,
            "named": named,
            "other_tenants": findings.other_tenants,
            "told": findings.told,
            "rebuilt": findings.begun,
            "lost": lost,
            "dry_run": self.args.dry_run,
        });
        let mut text = found(findings);
        if let Some(asked) = cut {
            text += &format!(
                "\nKling lists tasks for {LISTED_DAYS} days: nothing from {asked} to {} was \
                 looked at",
                span.from
            );
        }
        text += &match (self.args.dry_run, self.args.rebuild) {
            (true, _) => "\nnothing was changed".to_owned(),
            (false, false) => format!("\n{} sent the callbacks' way", findings.told),
            (false, true) => format!(
                "\n{} histories begun anew, {} sent the callbacks' way",
                findings.begun, findings.told
            ),
        };
        if self.args.rebuild {
            text += &format!(
                "\nlost: {}; and all of what is older than {LISTED_DAYS} days. Submit again what \
                 is still wanted",
                LOST.join(", ")
            );
        }
        output.result(&document, &text);
    }

    /// Returns the `--from` that was asked for, where Kling's list does not reach back to it.
    fn cut(&self, span: Span) -> Option<Timestamp> {
        let asked: Timestamp = self.args.from.as_deref()?.parse().ok()?;
        (asked < span.from).then_some(asked)
    }
}

fn found(findings: &Findings) -> String {
    let mut rows = vec![vec!["FOUND AT KLING".to_owned(), "TASKS".to_owned()]];
    let row = |(found, count): (&Found, &u64)| vec![found.as_str().to_owned(), count.to_string()];
    rows.extend(findings.counts.iter().map(row));
    let mut text = table(&rows);
    for (found, ids) in &findings.named {
        for id in ids {
            text += &format!("\n{:<12}  {id}", found.as_str());
        }
        let count = findings.counts.get(found).copied().unwrap_or_default();
        let more = count.saturating_sub(ids.len() as u64);
        if *found != Found::Known && more > 0 {
            text += &format!("\n{:<12}  and {more} more", found.as_str());
        }
    }
    for (tenant, count) in &findings.other_tenants {
        text += &format!(
            "\n{:<12}  {tenant}: {count}; left alone, use --tenant {tenant} if it is yours",
            Found::OtherTenant.as_str()
        );
    }
    if findings.counts.contains_key(&Found::Contradicts) {
        text += "\ncontradicts: it ended otherwise here, and that stands; `kling-relay reconcile` \
                 compares the money";
    }
    text
}
