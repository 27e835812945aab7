//! The body of a create on the new generation: the model in the path, `settings` for the typed
//! fields, `contents` for what the result is made from.

use serde_json::{Map, Value, json};

use crate::decide::products::{NewEndpoint, Resolution, SoundRule, table};
use crate::model::request::{KlingCall, Product};

use super::contents::{self, Contents};
use super::parameters::{self, path};
use super::plan::Choice;
use super::refusal::Refusal;
use super::wish::Wish;

/// Builds the call.
pub(super) fn build(
    choice: &Choice,
    endpoint: &NewEndpoint,
    wish: &Wish<'_>,
    given: &Map<String, Value>,
) -> Result<KlingCall, Refusal> {
    let given = flatten(given)?;
    let mut settings_given = Map::new();
    let mut watermark = None;
    let mut inputs = Contents::default();
    for (key, value) in &given {
        if let Some(setting) = endpoint.settings.iter().find(|setting| setting.name == key) {
            parameters::check_value(&path(key), setting.kind, value)?;
            settings_given.insert(key.clone(), value.clone());
        } else if key == "watermark_info" {
            parameters::check_value(&path(key), crate::decide::products::Kind::Object, value)?;
            watermark = Some(value.clone());
        } else if endpoint.contents && key == "contents" {
            inputs.add_all(choice, value)?;
        } else if let Some(name) = contents::entry_type(choice, key).filter(|_| endpoint.contents) {
            inputs.add(choice, key, name, value)?;
        } else {
            return Err(refuse(choice, key));
        }
    }
    parameters::check_presence(&settings_given, endpoint.settings, &[])?;
    if endpoint.contents {
        inputs.check(choice, endpoint, wish)?;
    }
    let audio = audio(choice, wish, &inputs)?;
    let mut settings = settings(choice, wish, &inputs, audio);
    settings.extend(settings_given);

    let mut body = Map::new();
    if endpoint.contents {
        let prompt = wish
            .prompt
            .iter()
            .map(|text| json!({"type": "prompt", "text": text}));
        let entries: Vec<Value> = prompt.chain(inputs.entries).collect();
        body.insert("contents".to_owned(), Value::Array(entries));
    } else if let Some(prompt) = &wish.prompt {
        body.insert("prompt".to_owned(), json!(prompt));
    }
    body.insert("settings".to_owned(), Value::Object(settings));
    if let Some(watermark) = watermark {
        body.insert("options".to_owned(), json!({ "watermark_info": watermark }));
    }
    Ok(KlingCall {
        path: format!("{}{}", endpoint.prefix, choice.spelling),
        body,
    })
}

/// Kling documents some fields inside `settings`; given so, they are taken out of it.
fn flatten(given: &Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let mut flat = Map::new();
    for (key, value) in given {
        match (key.as_str(), value) {
            ("settings", Value::Object(settings)) => {
                for (key, value) in settings {
                    if given.contains_key(key) {
                        let message = format!("{key} stands in parameters and in its settings");
                        return Err(Refusal::invalid(path(key), message));
                    }
                    flat.insert(key.clone(), value.clone());
                }
            }
            ("settings", _) => {
                let message = "settings must be an object";
                return Err(Refusal::invalid(path("settings"), message));
            }
            (_, value) => {
                flat.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(flat)
}

fn refuse(choice: &Choice, key: &str) -> Refusal {
    if let Err(reserved) = parameters::refuse_reserved(key) {
        return reserved;
    }
    if key == "resolution" {
        let message = "parameters may not contain resolution here: set mode";
        return Refusal::invalid(path(key), message);
    }
    let name = &choice.spelling;
    let elsewhere = |(entry, _): &(&str, usize)| entry == &key;
    if table::UNKNOWN_MODEL.contents.iter().any(elsewhere) {
        return Refusal::invalid(path(key), format!("{name} takes no {key}; leave it out"));
    }
    if choice
        .legacy()
        .parameters
        .iter()
        .any(|parameter| parameter.name == key)
    {
        let legacy = choice.row.spellings(false).join(", ");
        let message = format!(
            "{name} is created on Kling's new API, which has no {key}; leave it out, or take a \
             legacy model: {legacy}"
        );
        return Refusal::invalid(path(key), message);
    }
    parameters::refuse_unknown(key)
}

/// Finds the word for sound, where the model has the switch.
///
/// Source: platform reference 2.3. With a base video, sound means that video's own; a feature
/// video leaves the result silent.
fn audio(
    choice: &Choice,
    wish: &Wish<'_>,
    inputs: &Contents,
) -> Result<Option<&'static str>, Refusal> {
    let silent_or = |word| Ok(Some(if wish.audio { word } else { "off" }));
    let refuse = |message: String| Err(Refusal::invalid("audio", message));
    let from_video = inputs.has("base_video") || inputs.has("feature_video");
    match choice.rules().sound {
        SoundRule::None | SoundRule::Always => Ok(None),
        SoundRule::Native | SoundRule::NativeAt1080 => silent_or("native"),
        SoundRule::NativeOrOriginal if inputs.has("base_video") => silent_or("original"),
        SoundRule::NativeOrOriginal if wish.audio && inputs.has("feature_video") => {
            refuse("with a feature_video there is no sound; leave audio out".to_owned())
        }
        SoundRule::NativeOrOriginal => silent_or("native"),
        SoundRule::Original if choice.row.product == Product::MotionControl => {
            silent_or("original")
        }
        SoundRule::Original if wish.audio && !from_video => refuse(format!(
            "{} keeps a video's sound but makes none of its own",
            choice.spelling
        )),
        SoundRule::Original => silent_or("original"),
    }
}

fn settings(
    choice: &Choice,
    wish: &Wish<'_>,
    inputs: &Contents,
    audio: Option<&'static str>,
) -> Map<String, Value> {
    let mut settings = Map::new();
    let mut set = |key: &str, value: Value| {
        settings.insert(key.to_owned(), value);
    };
    if choice.rules().multi_shot {
        // Kling's own default is true.
        set("multi_shot", json!(false));
    }
    if let Some(word) = audio {
        set("audio", json!(word));
    }
    set(
        "resolution",
        json!(wish.resolution.unwrap_or(Resolution::P720).as_str()),
    );
    let framed =
        inputs.has("first_frame") || inputs.has("base_video") || inputs.has("feature_video");
    let default = (!choice.row.aspect_ratios.is_empty() && !framed).then_some("16:9");
    if let Some(ratio) = wish.aspect_ratio.or(default) {
        set("aspect_ratio", json!(ratio));
    }
    let whole = wish.seconds.and_then(|seconds| u32::try_from(seconds).ok());
    if let Some(seconds) = whole.filter(|_| !inputs.has("base_video")) {
        set("duration", json!(seconds));
    }
    settings
}
