//! What the platform offers: products with their paths, models, and what became of old ones.

/// Which resource pack pays for a task, and which pool of slots it occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pack {
    /// Video packs; they also pay for audio, voices and elements.
    Video,
    /// Image packs.
    Image,
    /// Virtual try-on packs.
    TryOn,
}

impl Pack {
    /// Its name in stats, pools and the account endpoints.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Image => "image",
            Self::TryOn => "try-on",
        }
    }

    /// Its name in the `product_type` filter of `POST /tasks`.
    pub(super) fn filter_name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Image => "image",
            Self::TryOn => "try_on",
        }
    }
}

/// What a finished task holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Yield {
    /// MP4 files.
    Video,
    /// PNG files.
    Image,
    /// One MP3 and one WAV file.
    Audio,
    /// One entry with three views.
    Views,
    /// A reusable subject.
    Element,
    /// A reusable voice.
    Voice,
}

/// The two API generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standard {
    /// Model in the path, `id` and `status` in the answer.
    New,
    /// `/v1/` in the path, `task_id` and `task_status` in the answer.
    Legacy,
}

impl Standard {
    /// Its name in stats.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Legacy => "legacy",
        }
    }
}

/// One asynchronous product.
///
/// Source: platform reference 2.1, 2.3, 2.6.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) name: &'static str,
    /// Path before the model, and the models it takes, on the new standard.
    pub(super) new: Option<(&'static str, &'static [&'static str])>,
    pub(super) legacy_path: &'static str,
    /// Values of `model_name`, the first being the default; empty when there is no such field.
    pub(super) legacy_models: &'static [&'static str],
    pub(super) pack: Pack,
    pub(super) yields: Yield,
}

const LEGACY_VIDEO: &[&str] = &["kling-v1", "kling-v2-5-turbo", "kling-v2-6", "kling-v3"];
const NEW_VIDEO: &[&str] = &[
    "kling-3.0-turbo",
    "kling-3.0",
    "kling-2.6",
    "kling-2.5-turbo",
];

const fn product(
    name: &'static str,
    legacy_path: &'static str,
    legacy_models: &'static [&'static str],
    pack: Pack,
    yields: Yield,
) -> Product {
    Product {
        name,
        new: None,
        legacy_path,
        legacy_models,
        pack,
        yields,
    }
}

const fn with_new(base: Product, path: &'static str, models: &'static [&'static str]) -> Product {
    Product {
        new: Some((path, models)),
        ..base
    }
}

/// Every product that can be created.
pub(super) static PRODUCTS: &[Product] = &[
    with_new(
        product(
            "text-to-video",
            "/v1/videos/text2video",
            LEGACY_VIDEO,
            Pack::Video,
            Yield::Video,
        ),
        "/text-to-video",
        NEW_VIDEO,
    ),
    with_new(
        product(
            "image-to-video",
            "/v1/videos/image2video",
            LEGACY_VIDEO,
            Pack::Video,
            Yield::Video,
        ),
        "/image-to-video",
        NEW_VIDEO,
    ),
    with_new(
        product(
            "omni-video",
            "/v1/videos/omni-video",
            &["kling-video-o1", "kling-v3-omni"],
            Pack::Video,
            Yield::Video,
        ),
        "/omni-video",
        &["kling-3.0-omni", "kling-v3-omni", "kling-o1"],
    ),
    with_new(
        product(
            "motion-control",
            "/v1/videos/motion-control",
            &["kling-v2-6", "kling-v3"],
            Pack::Video,
            Yield::Video,
        ),
        "/motion-control",
        &["kling-3.0", "kling-2.6"],
    ),
    product(
        "multi-elements",
        "/v1/videos/multi-elements",
        &[],
        Pack::Video,
        Yield::Video,
    ),
    product(
        "advanced-lip-sync",
        "/v1/videos/advanced-lip-sync",
        &[],
        Pack::Video,
        Yield::Video,
    ),
    product(
        "lip-sync",
        "/v1/videos/lip-sync",
        &[],
        Pack::Video,
        Yield::Video,
    ),
    product(
        "avatar",
        "/v1/videos/avatar/image2video",
        &[],
        Pack::Video,
        Yield::Video,
    ),
    product(
        "effects",
        "/v1/videos/effects",
        &[],
        Pack::Video,
        Yield::Video,
    ),
    product(
        "text-to-audio",
        "/v1/audio/text-to-audio",
        &[],
        Pack::Video,
        Yield::Audio,
    ),
    product(
        "video-to-audio",
        "/v1/audio/video-to-audio",
        &[],
        Pack::Video,
        Yield::Audio,
    ),
    product(
        "image-generation",
        "/v1/images/generations",
        &["kling-v1", "kling-v2-1", "kling-v3"],
        Pack::Image,
        Yield::Image,
    ),
    product(
        "omni-image",
        "/v1/images/omni-image",
        &["kling-image-o1", "kling-v3-omni"],
        Pack::Image,
        Yield::Image,
    ),
    product(
        "multi-image-to-image",
        "/v1/images/multi-image2image",
        &["kling-v2-1"],
        Pack::Image,
        Yield::Image,
    ),
    product(
        "image-expansion",
        "/v1/images/editing/expand",
        &[],
        Pack::Image,
        Yield::Image,
    ),
    product(
        "virtual-try-on",
        "/v1/images/kolors-virtual-try-on",
        &["kolors-virtual-try-on-v1", "kolors-virtual-try-on-v1-5"],
        Pack::TryOn,
        Yield::Image,
    ),
    product(
        "ai-multi-shot",
        "/v1/general/ai-multi-shot",
        &[],
        Pack::Image,
        Yield::Views,
    ),
    product(
        "element",
        "/v1/general/advanced-custom-elements",
        &[],
        Pack::Video,
        Yield::Element,
    ),
    product(
        "custom-voice",
        "/v1/general/custom-voices",
        &[],
        Pack::Video,
        Yield::Voice,
    ),
];

/// Legacy endpoints that still answer, only to say that they are gone.
pub(super) const RETIRED_PATHS: &[&str] =
    &["/v1/videos/multi-image2video", "/v1/videos/video-extend"];

/// Models switched off on 2026-09-15, in the spelling of `model_name`.
///
/// Source: platform reference 2.1 (image versions as their `model_name` values).
pub(super) fn is_discontinued(pack: Pack, model: &str) -> bool {
    let gone: &[&str] = match pack {
        Pack::Video => &[
            "kling-v1",
            "kling-v1-5",
            "kling-v1-6",
            "kling-v2-master",
            "kling-v2-1",
            "kling-v2-1-master",
        ],
        Pack::Image => &["kling-v1", "kling-v1-5", "kling-v2", "kling-v2-new"],
        Pack::TryOn => &[],
    };
    gone.contains(&model)
}

/// The new standard's spelling of a model version, so that both spellings share their slots.
pub(super) fn version(model: &str) -> String {
    if model == "kling-video-o1" {
        return "kling-o1".to_owned();
    }
    let Some(rest) = model.strip_prefix("kling-v") else {
        return model.to_owned();
    };
    let mut parts = rest.split('-').peekable();
    let Some(major) = parts.next() else {
        return model.to_owned();
    };
    let minor = match parts.peek() {
        Some(part) if part.bytes().all(|byte| byte.is_ascii_digit()) => parts.next().unwrap_or("0"),
        _ => "0",
    };
    let mut spelled = format!("kling-{major}.{minor}");
    for part in parts {
        spelled.push('-');
        spelled.push_str(part);
    }
    spelled
}
