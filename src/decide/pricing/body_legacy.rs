//! The body of a legacy create: one flat object with the model in `model_name`.

use rust_decimal::Decimal;
use serde_json::{Map, Number, Value, json};

use crate::decide::products::{LastFrame, Lengths, Resolution, SoundRule, table};
use crate::model::request::{KlingCall, Product};

use super::parameters::{self, path};
use super::plan::Choice;
use super::refusal::Refusal;
use super::wish::{Wish, plain_number};

/// Builds the call.
pub(super) fn build(
    choice: &Choice,
    wish: &Wish<'_>,
    given: &Map<String, Value>,
) -> Result<KlingCall, Refusal> {
    check_parameters(choice, given)?;
    check_together(choice, wish, given)?;
    let (row, rules, endpoint) = (choice.row, choice.rules(), choice.legacy());
    let mut body = Map::new();
    let mut set = |key: &str, value: Value| {
        body.insert(key.to_owned(), value);
    };
    if row.has_models() {
        set("model_name", json!(choice.spelling));
    }
    if let Some(prompt) = &wish.prompt {
        set("prompt", json!(prompt));
    }
    if let Some(negative) = wish.negative_prompt {
        set("negative_prompt", json!(negative));
    }
    if let Some(resolution) = wish.resolution {
        set("mode", json!(resolution.legacy_mode()));
    }
    if let Some(seconds) = wish.seconds.filter(|_| !edits_video(given)) {
        let text = seconds.normalize().to_string();
        set(
            "duration",
            match rules.lengths {
                // The one legacy endpoint whose length is a number.
                Lengths::Tenths(..) => text.parse::<Number>().map_or(Value::Null, Value::Number),
                Lengths::None | Lengths::OneOf(_) | Lengths::Whole(..) | Lengths::Input(_) => {
                    Value::String(text)
                }
            },
        );
    }
    if let Some(ratio) = wish
        .aspect_ratio
        .or_else(|| default_ratio(row.product, given))
    {
        set("aspect_ratio", json!(ratio));
    }
    if let Some((key, on, off)) = endpoint.sound {
        let has_switch = match rules.sound {
            SoundRule::None | SoundRule::Always => false,
            SoundRule::Native | SoundRule::NativeAt1080 | SoundRule::NativeOrOriginal => true,
            // Kept or dropped for a driving video; a reference video says so itself.
            SoundRule::Original => key != "sound",
        };
        if has_switch {
            set(key, json!(if wish.audio { on } else { off }));
        }
    }
    if endpoint.multi_shot {
        set("multi_shot", json!(false));
    }
    body.extend(
        given
            .iter()
            .map(|(key, value)| (key.clone(), value.clone())),
    );
    Ok(KlingCall {
        path: endpoint.path.to_owned(),
        body,
    })
}

fn check_parameters(choice: &Choice, given: &Map<String, Value>) -> Result<(), Refusal> {
    let known = choice.legacy().parameters;
    for (key, value) in given {
        if let Some(parameter) = known.iter().find(|known| known.name == key) {
            parameters::check_value(&path(key), parameter.kind, value)?;
            continue;
        }
        parameters::refuse_reserved(key)?;
        if key == "resolution" {
            let message = "parameters may not contain resolution here: set mode";
            return Err(Refusal::invalid(path(key), message));
        }
        let of_new = |(name, _): &(&str, usize)| name == key;
        if key == "contents" || table::UNKNOWN_MODEL.contents.iter().any(of_new) {
            let names: Vec<&str> = known.iter().map(|known| known.name).collect();
            let message = format!(
                "{} is created on Kling's legacy API, which has no {key}; it takes {}",
                choice.spelling,
                names.join(", ")
            );
            return Err(Refusal::invalid(path(key), message));
        }
        return Err(parameters::refuse_unknown(key));
    }
    parameters::check_presence(given, known, choice.legacy().together)
}

/// Rules between a parameter and a typed field, or between a parameter and the model.
///
/// Source: platform reference 2.3, 2.5, 2.6 and 8.
fn check_together(
    choice: &Choice,
    wish: &Wish<'_>,
    given: &Map<String, Value>,
) -> Result<(), Refusal> {
    let name = &choice.spelling;
    let refuse = |field: String, message: String| Err(Refusal::invalid(field, message));
    let has = |key: &str| given.contains_key(key);
    let version = choice.model.version.as_str();
    if has("cfg_scale") && version.starts_with("2.") {
        return refuse(
            path("cfg_scale"),
            format!("{name} takes no cfg_scale; leave it out"),
        );
    }
    if has("voice_list") && !wish.audio {
        return refuse("audio".to_owned(), "voices need audio: true".to_owned());
    }
    let at_1080 = wish.resolution == Some(Resolution::P1080);
    if has("image_tail") && choice.rules().last_frame == LastFrame::At1080 && !at_1080 {
        let message = format!("{name} takes a last frame (image_tail) at mode 1080p only");
        return refuse("mode".to_owned(), message);
    }
    let from_video = has("video_list");
    if wish.audio && choice.row.product == Product::OmniVideo {
        if from_video {
            let message = "with a video there is no native sound; set keep_original_sound in the \
                           entry of video_list";
            return refuse("audio".to_owned(), message.to_owned());
        }
        if choice.rules().sound == SoundRule::Original {
            return refuse(
                "audio".to_owned(),
                format!("{name} makes no sound of its own"),
            );
        }
    }
    if edits_video(given) && wish.seconds_asked {
        let message = "an edited video is as long as its base; leave duration out".to_owned();
        return refuse("duration".to_owned(), message);
    }
    if choice.row.product == Product::ImageGeneration {
        check_image(version, wish, given)?;
    }
    if choice.row.product == Product::ImageExpansion {
        check_expansion(given)?;
    }
    let series = given
        .get("result_type")
        .is_some_and(|kind| kind == "series");
    if series && has("n") {
        return refuse(
            path("n"),
            "a series takes series_amount instead of n".to_owned(),
        );
    }
    if has("series_amount") && !series {
        let message = "series_amount needs result_type \"series\"".to_owned();
        return refuse(path("series_amount"), message);
    }
    Ok(())
}

fn check_image(version: &str, wish: &Wish<'_>, given: &Map<String, Value>) -> Result<(), Refusal> {
    if given.contains_key("image") && wish.negative_prompt.is_some() {
        let message = "Kling ignores a negative_prompt beside an image; put it into the prompt";
        return Err(Refusal::invalid("negative_prompt", message));
    }
    for key in ["image_reference", "image_fidelity", "human_fidelity"] {
        if given.contains_key(key) && version != "2.1" {
            let message = format!("only kling-v2-1 takes {key}; leave it out");
            return Err(Refusal::invalid(path(key), message));
        }
    }
    if given.contains_key("image_reference") && !given.contains_key("image") {
        let message = "image_reference needs an image";
        return Err(Refusal::invalid(path("image_reference"), message));
    }
    Ok(())
}

/// The whole new picture may be three times as large as the old one.
fn check_expansion(given: &Map<String, Value>) -> Result<(), Refusal> {
    let ratio = |side: &str| {
        let value = given.get(&format!("{side}_expansion_ratio"));
        value
            .and_then(|value| plain_number(&value.to_string()))
            .unwrap_or_default()
    };
    let height = Decimal::ONE + ratio("up") + ratio("down");
    let width = Decimal::ONE + ratio("left") + ratio("right");
    if height * width > Decimal::from(3) {
        let message = "the four expansion ratios together make more than 3 times the area";
        return Err(Refusal::invalid("parameters", message));
    }
    Ok(())
}

/// A reference video that is not said to be a feature is edited, and sets the length.
fn edits_video(given: &Map<String, Value>) -> bool {
    let videos = given.get("video_list").and_then(Value::as_array);
    videos
        .into_iter()
        .flatten()
        .any(|video| video.get("refer_type").and_then(Value::as_str) != Some("feature"))
}

/// Text to video is 16:9 unless it says otherwise; omni video needs a ratio where no first frame
/// or video sets one. Images leave it to Kling.
fn default_ratio(product: Product, given: &Map<String, Value>) -> Option<&'static str> {
    let first_frame = || {
        let images = given.get("image_list").and_then(Value::as_array);
        let mut kinds = images
            .into_iter()
            .flatten()
            .filter_map(|image| image.get("type"));
        kinds.any(|kind| kind == "first_frame")
    };
    let framed = || given.contains_key("video_list") || first_frame();
    let set = product == Product::TextToVideo || (product == Product::OmniVideo && !framed());
    set.then_some("16:9")
}
