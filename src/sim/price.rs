//! What a task costs, worked out from the body that created it.
//!
//! Rates are whole hundredths of a unit, so that every amount is exact.

use rust_decimal::Decimal;
use serde_json::Value;

use super::catalogue::{Pack, Product, Standard, Yield};

/// Seconds assumed for a driving video whose real length the simulator can not see.
const REFERENCE_SECONDS: u32 = 5;

/// What a create body asks for, in one vocabulary for both standards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) resolution: String,
    pub(super) seconds: u32,
    /// `off`, `native` or `original`.
    pub(super) sound: String,
    pub(super) video_input: bool,
    pub(super) voice: bool,
    pub(super) image_input: bool,
    /// Images asked for; 1 for everything else.
    pub(super) count: u32,
    /// The text in which fault tags may stand.
    pub(super) prompt: String,
}

impl Ask {
    /// A silent video of five seconds.
    pub(super) fn plain() -> Self {
        Self {
            resolution: "720p".to_owned(),
            seconds: 5,
            sound: "off".to_owned(),
            video_input: false,
            voice: false,
            image_input: false,
            count: 1,
            prompt: String::new(),
        }
    }

    /// Reads a create body. `Err` carries the field's path and the value that was refused.
    pub(super) fn read(
        product: &Product,
        standard: Standard,
        body: &Value,
    ) -> Result<Self, (String, String)> {
        match standard {
            Standard::New => Self::read_new(product, body),
            Standard::Legacy => Self::read_legacy(product, body),
        }
    }

    fn read_new(product: &Product, body: &Value) -> Result<Self, (String, String)> {
        let settings = &body["settings"];
        let contents = body["contents"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let has = |kinds: &[&str]| {
            contents
                .iter()
                .any(|entry| kinds.contains(&entry["type"].as_str().unwrap_or("")))
        };
        let motion = product.name == "motion-control";
        let prompt = body["prompt"].as_str().or_else(|| {
            let entry = contents.iter().find(|entry| entry["type"] == "prompt")?;
            entry["text"].as_str()
        });
        let sound = settings["audio"]
            .as_str()
            .unwrap_or(if motion { "original" } else { "off" });
        Ok(Self {
            resolution: settings["resolution"].as_str().unwrap_or("720p").to_owned(),
            seconds: if motion {
                REFERENCE_SECONDS
            } else {
                seconds(&settings["duration"], "settings.duration")?
            },
            sound: sound.to_owned(),
            video_input: has(&["feature_video", "base_video", "video"]),
            voice: has(&["voice"]),
            image_input: has(&["first_frame", "last_frame", "image", "refer_image"]),
            count: 1,
            prompt: prompt.unwrap_or("").to_owned(),
        })
    }

    fn read_legacy(product: &Product, body: &Value) -> Result<Self, (String, String)> {
        let filled = |key: &str| match &body[key] {
            Value::Array(entries) => !entries.is_empty(),
            Value::String(text) => !text.is_empty(),
            _ => false,
        };
        let resolution = match (product.pack, body["mode"].as_str()) {
            (Pack::Video, Some("pro")) => "1080p",
            (Pack::Video, Some("4k")) => "4k",
            (Pack::Video, Some("std") | None) => "720p",
            (Pack::Video, Some(other)) => return Err(("mode".to_owned(), other.to_owned())),
            (_, _) => body["resolution"].as_str().unwrap_or("1k"),
        };
        let fixed = matches!(product.name, "motion-control" | "avatar" | "lip-sync")
            || product.name == "advanced-lip-sync";
        let prompt = [
            &body["prompt"],
            &body["input"]["prompt"],
            &body["input"]["text"],
        ]
        .into_iter()
        .chain([
            &body["element_description"],
            &body["voice_name"],
            &body["element_name"],
        ])
        .chain([&body["sound_effect_prompt"]])
        .find_map(Value::as_str);
        Ok(Self {
            resolution: resolution.to_owned(),
            seconds: if fixed {
                REFERENCE_SECONDS
            } else {
                seconds(&body["duration"], "duration")?
            },
            sound: if body["sound"] == "on" {
                "native"
            } else {
                "off"
            }
            .to_owned(),
            video_input: filled("video_list") || filled("video_url"),
            voice: filled("voice_list"),
            image_input: filled("image") || filled("image_list"),
            count: images(body)?,
            prompt: prompt.unwrap_or("").to_owned(),
        })
    }
}

/// A number or a numeric string; not range-checked.
///
/// Source: platform reference 2.3 (server leniency).
fn seconds(value: &Value, field: &str) -> Result<u32, (String, String)> {
    let text = match value {
        Value::Null => return Ok(5),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let whole = text.split('.').next().unwrap_or("");
    whole.parse().map_err(|_| (field.to_owned(), text.clone()))
}

fn images(body: &Value) -> Result<u32, (String, String)> {
    let wanted = if body["result_type"] == "series" {
        &body["series_amount"]
    } else {
        &body["n"]
    };
    match wanted {
        Value::Null => Ok(1),
        Value::String(text) if text == "auto" => Ok(4),
        Value::String(text) => text.parse().map_err(|_| ("n".to_owned(), text.clone())),
        other => match other.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(n @ 1..=9) => Ok(n),
            _ => Err(("n".to_owned(), other.to_string())),
        },
    }
}

/// The price in the units of the product's pack; `None` for a combination that is not offered.
///
/// Source: platform reference 7.2. Effects and multi-elements are not in that table: 2 units a
/// call and the rate of the 1.6 model stand in for them.
pub(super) fn price(product: &Product, version: &str, ask: &Ask) -> Option<Decimal> {
    let hundredths = match product.name {
        "avatar" => tier(&ask.resolution, 40, 80, None)? * i64::from(ask.seconds),
        "multi-elements" => tier(&ask.resolution, 40, 70, None)? * i64::from(ask.seconds),
        "lip-sync" | "advanced-lip-sync" => 50 * i64::from(ask.seconds.div_ceil(5)),
        "effects" => 200,
        "text-to-audio" | "video-to-audio" => 25,
        "custom-voice" => 5,
        "element" => 0,
        "ai-multi-shot" => 2000,
        "image-expansion" => 800 * i64::from(ask.count),
        "multi-image-to-image" => 1600 * i64::from(ask.count),
        "virtual-try-on" => 100,
        _ if product.yields == Yield::Image => image_rate(version, ask) * i64::from(ask.count),
        _ => video_rate(product, version, ask)? * i64::from(ask.seconds),
    };
    Some(Decimal::new(hundredths, 2).normalize())
}

fn image_rate(version: &str, ask: &Ask) -> i64 {
    match (version, ask.image_input, ask.resolution.as_str()) {
        ("kling-2.1", false, _) => 400,
        (_, _, "4k") => 1600,
        _ => 800,
    }
}

fn video_rate(product: &Product, version: &str, ask: &Ask) -> Option<i64> {
    let motion = product.name == "motion-control";
    let native = ask.sound == "native";
    let (std, pro, four_k) = match version {
        "kling-3.0-turbo" => (Some(80), 100, None),
        "kling-3.0" if motion => (Some(90), 120, None),
        "kling-3.0" if native => (Some(90), 120, Some(300)),
        "kling-3.0" => (Some(60), 80, Some(300)),
        "kling-3.0-omni" if ask.video_input => (Some(90), 120, Some(300)),
        "kling-3.0-omni" if native => (Some(80), 100, Some(300)),
        "kling-3.0-omni" => (Some(60), 80, Some(300)),
        "kling-o1" if ask.video_input => (Some(90), 120, None),
        "kling-o1" => (Some(60), 80, None),
        "kling-2.6" if motion => (Some(50), 80, None),
        "kling-2.6" if native && ask.voice => (None, 120, None),
        "kling-2.6" if native => (None, 100, None),
        "kling-2.6" | "kling-2.5-turbo" => (Some(30), 50, None),
        _ => return None,
    };
    match ask.resolution.as_str() {
        "480p" => Some(0),
        "720p" => std,
        "1080p" => Some(pro),
        "4k" => four_k,
        _ => None,
    }
}

fn tier(resolution: &str, std: i64, pro: i64, four_k: Option<i64>) -> Option<i64> {
    match resolution {
        "720p" => Some(std),
        "1080p" => Some(pro),
        "4k" => four_k,
        _ => None,
    }
}
