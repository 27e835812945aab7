//! What of a Kling body decides its price and its slots. Read from the body itself, so that what
//! is paid for is what is sent.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::decide::products::{
    Lengths, Model, ModelRow, NewEndpoint, Pack, Place, ProductRow, PromptRule, Resolution,
    SoundRule, pool,
};
use crate::model::request::{KlingCall, Product};
use crate::model::task::Slots;

use super::refusal::{Refusal, shorten};

/// What is heard, as the price table tells it apart. An input video's own sound is `Silent` here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sound {
    /// Nothing is generated.
    Silent,
    /// Native sound.
    Native,
    /// Native sound with named voices.
    Voice,
}

/// What the result is made from, as the price table tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// Words only.
    None,
    /// Images.
    Image,
    /// A reference or base video.
    Video,
}

/// What decides the price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What is made.
    pub product: Product,
    /// Which model version makes it; the product's own name where there are no models.
    pub version: String,
    /// How fine, where there is a choice.
    pub resolution: Option<Resolution>,
    /// What is heard.
    pub sound: Sound,
    /// What it is made from.
    pub input: Input,
    /// How long, in seconds; the documented maximum where only the end tells.
    pub seconds: Option<Decimal>,
    /// How many images; 1 for everything else.
    pub images: u32,
}

impl Facts {
    /// Reads the facts from a call.
    ///
    /// # Errors
    /// [`Refusal`] when the path is no endpoint's, when a field is not in the endpoint's table (its
    /// effect on the price is unknown), or when a field that decides the price has no valid value.
    pub fn of(call: &KlingCall) -> Result<Facts, Refusal> {
        match Place::of(&call.path) {
            Some(Place::New(row, endpoint, spelling)) => {
                let model = row
                    .resolve(spelling)
                    .ok_or_else(|| no_model(row, spelling))?;
                of_new(row, endpoint, &model, &call.body)
            }
            Some(Place::Legacy(row)) => of_legacy(row, &call.body),
            None => Err(Refusal::unknown_price(
                "path",
                format!(
                    "{:?} is no endpoint of a known product",
                    shorten(&call.path)
                ),
            )),
        }
    }

    /// Returns the slots that the task takes at Kling until it ends.
    ///
    /// Source: platform reference 5.
    #[must_use]
    pub fn slots(&self) -> Slots {
        let pack = ProductRow::of(self.product).pack;
        Slots {
            pool: pool(&self.version, pack),
            count: if pack == Pack::Image { self.images } else { 1 },
        }
    }
}

fn no_model(row: &ProductRow, spelling: &str) -> Refusal {
    let message = format!(
        "{:?} is no model of {}; known: {}",
        shorten(spelling),
        row.product,
        row.spellings(true).join(", ")
    );
    Refusal::unknown_price("model", message)
}

fn unknown(field: &str) -> Refusal {
    let field = shorten(field);
    let message = format!("the effect of {field:?} on the price is not known; leave it out");
    Refusal::unknown_price(field, message)
}

fn of_new(
    row: &ProductRow,
    endpoint: &NewEndpoint,
    model: &Model,
    body: &Map<String, Value>,
) -> Result<Facts, Refusal> {
    let text_key = if endpoint.contents {
        "contents"
    } else {
        "prompt"
    };
    only(body, &[text_key, "settings", "options"])?;
    let empty = Map::new();
    let settings = match body.get("settings") {
        None => &empty,
        Some(Value::Object(settings)) => settings,
        Some(_) => return Err(Refusal::invalid("settings", "settings must be an object")),
    };
    let mut keys = vec![
        "resolution",
        "duration",
        "aspect_ratio",
        "audio",
        "multi_shot",
    ];
    keys.extend(endpoint.settings.iter().map(|setting| setting.name));
    only(settings, &keys)?;
    let types = content_types(model.rules, body.get("contents"))?;

    let resolution = match text(settings, "resolution")? {
        None => Resolution::P720,
        Some(name) => Resolution::from_mode(name)
            .filter(|resolution| resolution.as_str() == name)
            .ok_or_else(|| odd("resolution", name))?,
    };
    let native = match (model.rules.sound, text(settings, "audio")?) {
        (SoundRule::Always, _) | (_, Some("native")) => true,
        (_, None | Some("off" | "original")) => false,
        (_, Some(other)) => return Err(odd("audio", other)),
    };
    let seconds = match model.rules.lengths {
        Lengths::Input(max) => input_seconds(settings, types.contains("element"), max),
        Lengths::None | Lengths::OneOf(_) | Lengths::Whole(..) | Lengths::Tenths(..) => {
            if types.contains("base_video") {
                Decimal::from(model.rules.edit_max_s)
            } else {
                seconds(settings)?
            }
        }
    };
    Ok(Facts {
        product: row.product,
        version: model.version.clone(),
        resolution: Some(resolution),
        sound: sound(native, types.contains("voice")),
        input: if types.contains("base_video") || types.contains("feature_video") {
            Input::Video
        } else if types.iter().any(|name| IMAGES.contains(name)) {
            Input::Image
        } else {
            Input::None
        },
        seconds: Some(seconds),
        images: 1,
    })
}

const IMAGES: [&str; 4] = ["first_frame", "last_frame", "refer_image", "image"];

fn of_legacy(row: &ProductRow, body: &Map<String, Value>) -> Result<Facts, Refusal> {
    let model = legacy_model(row, body)?;
    only(body, &legacy_keys(row, model.rules))?;
    let is_video = row.pack == Pack::Video;
    let resolution = if model.rules.resolutions.is_empty() {
        None
    } else if is_video {
        let mode = text(body, "mode")?.unwrap_or("std");
        let found = Resolution::from_mode(mode).filter(|found| found.legacy_mode() == mode);
        Some(found.ok_or_else(|| odd("mode", mode))?)
    } else {
        let name = text(body, "resolution")?.unwrap_or("1k");
        Some(Resolution::from_image_name(name).ok_or_else(|| odd("resolution", name))?)
    };
    let edits = array(body, "video_list")
        .iter()
        .any(|video| video.get("refer_type").and_then(Value::as_str) != Some("feature"));
    let seconds = match model.rules.lengths {
        Lengths::None => None,
        Lengths::Input(max) => {
            let element = !array(body, "element_list").is_empty();
            Some(input_seconds(body, element, max))
        }
        // A reference video that is not said to be a feature is taken to be edited.
        Lengths::OneOf(_) | Lengths::Whole(..) | Lengths::Tenths(..) if edits => {
            Some(Decimal::from(model.rules.edit_max_s))
        }
        Lengths::OneOf(_) | Lengths::Whole(..) | Lengths::Tenths(..) => Some(seconds(body)?),
    };
    let native = match text(body, "sound")? {
        Some("on") => true,
        None | Some("off") => false,
        Some(other) => return Err(odd("sound", other)),
    };
    let image_input = body.contains_key("image")
        || body.contains_key("image_tail")
        || !array(body, "image_list").is_empty();
    Ok(Facts {
        product: row.product,
        version: model.version,
        resolution,
        sound: sound(native, !array(body, "voice_list").is_empty()),
        input: if !array(body, "video_list").is_empty() {
            Input::Video
        } else if image_input {
            Input::Image
        } else {
            Input::None
        },
        seconds,
        images: if row.pack == Pack::Image {
            images(body)?
        } else {
            1
        },
    })
}

fn legacy_model(row: &ProductRow, body: &Map<String, Value>) -> Result<Model, Refusal> {
    if !row.has_models() {
        let rules = &row.models[0];
        return Ok(Model {
            version: rules.version.to_owned(),
            generation: crate::model::task::Generation::Legacy,
            rules,
            known: true,
        });
    }
    let spelling = text(body, "model_name")?.unwrap_or("");
    row.resolve(spelling).ok_or_else(|| no_model(row, spelling))
}

/// Every field that the endpoint's price is known with, those that the dispatcher adds included.
fn legacy_keys(row: &ProductRow, rules: &ModelRow) -> Vec<&'static str> {
    let mut keys = vec!["callback_url", "external_task_id"];
    let mut add = |key: &'static str, there: bool| {
        if there {
            keys.push(key);
        }
    };
    add("model_name", row.has_models());
    add("prompt", row.prompt != PromptRule::None);
    add("negative_prompt", row.legacy.negative_prompt);
    add("multi_shot", row.legacy.multi_shot);
    add("aspect_ratio", !row.aspect_ratios.is_empty());
    add(
        "mode",
        row.pack == Pack::Video && !rules.resolutions.is_empty(),
    );
    let asks_length = !matches!(rules.lengths, Lengths::None | Lengths::Input(_));
    add("duration", asks_length);
    keys.extend(row.legacy.sound.map(|(key, _, _)| key));
    keys.extend(row.legacy.parameters.iter().map(|parameter| parameter.name));
    keys
}

/// The length of a result that follows its input. A driving video is at most 10 s where the
/// character keeps the image's orientation; an element takes the video's.
///
/// Source: platform reference 2.3.
fn input_seconds(settings: &Map<String, Value>, element: bool, max: u32) -> Decimal {
    let follows_image = settings
        .get("character_orientation")
        .and_then(Value::as_str);
    let max = if follows_image == Some("image") && !element {
        max.min(10)
    } else {
        max
    };
    Decimal::from(max)
}

fn sound(native: bool, voices: bool) -> Sound {
    match (native, voices) {
        (false, _) => Sound::Silent,
        (true, false) => Sound::Native,
        (true, true) => Sound::Voice,
    }
}

fn content_types<'a>(
    rules: &ModelRow,
    contents: Option<&'a Value>,
) -> Result<BTreeSet<&'a str>, Refusal> {
    let entries = match contents {
        None => return Ok(BTreeSet::new()),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(Refusal::invalid("contents", "contents must be an array")),
    };
    let mut types = BTreeSet::new();
    for entry in entries {
        let name = entry.get("type").and_then(Value::as_str).unwrap_or("");
        let known = name == "prompt" || rules.contents.iter().any(|(known, _)| *known == name);
        if !known {
            return Err(unknown(&format!("contents.{}", shorten(name))));
        }
        types.insert(name);
    }
    Ok(types)
}

/// Kling's default is 5 s.
///
/// Source: platform reference 2.3 and 2.5.
fn seconds(fields: &Map<String, Value>) -> Result<Decimal, Refusal> {
    let written = match fields.get("duration") {
        None => return Ok(Decimal::from(5)),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => return Err(odd("duration", "")),
    };
    let parsed = Decimal::from_str_exact(&written).ok();
    let in_range = |seconds: &Decimal| *seconds > Decimal::ZERO && *seconds <= Decimal::from(3_600);
    parsed
        .filter(in_range)
        .ok_or_else(|| odd("duration", &written))
}

/// How many images a call makes; the greatest number where Kling chooses.
///
/// Source: platform reference 2.6 and 5; a series has 4 images unless it says otherwise.
fn images(body: &Map<String, Value>) -> Result<u32, Refusal> {
    let series = text(body, "result_type")? == Some("series");
    let (key, default) = if series {
        ("series_amount", 4)
    } else {
        ("n", 1)
    };
    match body.get(key) {
        None => Ok(default),
        Some(Value::String(auto)) if series && auto == "auto" => Ok(9),
        Some(value) => value
            .as_u64()
            .filter(|count| (1..=9).contains(count))
            .and_then(|count| u32::try_from(count).ok())
            .ok_or_else(|| odd(key, &value.to_string())),
    }
}

fn only(fields: &Map<String, Value>, known: &[&str]) -> Result<(), Refusal> {
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(unknown(key)),
        None => Ok(()),
    }
}

fn text<'a>(fields: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, Refusal> {
    match fields.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::invalid(key, format!("{key} must be text"))),
    }
}

fn array<'a>(fields: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    fields
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn odd(field: &str, value: &str) -> Refusal {
    let message = format!("{field} {:?} is not one that Kling knows", shorten(value));
    Refusal::invalid(field, message)
}
