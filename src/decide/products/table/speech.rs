//! The products that video packs pay for and that stand on the legacy generation only: editing,
//! speech, audio, elements and voices.

use crate::model::request::Product;

use super::super::{
    Kind, LegacyEndpoint, Lengths, ModelRow, ProductRow, PromptRule, Resolution, Together,
};
use super::{ENDPOINT, ID, LEGACY_ONLY, PLAIN, WATERMARK, may, must};

const TO_1080: &[Resolution] = &[Resolution::P720, Resolution::P1080];

pub(super) static MULTI_ELEMENTS: ProductRow = ProductRow {
    product: Product::MultiElements,
    prompt: PromptRule::Required(2_500),
    legacy: LegacyEndpoint {
        path: "/v1/videos/multi-elements",
        negative_prompt: true,
        parameters: &[
            must("session_id", ID),
            must("edit_mode", Kind::OneOf(&["addition", "swap", "removal"])),
            may("image_list", Kind::List(1, 2)),
            WATERMARK,
        ],
        ..ENDPOINT
    },
    models: &[ModelRow {
        version: "multi-elements",
        resolutions: TO_1080,
        lengths: Lengths::OneOf(&[5, 10]),
        ..PLAIN
    }],
    ..LEGACY_ONLY
};

pub(super) static LIP_SYNC: ProductRow = ProductRow {
    product: Product::LipSync,
    legacy: LegacyEndpoint {
        path: "/v1/videos/advanced-lip-sync",
        parameters: &[
            must("session_id", ID),
            must("face_choose", Kind::List(1, 1)),
            WATERMARK,
        ],
        ..ENDPOINT
    },
    models: &[ModelRow {
        version: "lip-sync",
        // Face recognition takes videos of 2 to 60 s.
        lengths: Lengths::Input(60),
        ..PLAIN
    }],
    ..LEGACY_ONLY
};

pub(super) static AVATAR: ProductRow = ProductRow {
    product: Product::Avatar,
    prompt: PromptRule::Optional,
    legacy: LegacyEndpoint {
        path: "/v1/videos/avatar/image2video",
        parameters: &[
            must("image", Kind::Media),
            may("audio_id", ID),
            may("sound_file", Kind::Media),
            WATERMARK,
        ],
        together: &[Together::ExactlyOne(&["audio_id", "sound_file"])],
        ..ENDPOINT
    },
    models: &[ModelRow {
        version: "avatar",
        resolutions: TO_1080,
        lengths: Lengths::Input(300),
        ..PLAIN
    }],
    ..LEGACY_ONLY
};

pub(super) static EFFECTS: ProductRow = ProductRow {
    product: Product::Effects,
    legacy: LegacyEndpoint {
        path: "/v1/videos/effects",
        parameters: &[
            must("effect_scene", Kind::Text(64)),
            must("input", Kind::Object),
        ],
        ..ENDPOINT
    },
    models: &[ModelRow {
        version: "effects",
        ..PLAIN
    }],
    ..LEGACY_ONLY
};

pub(super) static TEXT_TO_AUDIO: ProductRow = ProductRow {
    product: Product::TextToAudio,
    prompt: PromptRule::Required(200),
    legacy: LegacyEndpoint {
        path: "/v1/audio/text-to-audio",
        ..ENDPOINT
    },
    models: &[ModelRow {
        version: "text-to-audio",
        lengths: Lengths::Tenths(3, 10),
        ..PLAIN
    }],
    ..LEGACY_ONLY
};

pub(super) static VIDEO_TO_AUDIO: ProductRow = ProductRow {
    product: Product::VideoToAudio,
    legacy: LegacyEndpoint {
        path: "/v1/audio/video-to-audio",
        parameters: &[
            may("video_id", ID),
            may("video_url", Kind::Url),
            may("sound_effect_prompt", Kind::Text(200)),
            may("bgm_prompt", Kind::Text(200)),
            may("asmr_mode", Kind::Flag),
        ],
        together: &[Together::ExactlyOne(&["video_id", "video_url"])],
        ..ENDPOINT
    },
    models: &[ModelRow {
        version: "video-to-audio",
        ..PLAIN
    }],
    ..LEGACY_ONLY
};

pub(super) static ELEMENT: ProductRow = ProductRow {
    product: Product::Element,
    legacy: LegacyEndpoint {
        path: "/v1/general/advanced-custom-elements",
        parameters: &[
            must("element_name", Kind::Text(20)),
            must("element_description", Kind::Text(100)),
            must(
                "reference_type",
                Kind::OneOf(&["video_refer", "image_refer"]),
            ),
            may("element_image_list", Kind::Object),
            may("element_video_list", Kind::Object),
            may("element_voice_id", ID),
            may("tag_list", Kind::List(1, 8)),
        ],
        together: &[Together::ExactlyOne(&[
            "element_image_list",
            "element_video_list",
        ])],
        ..ENDPOINT
    },
    models: &[ModelRow {
        version: "element",
        ..PLAIN
    }],
    ..LEGACY_ONLY
};

pub(super) static CUSTOM_VOICE: ProductRow = ProductRow {
    product: Product::CustomVoice,
    legacy: LegacyEndpoint {
        path: "/v1/general/custom-voices",
        parameters: &[
            must("voice_name", Kind::Text(20)),
            may("voice_url", Kind::Url),
            may("video_id", ID),
        ],
        together: &[Together::ExactlyOne(&["voice_url", "video_id"])],
        ..ENDPOINT
    },
    models: &[ModelRow {
        version: "custom-voice",
        ..PLAIN
    }],
    ..LEGACY_ONLY
};
