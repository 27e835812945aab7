//! What a caller could do to pay less, or to be served sooner.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::amount::Amount;

/// Ways to spend less, in the order in which they are shown.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Standard mode for drafts; render the chosen ones again in full.
    StandardForDrafts,
    /// Five seconds first; make the chosen ones longer afterwards.
    ShorterFirst,
    /// Another version of the model that makes the same for less.
    CheaperModel,
    /// A turbo version of the model at the same price: it is made faster.
    TurboModel,
    /// Without sound; add it in post-production.
    SkipAudio,
    /// In the off-peak window: the same price, made faster.
    OffPeak,
    /// Answered by an earlier result of the same prompt and parameters, if there is one.
    Reuse,
    /// Tasks that repeat another one of the batch exactly: leave them out.
    Duplicates,
    /// The cheapest combination of the changes of mode, length, sound and model.
    Together,
}

/// One way to spend less, over all tasks that were asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    /// Which way.
    pub strategy: Strategy,
    /// What to set in which tasks.
    pub changes: Vec<Change>,
    /// What all tasks would cost then, by unit.
    pub price: Vec<Amount>,
    /// What that saves, by unit; nothing where it is only faster.
    pub saving: Vec<Saving>,
    /// Whether the saving is the most that it can be: it depends on earlier results.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub up_to: bool,
}

/// Fields to set in some of the tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Which tasks, counted from 0.
    pub tasks: Vec<usize>,
    /// The fields and their values. The request with them is valid and was priced as it stands.
    /// Empty: leave the task out.
    pub set: Map<String, Value>,
}

/// What is saved of one unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Saving {
    /// How much.
    #[serde(flatten)]
    pub amount: Amount,
    /// As a share of the price, in percent.
    #[schemars(with = "String")]
    pub percent: Decimal,
    /// The price divided by what is left of it; absent where nothing is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub times: Option<Decimal>,
}
