//! Estimates beside Kling's own figures, and what that says about the price book.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::decide::pricing::PriceBook;
use crate::decide::products::ProductRow;
use crate::model::amount::{Amount, Unit};
use crate::model::request::Product;
use crate::model::usage::{Drift, UsageCell};

use super::TooManyGroups;
use super::report::GROUPS_MAX;

/// What is estimated alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    product: Product,
    model: String,
    mode: Option<String>,
    duration: Option<String>,
    audio: bool,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    tasks: i64,
    estimated: Decimal,
    billed: Decimal,
}

/// Adds up what can be compared, by kind of task.
#[derive(Debug, Default)]
pub struct Drifts {
    kinds: BTreeMap<Kind, Figures>,
}

impl Drifts {
    /// Adds a cell.
    ///
    /// # Errors
    /// [`TooManyGroups`] when it would be one kind too many.
    pub fn add(&mut self, cell: &UsageCell) -> Result<(), TooManyGroups> {
        let (key, figures) = (&cell.key, &cell.figures);
        let (Some(product), Some(model)) = (key.product, &key.model) else {
            return Ok(());
        };
        for (unit, billed) in &figures.billed {
            let kind = Kind {
                product,
                model: model.clone(),
                mode: key.mode.clone(),
                duration: key.duration.clone(),
                audio: key.audio.unwrap_or_default(),
                unit: *unit,
            };
            if !self.kinds.contains_key(&kind) && self.kinds.len() >= GROUPS_MAX {
                return Err(TooManyGroups);
            }
            let sum = self.kinds.entry(kind).or_default();
            sum.tasks += figures.compared;
            sum.estimated += figures.estimated.get(unit).copied().unwrap_or_default();
            sum.billed += *billed;
        }
        Ok(())
    }

    /// Returns the kinds that Kling bills otherwise than estimated, in order, and how many it bills
    /// just so. The suggestions speak of the book as it is on `today`.
    #[must_use]
    pub fn into_rows(self, book: &PriceBook, today: Date) -> (Vec<Drift>, usize) {
        let compared = self.kinds.into_iter().filter(|(_, sum)| sum.tasks > 0);
        let (drifting, agreeing): (Vec<_>, Vec<_>) =
            compared.partition(|(_, sum)| sum.estimated != sum.billed);
        let rows = drifting
            .into_iter()
            .map(|(kind, sum)| row(kind, sum, book, today));
        (rows.collect(), agreeing.len())
    }
}

fn row(kind: Kind, sum: Figures, book: &PriceBook, today: Date) -> Drift {
    let ratio = sum.billed.checked_div(sum.estimated);
    let by_design = ProductRow::holds_maximum(kind.product);
    let suggestion = match by_design {
        true => None,
        false => Some(suggestion(&kind, sum, book, today)),
    };
    Drift {
        product: kind.product,
        model: kind.model,
        mode: kind.mode,
        duration: kind.duration,
        audio: kind.audio,
        tasks: sum.tasks,
        estimated: Amount::new(sum.estimated, kind.unit),
        billed: Amount::new(sum.billed, kind.unit),
        ratio: ratio.map(|ratio| ratio.round_dp(4).normalize()),
        by_design,
        suggestion,
    }
}

/// Says what to write into a book, in the book's own terms where the estimates follow one of its
/// rows, else by the task.
fn suggestion(kind: &Kind, sum: Figures, book: &PriceBook, today: Date) -> String {
    let tasks = Decimal::from(sum.tasks);
    let seconds = kind.duration.as_deref().and_then(|text| text.parse().ok());
    let each = Amount::new(sum.estimated / tasks, kind.unit);
    let terms = book.terms_of(
        (kind.product, &kind.model),
        (kind.mode.as_deref(), kind.audio),
        (seconds, each),
        today,
    );
    let Some(terms) = terms else {
        let per_task = (sum.billed / tasks).round_dp(4).normalize();
        return format!(
            "Kling takes {per_task} {} a task on average, {} does not say {}: give it a row in a \
             book of your own",
            kind.unit,
            book.name(),
            each.amount.round_dp(4).normalize(),
        );
    };
    let taken = terms.amount * sum.billed / sum.estimated;
    let taken = taken.round_dp(4).normalize();
    format!(
        "{} says {} {} {}, Kling takes {taken}: set {} in a book of your own ({})",
        book.name(),
        terms.amount.normalize(),
        kind.unit,
        terms.per,
        terms.setting(taken),
        terms.place,
    )
}
