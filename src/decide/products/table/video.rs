//! The four video products that stand on both generations.

use crate::model::request::Product;

use super::super::{
    Kind, LastFrame, LegacyEndpoint, Lengths, ModelRow, NewEndpoint, Pack, Parameter, ProductRow,
    PromptRule, Resolution, SoundRule, Together,
};
use super::{ENDPOINT, LEGACY_ONLY, PLAIN, WATERMARK, may, must};

const TO_1080: &[Resolution] = &[Resolution::P720, Resolution::P1080];
const TO_4K: &[Resolution] = &[Resolution::P720, Resolution::P1080, Resolution::K4];
const RATIOS: &[&str] = &["16:9", "9:16", "1:1"];
const ORIENTATION: Parameter = must("character_orientation", Kind::OneOf(&["image", "video"]));
/// Withdrawn on 2026-09-15.
const DISCONTINUED: &[&str] = &[
    "kling-v1",
    "kling-v1-5",
    "kling-v1-6",
    "kling-v2-master",
    "kling-v2-1",
    "kling-v2-1-master",
];

const V3_TURBO: ModelRow = ModelRow {
    version: "3.0-turbo",
    new: Some("kling-3.0-turbo"),
    prompt_max: 3_072,
    resolutions: TO_1080,
    lengths: Lengths::Whole(3, 15),
    sound: SoundRule::Always,
    ..PLAIN
};
const V3: ModelRow = ModelRow {
    version: "3.0",
    new: Some("kling-3.0"),
    legacy: &["kling-v3"],
    prompt_max: 3_072,
    resolutions: TO_4K,
    lengths: Lengths::Whole(3, 15),
    sound: SoundRule::Native,
    multi_shot: true,
    ..PLAIN
};
const V2_6: ModelRow = ModelRow {
    version: "2.6",
    new: Some("kling-2.6"),
    legacy: &["kling-v2-6"],
    resolutions: TO_1080,
    lengths: Lengths::OneOf(&[5, 10]),
    sound: SoundRule::NativeAt1080,
    ..PLAIN
};
const V2_5_TURBO: ModelRow = ModelRow {
    version: "2.5-turbo",
    new: Some("kling-2.5-turbo"),
    legacy: &["kling-v2-5-turbo"],
    resolutions: TO_1080,
    lengths: Lengths::OneOf(&[5, 10]),
    ..PLAIN
};

const LEGACY_VIDEO: LegacyEndpoint = LegacyEndpoint {
    negative_prompt: true,
    multi_shot: true,
    sound: Some(("sound", "on", "off")),
    ..ENDPOINT
};

pub(super) static TEXT_TO_VIDEO: ProductRow = ProductRow {
    product: Product::TextToVideo,
    pack: Pack::Video,
    prompt: PromptRule::Required(2_500),
    aspect_ratios: RATIOS,
    new: Some(NewEndpoint {
        prefix: "/text-to-video/",
        contents: false,
        required: &[],
        settings: &[],
    }),
    legacy: LegacyEndpoint {
        path: "/v1/videos/text2video",
        parameters: &[
            may("cfg_scale", Kind::Number(0, 1)),
            may("camera_control", Kind::Object),
            may("element_list", Kind::List(1, 3)),
            may("voice_list", Kind::List(1, 2)),
            WATERMARK,
        ],
        ..LEGACY_VIDEO
    },
    default_new: Some("kling-2.6"),
    default_legacy: Some("kling-v2-6"),
    models: &[V2_6, V3, V3_TURBO, V2_5_TURBO],
    discontinued: DISCONTINUED,
};

pub(super) static IMAGE_TO_VIDEO: ProductRow = ProductRow {
    product: Product::ImageToVideo,
    pack: Pack::Video,
    prompt: PromptRule::Optional,
    aspect_ratios: &[],
    new: Some(NewEndpoint {
        prefix: "/image-to-video/",
        contents: true,
        required: &["first_frame"],
        settings: &[],
    }),
    legacy: LegacyEndpoint {
        path: "/v1/videos/image2video",
        parameters: &[
            may("image", Kind::Media),
            may("image_tail", Kind::Media),
            may("cfg_scale", Kind::Number(0, 1)),
            may("camera_control", Kind::Object),
            may("element_list", Kind::List(1, 3)),
            may("voice_list", Kind::List(1, 2)),
            WATERMARK,
        ],
        together: &[
            Together::AtLeastOne(&["image", "image_tail"]),
            Together::AtMostOne(&["image_tail", "camera_control"]),
        ],
        ..LEGACY_VIDEO
    },
    default_new: Some("kling-2.6"),
    default_legacy: Some("kling-v2-6"),
    models: &[
        ModelRow {
            voices: true,
            last_frame: LastFrame::At1080,
            contents: &[("first_frame", 1), ("last_frame", 1), ("voice", 2)],
            ..V2_6
        },
        ModelRow {
            last_frame: LastFrame::Always,
            contents: &[("first_frame", 1), ("last_frame", 1), ("element", 3)],
            ..V3
        },
        ModelRow {
            // The page of this endpoint says 2500 where text to video says 3072.
            prompt_max: 2_500,
            contents: &[("first_frame", 1)],
            ..V3_TURBO
        },
        ModelRow {
            last_frame: LastFrame::At1080,
            contents: &[("first_frame", 1), ("last_frame", 1)],
            ..V2_5_TURBO
        },
    ],
    discontinued: DISCONTINUED,
};

const OMNI_CONTENTS: &[(&str, usize)] = &[
    ("first_frame", 1),
    ("last_frame", 1),
    ("refer_image", 7),
    ("feature_video", 1),
    ("base_video", 1),
    ("element", 7),
];

pub(super) static OMNI_VIDEO: ProductRow = ProductRow {
    product: Product::OmniVideo,
    pack: Pack::Video,
    prompt: PromptRule::Required(2_500),
    aspect_ratios: RATIOS,
    new: Some(NewEndpoint {
        prefix: "/omni-video/",
        contents: true,
        required: &[],
        settings: &[],
    }),
    legacy: LegacyEndpoint {
        path: "/v1/videos/omni-video",
        negative_prompt: false,
        parameters: &[
            may("image_list", Kind::List(1, 7)),
            may("video_list", Kind::List(1, 1)),
            may("element_list", Kind::List(1, 7)),
            WATERMARK,
        ],
        ..LEGACY_VIDEO
    },
    default_new: Some("kling-3.0-omni"),
    default_legacy: Some("kling-v3-omni"),
    models: &[
        ModelRow {
            version: "3.0-omni",
            new: Some("kling-3.0-omni"),
            legacy: &["kling-v3-omni"],
            sound: SoundRule::NativeOrOriginal,
            last_frame: LastFrame::Always,
            // Base videos of 3 to 15.5 s, billed to the nearest second.
            edit_max_s: 16,
            contents: OMNI_CONTENTS,
            ..V3
        },
        ModelRow {
            version: "o1",
            new: Some("kling-o1"),
            legacy: &["kling-video-o1"],
            resolutions: TO_1080,
            lengths: Lengths::Whole(3, 10),
            sound: SoundRule::Original,
            last_frame: LastFrame::Always,
            edit_max_s: 10,
            contents: OMNI_CONTENTS,
            ..PLAIN
        },
    ],
    ..LEGACY_ONLY
};

pub(super) static MOTION_CONTROL: ProductRow = ProductRow {
    product: Product::MotionControl,
    pack: Pack::Video,
    prompt: PromptRule::Optional,
    aspect_ratios: &[],
    new: Some(NewEndpoint {
        prefix: "/motion-control/",
        contents: true,
        required: &["image", "video"],
        settings: &[ORIENTATION],
    }),
    legacy: LegacyEndpoint {
        path: "/v1/videos/motion-control",
        sound: Some(("keep_original_sound", "yes", "no")),
        parameters: &[
            must("image_url", Kind::Media),
            must("video_url", Kind::Url),
            ORIENTATION,
            may("element_list", Kind::List(1, 1)),
            WATERMARK,
        ],
        ..ENDPOINT
    },
    default_new: Some("kling-2.6"),
    default_legacy: Some("kling-v2-6"),
    models: &[
        ModelRow {
            lengths: Lengths::Input(30),
            sound: SoundRule::Original,
            contents: &[("image", 1), ("video", 1)],
            ..V2_6
        },
        ModelRow {
            prompt_max: 2_500,
            resolutions: TO_1080,
            lengths: Lengths::Input(30),
            sound: SoundRule::Original,
            multi_shot: false,
            contents: &[("image", 1), ("video", 1), ("element", 1)],
            ..V3
        },
    ],
    ..LEGACY_ONLY
};
