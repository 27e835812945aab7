//! What a run over Kling's list has found, for a person or a program.

use serde_json::json;

use super::{Findings, Found, LISTED_DAYS, Recovery};
use crate::edge::kling::client::Span;
use crate::model::ids::TaskId;
use crate::ops::output::{Output, table};

impl Recovery<'_> {
    pub(super) fn report(&self, span: Span, findings: &Findings, output: Output) {
        let named = |found: Found| -> Vec<&TaskId> {
            let of = findings.named.iter().filter(|(other, _)| *other == found);
            of.map(|(_, task_id)| task_id).collect()
        };
        let document = json!({
            "from": span.from,
            "to": span.to,
            "counts": findings.counts,
            "told": findings.told,
            "rebuilt": findings.rebuilt.begun,
            "missed": named(Found::Missed),
            "lost": named(Found::Lost),
            "unreadable": named(Found::Unreadable),
            "dry_run": self.args.dry_run,
        });
        let mut rows = vec![vec!["FOUND AT KLING".to_owned(), "TASKS".to_owned()]];
        let row = |(name, count): (&&str, &u64)| vec![(*name).to_owned(), count.to_string()];
        rows.extend(findings.counts.iter().map(row));
        let mut text = table(&rows);
        let lines = [Found::Missed, Found::Lost, Found::Unreadable].map(|found| {
            let ids = named(found).into_iter();
            ids.map(move |id| format!("\n{:<10}  {id}", found.as_str()))
                .collect::<String>()
        });
        text += &lines.concat();
        text += &match (self.args.dry_run, self.args.rebuild) {
            (true, _) => "\nnothing was changed".to_owned(),
            (false, false) => format!("\n{} sent the callbacks' way", findings.told),
            (false, true) => format!(
                "\n{} histories begun anew, {} sent the callbacks' way. What Kling does not list \
                 (never dispatched, voided, or older than {LISTED_DAYS} days) is lost; submit it \
                 again if it is still wanted",
                findings.rebuilt.begun, findings.told
            ),
        };
        output.result(&document, &text);
    }
}
