//! The products that image and try-on packs pay for.

use crate::model::request::Product;

use super::super::{
    Kind, LegacyEndpoint, ModelRow, Pack, Parameter, ProductRow, PromptRule, Resolution,
};
use super::{ENDPOINT, LEGACY_ONLY, PLAIN, WATERMARK, may, must};

const TO_2K: &[Resolution] = &[Resolution::K1, Resolution::K2];
const TO_4K: &[Resolution] = &[Resolution::K1, Resolution::K2, Resolution::K4];
const RATIOS: &[&str] = &["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"];
const RATIOS_AND_AUTO: &[&str] = &[
    "16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9", "auto",
];
const N: Parameter = may("n", Kind::Whole(1, 9));
/// Withdrawn on 2026-09-15: image 1.0, 1.5, 2.0 and 2.0-new.
const DISCONTINUED: &[&str] = &["kling-v1", "kling-v1-5", "kling-v2", "kling-v2-new"];

const IMAGE: ProductRow = ProductRow {
    pack: Pack::Image,
    discontinued: DISCONTINUED,
    ..LEGACY_ONLY
};

pub(super) static IMAGE_GENERATION: ProductRow = ProductRow {
    product: Product::ImageGeneration,
    prompt: PromptRule::Required(2_500),
    aspect_ratios: RATIOS,
    legacy: LegacyEndpoint {
        path: "/v1/images/generations",
        negative_prompt: true,
        parameters: &[
            may("image", Kind::Media),
            may("image_reference", Kind::OneOf(&["subject", "face"])),
            may("image_fidelity", Kind::Number(0, 1)),
            may("human_fidelity", Kind::Number(0, 1)),
            may("element_list", Kind::List(1, 10)),
            may("resolution", Kind::OneOf(&["1k", "2k"])),
            N,
            WATERMARK,
        ],
        ..ENDPOINT
    },
    default_legacy: Some("kling-v3"),
    models: &[
        ModelRow {
            version: "3.0",
            legacy: &["kling-v3"],
            resolutions: TO_2K,
            ..PLAIN
        },
        ModelRow {
            version: "2.1",
            legacy: &["kling-v2-1"],
            resolutions: TO_2K,
            ..PLAIN
        },
    ],
    ..IMAGE
};

pub(super) static OMNI_IMAGE: ProductRow = ProductRow {
    product: Product::OmniImage,
    prompt: PromptRule::Required(2_500),
    aspect_ratios: RATIOS_AND_AUTO,
    legacy: LegacyEndpoint {
        path: "/v1/images/omni-image",
        parameters: &[
            may("image_list", Kind::List(1, 10)),
            may("element_list", Kind::List(1, 10)),
            may("resolution", Kind::OneOf(&["1k", "2k", "4k"])),
            may("result_type", Kind::OneOf(&["single", "series"])),
            may("series_amount", Kind::WholeOrAuto(2, 9)),
            N,
            WATERMARK,
        ],
        ..ENDPOINT
    },
    default_legacy: Some("kling-image-o1"),
    models: &[
        ModelRow {
            version: "o1",
            legacy: &["kling-image-o1"],
            resolutions: TO_4K,
            ..PLAIN
        },
        ModelRow {
            version: "3.0-omni",
            legacy: &["kling-v3-omni"],
            resolutions: TO_4K,
            ..PLAIN
        },
    ],
    ..IMAGE
};

pub(super) static MULTI_IMAGE_TO_IMAGE: ProductRow = ProductRow {
    product: Product::MultiImageToImage,
    prompt: PromptRule::Optional,
    aspect_ratios: RATIOS,
    legacy: LegacyEndpoint {
        path: "/v1/images/multi-image2image",
        parameters: &[
            must("subject_image_list", Kind::List(1, 4)),
            may("scene_image", Kind::Media),
            may("style_image", Kind::Media),
            N,
            WATERMARK,
        ],
        ..ENDPOINT
    },
    default_legacy: Some("kling-v2-1"),
    models: &[ModelRow {
        version: "2.1",
        legacy: &["kling-v2-1"],
        ..PLAIN
    }],
    ..IMAGE
};

pub(super) static IMAGE_EXPANSION: ProductRow = ProductRow {
    product: Product::ImageExpansion,
    prompt: PromptRule::Optional,
    legacy: LegacyEndpoint {
        path: "/v1/images/editing/expand",
        parameters: &[
            must("image", Kind::Media),
            must("up_expansion_ratio", Kind::Number(0, 2)),
            must("down_expansion_ratio", Kind::Number(0, 2)),
            must("left_expansion_ratio", Kind::Number(0, 2)),
            must("right_expansion_ratio", Kind::Number(0, 2)),
            N,
            WATERMARK,
        ],
        ..ENDPOINT
    },
    models: &[ModelRow {
        version: "image-expansion",
        ..PLAIN
    }],
    ..IMAGE
};

pub(super) static VIRTUAL_TRY_ON: ProductRow = ProductRow {
    product: Product::VirtualTryOn,
    pack: Pack::TryOn,
    legacy: LegacyEndpoint {
        path: "/v1/images/kolors-virtual-try-on",
        parameters: &[
            must("human_image", Kind::Media),
            must("cloth_image", Kind::Media),
            WATERMARK,
        ],
        ..ENDPOINT
    },
    default_legacy: Some("kolors-virtual-try-on-v1-5"),
    // Both spellings run on one pipeline since 2026-09-15, so they share their slots.
    models: &[ModelRow {
        version: "kolors",
        legacy: &["kolors-virtual-try-on-v1-5", "kolors-virtual-try-on-v1"],
        ..PLAIN
    }],
    ..LEGACY_ONLY
};

pub(super) static AI_MULTI_SHOT: ProductRow = ProductRow {
    product: Product::AiMultiShot,
    legacy: LegacyEndpoint {
        path: "/v1/general/ai-multi-shot",
        parameters: &[must("element_frontal_image", Kind::Media), WATERMARK],
        ..ENDPOINT
    },
    models: &[ModelRow {
        version: "ai-multi-shot",
        ..PLAIN
    }],
    ..IMAGE
};
