//! The rows, one per product.
//!
//! Source: platform reference 2.1 to 2.6, and Kling's own pages as captured on 2026-09-20 for the
//! limits that the reference leaves out.

mod image;
mod speech;
mod video;

use crate::model::request::Product;

use super::{
    Kind, LastFrame, LegacyEndpoint, Lengths, ModelRow, PROMPT_MAX, Pack, Parameter, ProductRow,
    PromptRule, Resolution, SoundRule,
};

/// The table, in the order of [`Product::ALL`].
pub static ROWS: [&ProductRow; 18] = [
    &video::TEXT_TO_VIDEO,
    &video::IMAGE_TO_VIDEO,
    &video::OMNI_VIDEO,
    &video::MOTION_CONTROL,
    &speech::MULTI_ELEMENTS,
    &speech::LIP_SYNC,
    &speech::AVATAR,
    &speech::EFFECTS,
    &speech::TEXT_TO_AUDIO,
    &speech::VIDEO_TO_AUDIO,
    &image::IMAGE_GENERATION,
    &image::OMNI_IMAGE,
    &image::MULTI_IMAGE_TO_IMAGE,
    &image::IMAGE_EXPANSION,
    &image::VIRTUAL_TRY_ON,
    &image::AI_MULTI_SHOT,
    &speech::ELEMENT,
    &speech::CUSTOM_VOICE,
];

/// A model without any choice; rows name what differs.
const PLAIN: ModelRow = ModelRow {
    version: "",
    new: None,
    legacy: &[],
    prompt_max: PROMPT_MAX,
    resolutions: &[],
    lengths: Lengths::None,
    sound: SoundRule::None,
    voices: false,
    last_frame: LastFrame::Never,
    multi_shot: false,
    edit_max_s: 0,
    contents: &[],
};

/// The rules for a model that only a price book knows: everything that Kling has a word for.
pub static UNKNOWN_MODEL: ModelRow = ModelRow {
    resolutions: &[Resolution::P720, Resolution::P1080, Resolution::K4],
    lengths: Lengths::Whole(1, 60),
    sound: SoundRule::NativeOrOriginal,
    voices: true,
    last_frame: LastFrame::Always,
    edit_max_s: 60,
    contents: &[
        ("first_frame", 1),
        ("last_frame", 1),
        ("refer_image", 10),
        ("feature_video", 1),
        ("base_video", 1),
        ("image", 1),
        ("video", 1),
        ("element", 10),
        ("voice", 10),
    ],
    ..PLAIN
};

/// A product that stands on the legacy generation only and has neither prompt nor models; rows
/// name what differs.
const LEGACY_ONLY: ProductRow = ProductRow {
    product: Product::Element,
    pack: Pack::Video,
    prompt: PromptRule::None,
    aspect_ratios: &[],
    new: None,
    legacy: ENDPOINT,
    default_new: None,
    default_legacy: None,
    models: &[],
    discontinued: &[],
};

/// A legacy endpoint without any field of its own; rows name what differs.
const ENDPOINT: LegacyEndpoint = LegacyEndpoint {
    path: "",
    negative_prompt: false,
    multi_shot: false,
    sound: None,
    parameters: &[],
    together: &[],
};

const WATERMARK: Parameter = may("watermark_info", Kind::Object);

/// Identifiers that Kling hands out are opaque; this only keeps nonsense out.
const ID: Kind = Kind::Text(256);

const fn may(name: &'static str, kind: Kind) -> Parameter {
    Parameter {
        name,
        kind,
        required: false,
    }
}

const fn must(name: &'static str, kind: Kind) -> Parameter {
    Parameter {
        name,
        kind,
        required: true,
    }
}
