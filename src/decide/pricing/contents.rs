//! The entries of `contents`: frames, references, videos, elements and voices.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::decide::products::{LastFrame, NewEndpoint, Resolution};
use crate::model::request::Product;

use super::parameters::{is_media, is_url, path, refuse_unknown};
use super::plan::Choice;
use super::refusal::{Refusal, shorten};
use super::wish::Wish;

/// The most entries that a body may carry: every type at its highest number stays below it.
const ENTRIES_MAX: usize = 32;

/// The entries beside the prompt.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) entries: Vec<Value>,
}

/// Returns the entry type that a key of `parameters` stands for, if the model takes it. For image
/// to video the legacy names of the two frames are understood too.
pub(super) fn entry_type<'a>(choice: &Choice, key: &'a str) -> Option<&'a str> {
    let name = match (choice.row.product, key) {
        (Product::ImageToVideo, "image") => "first_frame",
        (Product::ImageToVideo, "image_tail") => "last_frame",
        (_, key) => key,
    };
    takes(choice, name).then_some(name)
}

fn takes(choice: &Choice, name: &str) -> bool {
    choice
        .rules()
        .contents
        .iter()
        .any(|(known, _)| *known == name)
}

impl Contents {
    pub(super) fn has(&self, name: &str) -> bool {
        self.count(name) > 0
    }

    fn count(&self, name: &str) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry["type"] == name)
            .count()
    }

    /// Takes entries in Kling's own form.
    pub(super) fn add_all(&mut self, choice: &Choice, value: &Value) -> Result<(), Refusal> {
        let field = path("contents");
        let Some(entries) = value.as_array() else {
            return Err(Refusal::invalid(
                field,
                "contents must be a list of entries",
            ));
        };
        for (index, entry) in entries.iter().enumerate() {
            let field = format!("{field}[{index}]");
            let name = entry.get("type").and_then(Value::as_str).unwrap_or("");
            if name == "prompt" {
                let message = "contents may not contain the prompt: set prompt beside parameters";
                return Err(Refusal::invalid(field, message));
            }
            if !takes(choice, name) {
                let known: Vec<&str> = choice.rules().contents.iter().map(|(n, _)| *n).collect();
                let message = format!(
                    "{} takes no {:?}; it takes {}",
                    choice.spelling,
                    shorten(name),
                    known.join(", ")
                );
                return Err(Refusal::invalid(field, message));
            }
            self.push(&field, name, entry)?;
        }
        Ok(())
    }

    /// Takes what stands under a key of its own: an address, an entry without its type, or a list.
    pub(super) fn add(
        &mut self,
        choice: &Choice,
        key: &str,
        name: &str,
        value: &Value,
    ) -> Result<(), Refusal> {
        let several = match value {
            Value::Array(several) => several.as_slice(),
            one => std::slice::from_ref(one),
        };
        let field = path(key);
        if several.is_empty() {
            return Err(Refusal::invalid(
                &field,
                format!("{field} is empty; leave it out"),
            ));
        }
        for one in several {
            let entry = match one {
                Value::String(url) if name != "element" && name != "voice" => json!({ "url": url }),
                Value::Object(_) => one.clone(),
                _ => {
                    let message = format!("{field} must be an address or an entry as in contents");
                    return Err(Refusal::invalid(&field, message));
                }
            };
            let own = entry.get("type").and_then(Value::as_str);
            if own.is_some_and(|own| own != name) {
                let message = format!("{field} names another type; leave type out");
                return Err(Refusal::invalid(&field, message));
            }
            self.push(&field, name, &entry)?;
        }
        debug_assert!(
            takes(choice, name),
            "only types that the model takes come here"
        );
        Ok(())
    }

    fn push(&mut self, field: &str, name: &str, entry: &Value) -> Result<(), Refusal> {
        if self.entries.len() >= ENTRIES_MAX {
            let message = format!("contents takes at most {ENTRIES_MAX} entries");
            return Err(Refusal::invalid(field, message));
        }
        let Some(fields) = entry.as_object() else {
            return Err(Refusal::invalid(
                field,
                format!("{field} must be an object"),
            ));
        };
        let target = match name {
            "element" => "element_id",
            "voice" => "voice_id",
            _ => "url",
        };
        let needs_id = target != "url";
        if let Some(other) = fields
            .keys()
            .find(|key| !["type", "id", target].contains(&key.as_str()))
        {
            return Err(refuse_unknown(other));
        }
        let is_video = matches!(name, "video" | "feature_video" | "base_video");
        let fits = match fields.get(target) {
            Some(Value::String(text)) if is_video => is_url(text),
            Some(Value::String(text)) if !needs_id => is_media(text),
            Some(Value::String(text)) => !text.is_empty() && text.len() <= 64,
            // Element ids are long numbers in older answers of Kling's.
            Some(Value::Number(number)) => needs_id && number.is_u64(),
            _ => false,
        };
        if !fits {
            let expected = match (needs_id, is_video) {
                (true, _) => "an id that Kling gave",
                (false, true) => "an http or https URL",
                (false, false) => "a URL, or bare Base64 without a data: prefix",
            };
            let message = format!("{field}: {target} must be {expected}");
            return Err(Refusal::invalid(field, message));
        }
        let named = match fields.get("id") {
            Some(Value::String(id)) => !id.is_empty() && id.chars().count() <= 64,
            Some(_) => false,
            None => !needs_id,
        };
        if !named {
            let message = format!("{field}: id must be the name that the prompt uses after @");
            return Err(Refusal::invalid(field, message));
        }
        let mut whole = Map::new();
        whole.insert("type".to_owned(), json!(name));
        whole.extend(
            fields
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        self.entries.push(Value::Object(whole));
        Ok(())
    }

    /// Checks what must be there and what excludes what.
    ///
    /// Source: platform reference 2.3.
    pub(super) fn check(
        &self,
        choice: &Choice,
        endpoint: &NewEndpoint,
        wish: &Wish<'_>,
    ) -> Result<(), Refusal> {
        let name = &choice.spelling;
        let refuse = |field: String, message: String| Err(Refusal::invalid(field, message));
        if let Some(missing) = endpoint
            .required
            .iter()
            .find(|required| !self.has(required))
        {
            let message = format!("{} needs {missing} in parameters", choice.row.product);
            return refuse(path(missing), message);
        }
        for (kind, max) in choice.rules().contents {
            if self.count(kind) > *max {
                return refuse(path(kind), format!("{name} takes at most {max} {kind}"));
            }
        }
        let ids: Vec<&str> = self
            .entries
            .iter()
            .filter_map(|entry| entry["id"].as_str())
            .collect();
        if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
            return refuse(path("contents"), "each id may be used once".to_owned());
        }
        if self.has("last_frame") {
            let at_1080 = wish.resolution == Some(Resolution::P1080);
            if choice.rules().last_frame == LastFrame::At1080 && !at_1080 {
                let message = format!("{name} takes a last_frame at mode 1080p only");
                return refuse("mode".to_owned(), message);
            }
            if !self.has("first_frame") {
                let message = "a last_frame needs a first_frame".to_owned();
                return refuse(path("last_frame"), message);
            }
        }
        if self.has("voice") && !wish.audio {
            return refuse("audio".to_owned(), "voices need audio: true".to_owned());
        }
        self.check_videos(choice, wish)
    }

    fn check_videos(&self, choice: &Choice, wish: &Wish<'_>) -> Result<(), Refusal> {
        let refuse = |field: String, message: String| Err(Refusal::invalid(field, message));
        let (base, feature) = (self.has("base_video"), self.has("feature_video"));
        if base && feature {
            let message = "base_video and feature_video exclude each other".to_owned();
            return refuse(path("base_video"), message);
        }
        if base && self.has("first_frame") {
            let message = "an edited video takes no frames; leave first_frame out".to_owned();
            return refuse(path("first_frame"), message);
        }
        if feature && self.has("last_frame") {
            let message = "a feature_video takes no last_frame; leave it out".to_owned();
            return refuse(path("last_frame"), message);
        }
        if base && wish.seconds_asked {
            let message = "an edited video is as long as its base; leave duration out".to_owned();
            return refuse("duration".to_owned(), message);
        }
        // A first frame alone is made 5 or 10 s long by this model.
        let alone = self.has("first_frame")
            && !self.has("last_frame")
            && !self.has("refer_image")
            && !feature;
        let five_or_ten = wish
            .seconds
            .is_some_and(|s| s == 5.into() || s == 10.into());
        if choice.model.version == "o1" && alone && !five_or_ten {
            let message = "from a first frame alone, kling-o1 makes 5 or 10 s".to_owned();
            return refuse("duration".to_owned(), message);
        }
        Ok(())
    }
}
