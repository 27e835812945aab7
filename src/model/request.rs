//! What a caller wants made, for whom.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What Kling can make. A table in `decide::products` maps each to endpoint, fields, pack and
/// defaults.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are Kling's product names")]
pub enum Product {
    TextToVideo,
    ImageToVideo,
    OmniVideo,
    MotionControl,
    MultiElements,
    LipSync,
    Avatar,
    Effects,
    TextToAudio,
    VideoToAudio,
    ImageGeneration,
    OmniImage,
    MultiImageToImage,
    ImageExpansion,
    VirtualTryOn,
    AiMultiShot,
    Element,
    CustomVoice,
}

impl Product {
    /// Every product, in the order in which the README lists them.
    pub const ALL: [Product; 18] = [
        Product::TextToVideo,
        Product::ImageToVideo,
        Product::OmniVideo,
        Product::MotionControl,
        Product::MultiElements,
        Product::LipSync,
        Product::Avatar,
        Product::Effects,
        Product::TextToAudio,
        Product::VideoToAudio,
        Product::ImageGeneration,
        Product::OmniImage,
        Product::MultiImageToImage,
        Product::ImageExpansion,
        Product::VirtualTryOn,
        Product::AiMultiShot,
        Product::Element,
        Product::CustomVoice,
    ];

    /// Returns the product's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Product::TextToVideo => "text-to-video",
            Product::ImageToVideo => "image-to-video",
            Product::OmniVideo => "omni-video",
            Product::MotionControl => "motion-control",
            Product::MultiElements => "multi-elements",
            Product::LipSync => "lip-sync",
            Product::Avatar => "avatar",
            Product::Effects => "effects",
            Product::TextToAudio => "text-to-audio",
            Product::VideoToAudio => "video-to-audio",
            Product::ImageGeneration => "image-generation",
            Product::OmniImage => "omni-image",
            Product::MultiImageToImage => "multi-image-to-image",
            Product::ImageExpansion => "image-expansion",
            Product::VirtualTryOn => "virtual-try-on",
            Product::AiMultiShot => "ai-multi-shot",
            Product::Element => "element",
            Product::CustomVoice => "custom-voice",
        }
    }
}

impl std::fmt::Display for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the result is for; `draft` turns the mode to standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A trial: rendered in the cheapest mode.
    Draft,
    /// The real thing: rendered in the mode asked for.
    Final,
}

/// A length in seconds, given as `"5"` or `5`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Duration {
    /// As text, Kling's legacy spelling.
    Text(String),
    /// As a number, Kling's new spelling.
    Number(serde_json::Number),
}

/// The body of a submission, as its caller wrote it. Unknown keys are refused: at Kling a
/// misspelt field would be a wrong, paid video.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// What to make.
    pub product: Product,
    /// Kling's own spelling of the model, which picks the API generation; the product's default
    /// without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What not to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<String>,
    /// Seconds, `"5"` or `5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// `standard`, `professional`, `std`, `pro`, `720p`, `1080p` or `4k`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// For example `16:9`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aspect_ratio: Option<String>,
    /// Whether to generate sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<bool>,
    /// `draft` or `final`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// The caller's own marks, carried on every event: at most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Fields without a typed form, as Kling documents them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// Whether an earlier result of the same request may answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse: bool,
    /// The earliest time of dispatch (RFC 3339), at most 7 days ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Whether to wait for the configured off-peak window.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub off_peak: bool,
}

/// Leaves out the prompts and parameters: they are user data and never reach a log.
impl std::fmt::Debug for TaskRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskRequest")
            .field("product", &self.product)
            .field("model", &self.model)
            .field("duration", &self.duration)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// A call that creates a task at Kling: everything but `callback_url` and `external_task_id`,
/// which the dispatcher adds.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KlingCall {
    /// The path under the base URL, for example `/text-to-video/kling-2.6`.
    pub path: String,
    /// The body as Kling documents it.
    pub body: Map<String, Value>,
}

/// Leaves out the body: it holds the prompt.
impl std::fmt::Debug for KlingCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KlingCall")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
