//! What is checked when a book loads: unknown models, overlaps, gaps.

use std::collections::BTreeSet;

use jiff::civil::Date;

use crate::decide::products::{
    ModelRow, ProductRow, Resolution, SoundRule, is_known_version, table,
};
use crate::model::request::Product;

use super::{BookError, Facts, Input, Price, PriceBook, Row, Sound, describe};

/// Refuses rows for models that neither the product table nor the book itself knows.
pub(super) fn models(book: &PriceBook) -> Result<(), BookError> {
    for row in &book.rows {
        for model in row.when.models.iter().flatten() {
            if !is_known_version(model) && !book.declares(model) {
                return Err(BookError::UnknownModel {
                    book: book.name.clone(),
                    place: row.place.clone(),
                    model: model.clone(),
                });
            }
        }
    }
    Ok(())
}

/// Refuses two rows that answer the same question on the same day. Two rows that both say
/// `unpriced` do no harm.
pub(super) fn overlaps(book: &PriceBook) -> Result<(), BookError> {
    for (index, first) in book.rows.iter().enumerate() {
        for second in &book.rows[index + 1..] {
            let priced = |row: &Row| matches!(row.price, Price::Known { .. });
            if (priced(first) || priced(second)) && overlap(first, second) {
                return Err(BookError::Overlap {
                    book: book.name.clone(),
                    first: first.place.clone(),
                    second: second.place.clone(),
                });
            }
        }
    }
    Ok(())
}

fn overlap(first: &Row, second: &Row) -> bool {
    fn meet<T: PartialEq>(first: Option<&Vec<T>>, second: Option<&Vec<T>>) -> bool {
        match (first, second) {
            (Some(first), Some(second)) => first.iter().any(|value| second.contains(value)),
            (None, _) | (_, None) => true,
        }
    }
    let (a, b) = (&first.when, &second.when);
    let before = |until: Option<Date>, from: Option<Date>| match (until, from) {
        (Some(until), Some(from)) => until <= from,
        (None, _) | (_, None) => false,
    };
    meet(a.products.as_ref(), b.products.as_ref())
        && meet(a.models.as_ref(), b.models.as_ref())
        && meet(a.sounds.as_ref(), b.sounds.as_ref())
        && meet(a.inputs.as_ref(), b.inputs.as_ref())
        && meet(a.resolutions.as_ref(), b.resolutions.as_ref())
        && meet(a.seconds.as_ref(), b.seconds.as_ref())
        && !before(first.until, second.from)
        && !before(second.until, first.from)
}

/// Refuses a book that is silent about something that the product table offers, on any day on
/// which a row begins or ends. Lengths are left to the rows: a book may price some only.
pub(super) fn gaps(book: &PriceBook) -> Result<(), BookError> {
    let mut days = BTreeSet::from([book.effective_from]);
    days.extend(book.rows.iter().filter_map(|row| row.from));
    days.extend(book.rows.iter().filter_map(|row| row.until));
    for facts in offered() {
        for day in &days {
            let told = |row: &Row| row.holds_on(*day) && row.when.means(&facts);
            if !book.rows.iter().any(told) {
                return Err(BookError::Gap {
                    book: book.name.clone(),
                    what: describe(&facts),
                    day: *day,
                });
            }
        }
    }
    Ok(())
}

/// Returns everything that the product table offers, but for lengths and numbers of images.
fn offered() -> Vec<Facts> {
    let mut all = Vec::new();
    for row in table::ROWS {
        for model in row.models {
            for resolution in resolutions(model) {
                for input in inputs(row).iter().copied() {
                    let sounds = sounds(model, resolution, input);
                    all.extend(sounds.into_iter().map(|sound| Facts {
                        product: row.product,
                        version: model.version.to_owned(),
                        resolution,
                        sound,
                        input,
                        seconds: None,
                        images: 1,
                    }));
                }
            }
        }
    }
    all
}

fn resolutions(model: &ModelRow) -> Vec<Option<Resolution>> {
    if model.resolutions.is_empty() {
        vec![None]
    } else {
        model.resolutions.iter().copied().map(Some).collect()
    }
}

fn inputs(row: &ProductRow) -> &'static [Input] {
    match row.product {
        Product::OmniVideo => &[Input::None, Input::Image, Input::Video],
        Product::ImageGeneration | Product::OmniImage => &[Input::None, Input::Image],
        Product::ImageToVideo
        | Product::MultiImageToImage
        | Product::ImageExpansion
        | Product::VirtualTryOn
        | Product::AiMultiShot
        | Product::Avatar => &[Input::Image],
        Product::TextToVideo
        | Product::MotionControl
        | Product::MultiElements
        | Product::LipSync
        | Product::Effects
        | Product::TextToAudio
        | Product::VideoToAudio
        | Product::Element
        | Product::CustomVoice => &[Input::None],
    }
}

fn sounds(model: &ModelRow, resolution: Option<Resolution>, input: Input) -> Vec<Sound> {
    let native = match model.sound {
        SoundRule::None | SoundRule::Original => vec![],
        SoundRule::Always => return vec![Sound::Native],
        SoundRule::Native => vec![Sound::Native],
        SoundRule::NativeAt1080 if resolution == Some(Resolution::P1080) => vec![Sound::Native],
        SoundRule::NativeAt1080 => vec![],
        SoundRule::NativeOrOriginal if input == Input::Video => vec![],
        SoundRule::NativeOrOriginal => vec![Sound::Native],
    };
    let voice = (model.voices && !native.is_empty()).then_some(Sound::Voice);
    std::iter::once(Sound::Silent)
        .chain(native)
        .chain(voice)
        .collect()
}
