//! A request and its price → what else would do, for less.
//!
//! Every alternative is a whole request that was planned and priced like any other, so none of them
//! asks for what the model lacks. Models come from the product table and their prices from the
//! book: a new row there is advised by itself.

use std::collections::{BTreeMap, HashMap};

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Map, Value};

use crate::decide::pricing::Planned;
use crate::decide::products::{ModelRow, ProductRow, Resolution};
use crate::model::advice::{Advice, Change, Saving, Strategy};
use crate::model::amount::{Amount, Unit, sum_by_unit};
use crate::model::answer::Estimate;
use crate::model::request::{Duration, TaskRequest};
use crate::model::task::Generation;

/// The length that a first try needs, in seconds: every video model makes it.
const SHORT_S: u32 = 5;

/// Another way to carry out a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// Why.
    pub strategy: Strategy,
    /// What differs from the request.
    pub set: Map<String, Value>,
    /// What it costs.
    pub price: Amount,
}

/// One field set otherwise.
#[derive(Clone, Copy, Debug)]
enum Step {
    Standard,
    Short,
    Silent,
    Model(&'static str, &'static ModelRow),
}

impl Step {
    fn strategy(self) -> Strategy {
        match self {
            Step::Standard => Strategy::StandardForDrafts,
            Step::Short => Strategy::ShorterFirst,
            Step::Silent => Strategy::SkipAudio,
            Step::Model(..) => Strategy::CheaperModel,
        }
    }

    fn take(self, request: &mut TaskRequest) {
        match self {
            Step::Standard => request.mode = Some("standard".to_owned()),
            Step::Short => request.duration = Some(Duration::Text(SHORT_S.to_string())),
            Step::Silent => request.audio = Some(false),
            Step::Model(spelling, _) => request.model = Some(spelling.to_owned()),
        }
    }

    fn set(self) -> (String, Value) {
        match self {
            Step::Standard => ("mode".to_owned(), "standard".into()),
            Step::Short => ("duration".to_owned(), SHORT_S.to_string().into()),
            Step::Silent => ("audio".to_owned(), false.into()),
            Step::Model(spelling, _) => ("model".to_owned(), spelling.into()),
        }
    }
}

/// Lists what else would do for a request: cheaper, or as cheap and faster.
///
/// `plan` plans a request as a submission would be, and returns nothing where that would be
/// refused. `off_peak` tells whether there is a window.
#[must_use]
pub fn alternatives(
    request: &TaskRequest,
    planned: &Planned,
    off_peak: bool,
    plan: impl Fn(&TaskRequest) -> Option<Planned>,
) -> Vec<Alternative> {
    let mut found = Vec::new();
    let mut best: Option<Alternative> = None;
    for steps in combinations(planned) {
        let Some(price) = priced(request, planned, &steps, &plan) else {
            continue;
        };
        let set = steps.iter().map(|step| step.set()).collect();
        let alternative = |strategy| Alternative {
            strategy,
            set,
            price,
        };
        match (steps.as_slice(), price.amount < planned.price.amount) {
            ([step], true) => found.push(alternative(step.strategy())),
            ([Step::Model(_, row)], false) if is_faster(row, planned, price) => {
                found.push(alternative(Strategy::TurboModel));
            }
            ([_], false) | (_, false) => {}
            (_, true) => {
                let better = |best: &Alternative| price.amount < best.price.amount;
                if best.as_ref().is_none_or(better) {
                    best = Some(alternative(Strategy::Together));
                }
            }
        }
    }
    found.extend(timed(request, planned, off_peak, &plan));
    let least = found
        .iter()
        .filter(|one| one.strategy != Strategy::Reuse)
        .map(|one| one.price.amount)
        .min();
    found.extend(best.filter(|best| least.is_none_or(|least| best.price.amount < least)));
    found.sort_by_key(|one| one.strategy);
    found
}

/// Every set of steps that could make a difference, the small ones first.
fn combinations(planned: &Planned) -> Vec<Vec<Step>> {
    let mode = planned.mode.as_deref();
    let standard = [Resolution::P720.as_str(), Resolution::P720.legacy_mode()];
    let seconds: Option<Decimal> = planned.duration.as_ref().and_then(|s| s.parse().ok());
    let mut sets = vec![Vec::new()];
    let mut also = |steps: Vec<Step>| {
        let more = sets.iter().flat_map(|set| {
            let with = |step: &Step| set.iter().copied().chain([*step]).collect();
            steps.iter().map(with).collect::<Vec<Vec<Step>>>()
        });
        let more: Vec<Vec<Step>> = more.collect();
        sets.extend(more);
    };
    if mode.is_some_and(|mode| !standard.contains(&mode)) {
        also(vec![Step::Standard]);
    }
    if seconds.is_some_and(|seconds| seconds > Decimal::from(SHORT_S)) {
        also(vec![Step::Short]);
    }
    if planned.audio {
        also(vec![Step::Silent]);
    }
    // Last, so that of two equally cheap ways the one that keeps the model is taken.
    also(models(planned));
    sets.sort_by_key(Vec::len);
    sets.remove(0);
    sets
}

/// The other models of the product in the same generation: inputs are written the same there.
fn models(planned: &Planned) -> Vec<Step> {
    let rows = ProductRow::of(planned.product).models.iter();
    let spelled = rows.filter_map(|row| {
        let spelling = match planned.generation {
            Generation::New => row.new,
            Generation::Legacy => row.legacy.first().copied(),
        };
        Some(Step::Model(spelling?, row))
    });
    spelled
        .filter(|step| !matches!(step, Step::Model(spelling, _) if *spelling == planned.model))
        .collect()
}

/// Prices a request with these steps, if it can be made and is the same but for them.
fn priced(
    request: &TaskRequest,
    planned: &Planned,
    steps: &[Step],
    plan: &impl Fn(&TaskRequest) -> Option<Planned>,
) -> Option<Amount> {
    let mut changed = request.clone();
    steps.iter().for_each(|step| step.take(&mut changed));
    let with = plan(&changed)?;
    let has = |wanted: fn(&Step) -> bool| steps.iter().any(wanted);
    let same = (has(|step| matches!(step, Step::Standard)) || with.mode == planned.mode)
        && (has(|step| matches!(step, Step::Short)) || with.duration == planned.duration)
        && (has(|step| matches!(step, Step::Silent)) || with.audio == planned.audio);
    (same && with.price.unit == planned.price.unit).then_some(with.price)
}

fn is_faster(row: &ModelRow, planned: &Planned, price: Amount) -> bool {
    let now = ProductRow::of(planned.product).resolve(&planned.model);
    let is_turbo = now.is_some_and(|model| model.rules.is_turbo());
    row.is_turbo() && !is_turbo && price == planned.price
}

/// What does not change the result: when it is made, and whether it is made at all.
fn timed(
    request: &TaskRequest,
    planned: &Planned,
    off_peak: bool,
    plan: &impl Fn(&TaskRequest) -> Option<Planned>,
) -> Vec<Alternative> {
    let mut found = Vec::new();
    let mut one = |strategy, key: &str, price| {
        found.push(Alternative {
            strategy,
            set: Map::from_iter([(key.to_owned(), Value::from(true))]),
            price,
        });
    };
    if off_peak && !request.off_peak {
        let mut changed = request.clone();
        changed.off_peak = true;
        let night = plan(&changed).map(|planned| planned.price);
        if let Some(price) = night.filter(|price| price.amount <= planned.price.amount) {
            one(Strategy::OffPeak, "off_peak", price);
        }
    }
    if !request.reuse && planned.price.amount > Decimal::ZERO {
        let mut changed = request.clone();
        changed.reuse = true;
        if plan(&changed).is_some() {
            one(Strategy::Reuse, "reuse", Amount::zero(planned.price.unit));
        }
    }
    found
}

/// Adds the alternatives of all tasks up: one row for each strategy, and for each model.
///
/// `alternatives` stand in the order of `estimates`.
#[must_use]
pub fn advice(estimates: &[Estimate], alternatives: &[Vec<Alternative>]) -> Vec<Advice> {
    let mut rows = Rows::default();
    for (place, (estimate, of_task)) in estimates.iter().zip(alternatives).enumerate() {
        for one in of_task {
            let saved = estimate.price.amount - one.price.amount;
            let change = Change {
                tasks: vec![place],
                set: one.set.clone(),
            };
            rows.add(one.strategy, change, [Amount::new(saved, one.price.unit)]);
        }
    }
    rows.finish(estimates)
}

/// Joins the advice on the parts of a file, each with its number of tasks, into one on all of it.
#[must_use]
pub fn join(estimates: &[Estimate], parts: &[(usize, Vec<Advice>)]) -> Vec<Advice> {
    let mut rows = Rows::default();
    let mut before = 0;
    for (tasks, advice) in parts {
        // What repeats is found anew: over the parts there may be more.
        for one in advice
            .iter()
            .filter(|one| one.strategy != Strategy::Duplicates)
        {
            let saved: Vec<Amount> = one.saving.iter().map(|saving| saving.amount).collect();
            let mut saved = Some(saved);
            for change in &one.changes {
                let change = Change {
                    tasks: change.tasks.iter().map(|task| task + before).collect(),
                    set: change.set.clone(),
                };
                rows.add(one.strategy, change, saved.take().unwrap_or_default());
            }
        }
        before += tasks;
    }
    rows.finish(estimates)
}

/// Rows by strategy, and by model where that is the strategy.
#[derive(Default)]
struct Rows(BTreeMap<(Strategy, String), (Vec<Change>, Vec<Amount>)>);

impl Rows {
    fn add(&mut self, strategy: Strategy, change: Change, saved: impl IntoIterator<Item = Amount>) {
        let model = match strategy {
            Strategy::CheaperModel | Strategy::TurboModel => change.set["model"].to_string(),
            Strategy::StandardForDrafts
            | Strategy::ShorterFirst
            | Strategy::SkipAudio
            | Strategy::OffPeak
            | Strategy::Reuse
            | Strategy::Duplicates
            | Strategy::Together => String::new(),
        };
        let (changes, sum) = self.0.entry((strategy, model)).or_default();
        match changes.iter_mut().find(|known| known.set == change.set) {
            Some(known) => known.tasks.extend(change.tasks),
            None => changes.push(change),
        }
        sum.extend(saved);
    }

    fn finish(mut self, estimates: &[Estimate]) -> Vec<Advice> {
        let (tasks, saved) = repeats(estimates);
        if !tasks.is_empty() {
            let set = Map::new();
            self.add(Strategy::Duplicates, Change { tasks, set }, saved);
        }
        let total = sum_by_unit(estimates.iter().map(|estimate| estimate.price));
        let rows = self.0.into_iter();
        rows.map(|((strategy, _), (changes, saved))| {
            let saved: BTreeMap<Unit, Decimal> = sum_by_unit(saved)
                .into_iter()
                .map(|amount| (amount.unit, amount.amount))
                .collect();
            let of = |unit| saved.get(&unit).copied().unwrap_or_default();
            let left = |all: &Amount| Amount::new(all.amount - of(all.unit), all.unit);
            Advice {
                strategy,
                changes,
                price: total.iter().map(left).collect(),
                saving: total
                    .iter()
                    .filter_map(|all| saving(*all, of(all.unit)))
                    .collect(),
                up_to: strategy == Strategy::Reuse,
            }
        })
        .collect()
    }
}

/// Finds the tasks that would make the same as an earlier one of the list.
fn repeats(estimates: &[Estimate]) -> (Vec<usize>, Vec<Amount>) {
    let mut seen = HashMap::new();
    let again = |(place, estimate): (usize, &Estimate)| {
        let key = estimate.reuse_key.clone()?;
        let first = *seen.entry(key).or_insert(place);
        (first != place).then_some((place, estimate.price))
    };
    estimates.iter().enumerate().filter_map(again).unzip()
}

fn saving(all: Amount, saved: Decimal) -> Option<Saving> {
    let left = all.amount - saved;
    (saved > Decimal::ZERO).then(|| Saving {
        amount: Amount::new(saved, all.unit),
        percent: rounded(saved * Decimal::ONE_HUNDRED / all.amount, 1),
        times: (left > Decimal::ZERO).then(|| rounded(all.amount / left, 2)),
    })
}

fn rounded(number: Decimal, places: u32) -> Decimal {
    let half_up = RoundingStrategy::MidpointAwayFromZero;
    number.round_dp_with_strategy(places, half_up).normalize()
}
