//! A request becomes a Kling body and a price, from a dated book.
//!
//! Whether the money is there is `decide::admission`'s and the money writer's; what the products
//! need is data in `decide::products`.

mod refusal;
mod plan;
mod wish;
mod check;
mod parameters;
mod body_new;
mod contents;
mod body_legacy;
mod facts;
mod book;
pub(in crate::decide) mod digest;

use jiff::civil::Date;

use crate::model::amount::Amount;
use crate::model::request::KlingCall;
use crate::model::task::Slots;

pub use book::{BookError, Found, PriceBook, Terms};
pub use check::{LABEL_KEY_MAX, LABEL_VALUE_MAX, LABELS_MAX, NOT_BEFORE_MAX, check_not_before};
pub use digest::request_digest;
pub use facts::{Facts, Input, Sound};
pub(in crate::decide) use parameters::{is_media, is_url};
pub use plan::{Generations, PlanOptions, Planned, plan};
pub use refusal::{Refusal, RefusalCode};

/// What a call costs and takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    /// The whole price, held until Kling says what it deducted.
    pub price: Amount,
    /// What it takes at Kling until it ends.
    pub slots: Slots,
}

/// Prices a call, with or without the fields that the dispatcher adds.
///
/// # Errors
/// [`Refusal`] when the body has a field whose effect on the price is unknown, or the book has no
/// price for it on that day.
pub fn price_of(call: &KlingCall, book: &PriceBook, on: Date) -> Result<Priced, Refusal> {
    let facts = Facts::of(call)?;
    let found = book.price(&facts, on).map_err(|reason| {
        let field = if facts.version == facts.product.as_str() {
            "product"
        } else {
            "model"
        };
        Refusal::unknown_price(field, reason)
    })?;
    Ok(Priced {
        price: found.amount,
        slots: facts.slots(),
    })
}
