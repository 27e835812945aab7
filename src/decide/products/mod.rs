//! What each product needs at Kling: endpoints, models, limits and defaults, as data.
//!
//! The rows stand in [`table`]; how a request becomes a body is `decide::pricing`'s, what it costs
//! is the price book's.

pub mod table;
mod row;
mod spelling;

use crate::model::amount::Unit;
use crate::model::request::Product;
use crate::model::task::Generation;

pub use row::{
    Kind, LastFrame, LegacyEndpoint, Lengths, ModelRow, NewEndpoint, PROMPT_MAX, Parameter,
    ProductRow, PromptRule, SoundRule, Together,
};
pub use spelling::{Spelled, spelled};

/// Which resource pack pays for a product, and which slots its tasks take.
///
/// Source: platform reference 5 and 7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pack {
    /// Video packs, which also pay for speech, avatars, lip sync and audio.
    Video,
    /// Image packs.
    Image,
    /// Virtual try-on packs.
    TryOn,
}

impl Pack {
    /// Returns the pack's name in a slot pool.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Pack::Video => "video",
            Pack::Image => "image",
            Pack::TryOn => "try-on",
        }
    }

    /// Returns the unit that the pack holds.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Pack::Video => Unit::Video,
            Pack::Image => Unit::Image,
            Pack::TryOn => Unit::TryOn,
        }
    }
}

/// How fine the result is. Videos are 720p, 1080p or 4k; images 1k, 2k or 4k.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[expect(missing_docs, reason = "the names are the resolutions")]
pub enum Resolution {
    #[serde(rename = "720p")]
    P720,
    #[serde(rename = "1080p")]
    P1080,
    #[serde(rename = "1k")]
    K1,
    #[serde(rename = "2k")]
    K2,
    #[serde(rename = "4k")]
    K4,
}

impl Resolution {
    /// Returns Kling's spelling on the new generation, and on both for images.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Resolution::P720 => "720p",
            Resolution::P1080 => "1080p",
            Resolution::K1 => "1k",
            Resolution::K2 => "2k",
            Resolution::K4 => "4k",
        }
    }

    /// Returns the legacy generation's `mode`.
    ///
    /// Source: platform reference 2.5.
    #[must_use]
    pub fn legacy_mode(self) -> &'static str {
        match self {
            Resolution::P720 => "std",
            Resolution::P1080 => "pro",
            Resolution::K1 | Resolution::K2 | Resolution::K4 => self.as_str(),
        }
    }

    /// Returns the video resolution that a caller's `mode` means.
    #[must_use]
    pub fn from_mode(mode: &str) -> Option<Resolution> {
        match mode {
            "standard" | "std" | "720p" => Some(Resolution::P720),
            "professional" | "pro" | "1080p" => Some(Resolution::P1080),
            "4k" => Some(Resolution::K4),
            _ => None,
        }
    }

    /// Returns the image resolution of that name.
    #[must_use]
    pub fn from_image_name(name: &str) -> Option<Resolution> {
        match name {
            "1k" => Some(Resolution::K1),
            "2k" => Some(Resolution::K2),
            "4k" => Some(Resolution::K4),
            _ => None,
        }
    }
}

impl ProductRow {
    /// Returns the product's row.
    #[must_use]
    pub fn of(product: Product) -> &'static ProductRow {
        table::ROWS
            .iter()
            .find(|row| row.product == product)
            .expect("the table has a row for each product; a test counts them")
    }

    /// Tells whether only the end of a task says how long it is, so that its price is held for the
    /// longest that Kling documents.
    #[must_use]
    pub fn holds_maximum(product: Product) -> bool {
        let row = ProductRow::of(product);
        let rules = row.models.iter();
        rules
            .map(|rules| rules.lengths)
            .any(|lengths| matches!(lengths, Lengths::Input(_)))
    }

    /// Tells whether the caller can choose a model.
    #[must_use]
    pub fn has_models(&self) -> bool {
        self.default_legacy.is_some()
    }

    /// Returns the model with that spelling and the generation that the spelling picks.
    #[must_use]
    pub fn model(&self, spelling: &str) -> Option<(&'static ModelRow, Generation)> {
        self.models.iter().find_map(|model| {
            if model.new == Some(spelling) {
                Some((model, Generation::New))
            } else if model.legacy.contains(&spelling) {
                Some((model, Generation::Legacy))
            } else {
                None
            }
        })
    }

    /// Returns the model of that spelling: a row of the table, or for a spelling that only the
    /// price book may know, what the spelling itself says with the loosest rules.
    #[must_use]
    pub fn resolve(&self, spelling: &str) -> Option<Model> {
        if let Some((rules, generation)) = self.model(spelling) {
            return Some(Model {
                version: rules.version.to_owned(),
                generation,
                rules,
                known: true,
            });
        }
        let Spelled {
            version,
            generation,
        } = spelled(spelling)?;
        Some(Model {
            version,
            generation,
            rules: &table::UNKNOWN_MODEL,
            known: false,
        })
    }

    /// Returns every spelling that the product takes, in the order of the table.
    #[must_use]
    pub fn spellings(&self, new_too: bool) -> Vec<&'static str> {
        self.models
            .iter()
            .flat_map(|model| {
                let new = model.new.filter(|_| new_too);
                new.into_iter().chain(model.legacy.iter().copied())
            })
            .collect()
    }
}

/// A model that a request names.
#[derive(Clone, Debug)]
pub struct Model {
    /// Names the version, whatever the spelling.
    pub version: String,
    /// Which generation spells it so.
    pub generation: Generation,
    /// What it can do.
    pub rules: &'static ModelRow,
    /// Whether the table has it; else only a price book can vouch for it.
    pub known: bool,
}

/// Where a path leads.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A new endpoint, with the model's spelling from the path.
    New(&'static ProductRow, &'static NewEndpoint, &'a str),
    /// A legacy endpoint.
    Legacy(&'static ProductRow),
}

impl<'a> Place<'a> {
    /// Finds the endpoint of a path, exactly as [`table`] spells it.
    #[must_use]
    pub fn of(path: &'a str) -> Option<Place<'a>> {
        table::ROWS.iter().find_map(|row| {
            if row.legacy.path == path {
                return Some(Place::Legacy(row));
            }
            let endpoint = row.new.as_ref()?;
            let spelling = path.strip_prefix(endpoint.prefix)?;
            Some(Place::New(row, endpoint, spelling))
        })
    }
}

/// Tells whether any product has a model of that version.
#[must_use]
pub fn is_known_version(version: &str) -> bool {
    table::ROWS
        .iter()
        .any(|row| row.models.iter().any(|model| model.version == version))
}

/// Tells whether any product takes that spelling.
#[must_use]
pub fn is_known_spelling(spelling: &str) -> bool {
    table::ROWS.iter().any(|row| row.model(spelling).is_some())
}

/// Returns the name of the slot pool of a model version and pack: `2.6/video`.
#[must_use]
pub fn pool(version: &str, pack: Pack) -> String {
    format!("{version}/{}", pack.as_str())
}
