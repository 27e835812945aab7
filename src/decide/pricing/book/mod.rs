//! Price books: versioned data files with effective dates and sources.

mod check;
mod terms;
mod text;

pub use terms::Terms;

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::decide::ledger::Limits;
use crate::decide::products::Resolution;
use crate::model::amount::{Amount, Unit};
use crate::model::request::Product;

use super::facts::{Facts, Input, Sound};

/// Why a price book cannot be used. Nothing else of the program starts without one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// No book of that name is built in.
    #[error("no price book is called {name:?}; built in: {}", PriceBook::NAMES.join(", "))]
    NotBuiltIn {
        /// The name asked for.
        name: String,
    },
    /// The text is not TOML of the right form.
    #[error("the price book cannot be read: {message}")]
    Syntax {
        /// What the parser says, with the line.
        message: String,
    },
    /// A value makes no sense.
    #[error("price book {book}: {place}: {problem}")]
    Invalid {
        /// The book's name.
        book: String,
        /// Which row, counted from 1, or which key.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A row names a model that no product has and that the book does not declare.
    #[error(
        "price book {book}: {place}: no product has a model {model:?}; add it to extra_models \
             if Kling does"
    )]
    UnknownModel {
        /// The book's name.
        book: String,
        /// Which row, counted from 1.
        place: String,
        /// The model.
        model: String,
    },
    /// Two rows answer the same question on the same day.
    #[error(
        "price book {book}: {first} and {second} overlap: narrow one, or end it with \
             effective_until"
    )]
    Overlap {
        /// The book's name.
        book: String,
        /// One row, counted from 1.
        first: String,
        /// The other row.
        second: String,
    },
    /// Something that Kling offers has neither a price nor a row that says so.
    #[error(
        "price book {book}: nothing says what {what} costs on {day}: add a row, or one with \
             `unpriced`"
    )]
    Gap {
        /// The book's name.
        book: String,
        /// What has no price.
        what: String,
        /// The first day on which it has none.
        day: Date,
    },
}

/// What a row's amount is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
enum Per {
    #[serde(rename = "second")]
    Second,
    /// Started blocks of five seconds.
    #[serde(rename = "5-seconds")]
    FiveSeconds,
    #[serde(rename = "call")]
    Call,
    #[serde(rename = "image")]
    Image,
}

/// Which facts a row speaks of; `None` speaks of all.
#[derive(Clone, Debug, Default)]
struct When {
    products: Option<Vec<Product>>,
    models: Option<Vec<String>>,
    sounds: Option<Vec<Sound>>,
    inputs: Option<Vec<Input>>,
    resolutions: Option<Vec<Resolution>>,
    seconds: Option<Vec<u32>>,
}

/// What a row says.
#[derive(Clone, Debug)]
enum Price {
    Known {
        per: Per,
        amount: Amount,
    },
    /// Known to be unknown, and why.
    Unknown(String),
}

#[derive(Clone, Debug)]
struct Row {
    /// For messages: `price 3`, counted from 1 as in the file.
    place: String,
    when: When,
    price: Price,
    /// First day; none: for ever before.
    from: Option<Date>,
    /// First day on which it no longer holds.
    until: Option<Date>,
    source: String,
}

/// Prices by facts and day, and the limits that go with them.
#[derive(Clone, Debug)]
pub struct PriceBook {
    name: String,
    effective_from: Date,
    source: String,
    main_unit: Unit,
    daily_limits: Limits,
    extra_models: Vec<String>,
    rows: Vec<Row>,
    side_calls: Vec<(String, Amount)>,
}

/// A price, and which row of which source it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The whole price.
    pub amount: Amount,
    /// Where the row's figure comes from.
    pub source: &'a str,
}

impl PriceBook {
    /// The names of the built-in books.
    pub const NAMES: [&'static str; 2] = ["official-2026-09", "seed-credits-v1"];

    /// Returns a built-in book.
    ///
    /// # Errors
    /// [`BookError::NotBuiltIn`] for a name that is none of [`PriceBook::NAMES`].
    pub fn named(name: &str) -> Result<PriceBook, BookError> {
        let text = match name {
            "official-2026-09" => include_str!("../../books/official-2026-09.toml"),
            "seed-credits-v1" => include_str!("../../books/seed-credits-v1.toml"),
            _ => {
                return Err(BookError::NotBuiltIn {
                    name: name.to_owned(),
                });
            }
        };
        PriceBook::parse(text)
    }

    /// Reads and checks a book.
    ///
    /// # Errors
    /// [`BookError`] that names the row and what to do about it: bad syntax, values out of range,
    /// unknown models, overlaps and gaps.
    pub fn parse(text: &str) -> Result<PriceBook, BookError> {
        let book = text::read(text)?;
        check::models(&book)?;
        check::overlaps(&book)?;
        check::gaps(&book)?;
        Ok(book)
    }

    /// Returns the book's name, as estimates carry it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the day since which its figures are known to hold.
    #[must_use]
    pub fn effective_from(&self) -> Date {
        self.effective_from
    }

    /// Returns where the book comes from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the unit that a bare number in `budget.daily_limit` counts.
    #[must_use]
    pub fn main_unit(&self) -> Unit {
        self.main_unit
    }

    /// Returns the limits that hold where the configuration names none.
    #[must_use]
    pub fn daily_limits(&self) -> &Limits {
        &self.daily_limits
    }

    /// Tells whether the book declares a model version that the product table does not know.
    #[must_use]
    pub fn declares(&self, version: &str) -> bool {
        self.extra_models.iter().any(|extra| extra == version)
    }

    /// Returns the price of one of Kling's synchronous calls, which are never tasks of ours:
    /// `tts`, `face-recognition`, `image-recognition`.
    #[must_use]
    pub fn side_call(&self, name: &str) -> Option<Amount> {
        let found = self.side_calls.iter().find(|(call, _)| call == name);
        found.map(|(_, amount)| *amount)
    }

    /// Returns what something costs on a day.
    ///
    /// # Errors
    /// The reason why the price is not known, in words for the caller.
    pub fn price(&self, facts: &Facts, on: Date) -> Result<Found<'_>, String> {
        let mut matching = self.rows.iter().filter(|row| row.speaks_of(facts, on));
        let Some(row) = matching.find(|row| matches!(row.price, Price::Known { .. })) else {
            let unknown = self.rows.iter().find(|row| row.speaks_of(facts, on));
            let reason = match unknown.map(|row| &row.price) {
                Some(Price::Unknown(reason)) => format!(": {reason}"),
                Some(Price::Known { .. }) | None => String::new(),
            };
            return Err(format!(
                "{} has no price for {}{reason}",
                self.name,
                describe(facts)
            ));
        };
        let Price::Known { per, amount } = &row.price else {
            return Err(format!(
                "{} has no price for {}",
                self.name,
                describe(facts)
            ));
        };
        let times = match per {
            Per::Call => Decimal::ONE,
            Per::Image => Decimal::from(facts.images),
            Per::Second | Per::FiveSeconds => {
                let Some(seconds) = facts.seconds else {
                    return Err(format!(
                        "{} prices {} by length, and it has none",
                        self.name,
                        describe(facts)
                    ));
                };
                match per {
                    Per::FiveSeconds => (seconds / Decimal::from(5)).ceil(),
                    Per::Second | Per::Call | Per::Image => seconds,
                }
            }
        };
        let total = amount.amount.checked_mul(times);
        let total = total.ok_or_else(|| format!("{}: the price is too large", self.name))?;
        Ok(Found {
            amount: Amount::new(total, amount.unit),
            source: &row.source,
        })
    }
}

impl When {
    /// Tells whether the facts are meant, whatever their length.
    fn means(&self, facts: &Facts) -> bool {
        fn any<T: PartialEq>(list: Option<&Vec<T>>, value: Option<&T>) -> bool {
            list.is_none_or(|list| value.is_some_and(|value| list.contains(value)))
        }
        any(self.products.as_ref(), Some(&facts.product))
            && any(self.models.as_ref(), Some(&facts.version))
            && any(self.sounds.as_ref(), Some(&facts.sound))
            && any(self.inputs.as_ref(), Some(&facts.input))
            && any(self.resolutions.as_ref(), facts.resolution.as_ref())
    }

    fn means_length(&self, facts: &Facts) -> bool {
        self.seconds.as_ref().is_none_or(|lengths| {
            lengths
                .iter()
                .any(|length| facts.seconds == Some(Decimal::from(*length)))
        })
    }
}

impl Row {
    fn holds_on(&self, day: Date) -> bool {
        self.from.is_none_or(|from| from <= day) && self.until.is_none_or(|until| day < until)
    }

    fn speaks_of(&self, facts: &Facts, on: Date) -> bool {
        self.holds_on(on) && self.when.means(facts) && self.when.means_length(facts)
    }
}

/// Puts facts into words: `text-to-video with model 2.6 at 720p, 5 s, native sound`.
fn describe(facts: &Facts) -> String {
    let mut words = facts.product.to_string();
    if facts.version != facts.product.as_str() {
        words += &format!(" with model {}", facts.version);
    }
    if let Some(resolution) = facts.resolution {
        words += &format!(" at {}", resolution.as_str());
    }
    if let Some(seconds) = facts.seconds {
        words += &format!(", {} s", seconds.normalize());
    }
    words += match facts.sound {
        Sound::Silent => "",
        Sound::Native => ", native sound",
        Sound::Voice => ", native sound with voices",
    };
    words += match facts.input {
        Input::Video => ", from a video",
        Input::None | Input::Image => "",
    };
    words
}
