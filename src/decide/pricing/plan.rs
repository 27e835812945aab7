//! From a request to the call that creates the task, its price and its slots.

use jiff::civil::Date;

use crate::decide::products::{
    LegacyEndpoint, Model, ModelRow, NewEndpoint, ProductRow, is_known_spelling,
};
use crate::model::amount::Amount;
use crate::model::request::{KlingCall, Product, Purpose, TaskRequest};
use crate::model::task::{Generation, Slots};

use super::refusal::{Refusal, shorten};
use super::wish::{self, Wish};
use super::{PriceBook, body_legacy, body_new, check, price_of, request_digest};

/// Which of Kling's API generations can be called with the credentials at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generations {
    /// Both: there is an API key.
    Both,
    /// The legacy one only: there are an access key and a secret key, but no API key.
    LegacyOnly,
}

/// What a plan depends on beside the request and the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Which generations can be called.
    pub generations: Generations,
    /// The day on which the price is taken.
    pub on: Date,
    /// What a request without a purpose counts as.
    pub default_purpose: Purpose,
}

/// A request that can be carried out: what is sent, what it costs, what it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What is made.
    pub product: Product,
    /// The call that creates the task, but for `callback_url` and `external_task_id`.
    pub call: KlingCall,
    /// The whole price.
    pub price: Amount,
    /// What it takes at Kling until it ends.
    pub slots: Slots,
    /// Which generation creates it.
    pub generation: Generation,
    /// In Kling's spelling; the product's name where there are no models.
    pub model: String,
    /// Resolution or mode in Kling's words, where the product has one.
    pub mode: Option<String>,
    /// Seconds asked for, where the product has a length of its own.
    pub duration: Option<String>,
    /// Whether the result has sound.
    pub audio: bool,
    /// sha256 of the normalised request: the same idempotency key must bring the same one.
    pub request_digest: String,
}

/// Where and with which model a request is carried out.
pub(super) struct Choice {
    pub(super) row: &'static ProductRow,
    pub(super) spelling: String,
    pub(super) model: Model,
}

impl Choice {
    pub(super) fn rules(&self) -> &'static ModelRow {
        self.model.rules
    }

    /// Returns the new endpoint, if that is where the model stands.
    pub(super) fn new_endpoint(&self) -> Option<&'static NewEndpoint> {
        match self.model.generation {
            Generation::New => self.row.new.as_ref(),
            Generation::Legacy => None,
        }
    }

    pub(super) fn legacy(&self) -> &'static LegacyEndpoint {
        &self.row.legacy
    }
}

/// Plans a request: checks every field, builds the body, prices it and counts its slots.
///
/// When `not_before` is allowed depends on the clock: see [`super::check_not_before`].
///
/// # Errors
/// [`Refusal`] that names the field and the fix.
pub fn plan(
    request: &TaskRequest,
    book: &PriceBook,
    options: &PlanOptions,
) -> Result<Planned, Refusal> {
    check::labels(&request.labels)?;
    let row = ProductRow::of(request.product);
    let choice = choose(row, request.model.as_deref(), book, options.generations)?;
    let wish = wish::read(request, &choice, options.default_purpose)?;
    let call = match choice.new_endpoint() {
        Some(endpoint) => body_new::build(&choice, endpoint, &wish, &request.parameters)?,
        None => body_legacy::build(&choice, &wish, &request.parameters)?,
    };
    let priced = price_of(&call, book, options.on)?;
    Ok(Planned {
        product: request.product,
        price: priced.price,
        slots: priced.slots,
        generation: choice.model.generation,
        mode: mode(&choice, &wish),
        duration: duration(&call),
        audio: wish.audio,
        request_digest: request_digest(request),
        model: choice.spelling,
        call,
    })
}

fn mode(choice: &Choice, wish: &Wish<'_>) -> Option<String> {
    let resolution = wish.resolution?;
    Some(match choice.model.generation {
        Generation::New => resolution.as_str().to_owned(),
        Generation::Legacy => resolution.legacy_mode().to_owned(),
    })
}

/// Reads the length from the body, where it stands as it is sent.
fn duration(call: &KlingCall) -> Option<String> {
    let settings = call
        .body
        .get("settings")
        .and_then(|settings| settings.get("duration"));
    settings.or_else(|| call.body.get("duration")).map(|value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    })
}

fn choose(
    row: &'static ProductRow,
    asked: Option<&str>,
    book: &PriceBook,
    generations: Generations,
) -> Result<Choice, Refusal> {
    let product = row.product;
    let new_too = generations == Generations::Both;
    let default = row.default_new.filter(|_| new_too).or(row.default_legacy);
    let Some(spelling) = (match default {
        Some(default) => Some(asked.unwrap_or(default)),
        None if asked.is_none() => None,
        None => {
            let message = format!("{product} has no choice of model; leave model out");
            return Err(Refusal::invalid("model", message));
        }
    }) else {
        return Ok(without_model(row));
    };
    let offers = || row.spellings(new_too).join(", ");
    if row.discontinued.contains(&spelling) {
        let message = format!(
            "Kling has discontinued {spelling} on 2026-09-15; use one of {}",
            offers()
        );
        return Err(Refusal::invalid("model", message));
    }
    let shown = shorten(spelling);
    let unknown = || {
        let message = format!(
            "nothing is known about the price of model {shown:?}; {product} takes {}, and a price \
             book of your own can add others",
            offers()
        );
        Refusal::unknown_price("model", message)
    };
    let model = row.resolve(spelling).ok_or_else(unknown)?;
    if !model.known && is_known_spelling(spelling) {
        let message = format!("{product} does not offer {shown}; it offers {}", offers());
        return Err(Refusal::invalid("model", message));
    }
    if !model.known && !book.declares(&model.version) {
        return Err(unknown());
    }
    if model.generation == Generation::New && (row.new.is_none() || !new_too) {
        let why = if row.new.is_none() {
            format!("{product} stands on Kling's legacy API only")
        } else {
            "it stands on Kling's new API, which needs kling.api_key".to_owned()
        };
        let message = format!("{shown} cannot be used: {why}; use one of {}", offers());
        return Err(Refusal::invalid("model", message));
    }
    Ok(Choice {
        row,
        spelling: spelling.to_owned(),
        model,
    })
}

fn without_model(row: &'static ProductRow) -> Choice {
    let rules = &row.models[0];
    Choice {
        row,
        spelling: rules.version.to_owned(),
        model: Model {
            version: rules.version.to_owned(),
            generation: Generation::Legacy,
            rules,
            known: true,
        },
    }
}
