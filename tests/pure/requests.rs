//! Requests as callers write them, for the tests of planning.

use std::sync::LazyLock;

use jiff::civil::{Date, date};
use kling_relay::decide::pricing::{Generations, PlanOptions, Planned, PriceBook, Refusal, plan};
use kling_relay::model::request::{Purpose, TaskRequest};
use serde_json::{Value, json};

/// A day on which both built-in books hold.
pub(crate) const TODAY: Date = date(2026, 11, 21);

pub(crate) fn official() -> &'static PriceBook {
    static BOOK: LazyLock<PriceBook> =
        LazyLock::new(|| PriceBook::named("official-2026-09").expect("the official book is sound"));
    &BOOK
}

pub(crate) fn seed() -> &'static PriceBook {
    static BOOK: LazyLock<PriceBook> =
        LazyLock::new(|| PriceBook::named("seed-credits-v1").expect("the seed's book is sound"));
    &BOOK
}

#[track_caller]
pub(crate) fn request(body: &Value) -> TaskRequest {
    serde_json::from_value(body.clone()).expect("the request has the documented form")
}

/// Plans with the official book and an API key.
#[track_caller]
pub(crate) fn planned(body: &Value) -> Planned {
    let options = options(Generations::Both);
    match plan(&request(body), official(), &options) {
        Ok(planned) => planned,
        Err(refusal) => panic!("refused: {refusal:?}"),
    }
}

/// Plans with the official book and an API key, expecting a refusal.
#[track_caller]
pub(crate) fn refused(body: &Value) -> Refusal {
    let options = options(Generations::Both);
    match plan(&request(body), official(), &options) {
        Ok(planned) => panic!("planned: {}", Value::Object(planned.call.body)),
        Err(refusal) => refusal,
    }
}

/// Expects a refusal with that code, field and words.
#[track_caller]
pub(crate) fn check_refused(body: &Value, code: &str, field: &str, words: &str) {
    let refusal = refused(body);
    assert_eq!(refusal.code.as_str(), code, "{refusal}");
    assert_eq!(refusal.field.as_deref(), Some(field), "{refusal}");
    assert!(refusal.message.contains(words), "{refusal}");
}

pub(crate) fn options(generations: Generations) -> PlanOptions {
    PlanOptions {
        generations,
        on: TODAY,
        default_purpose: Purpose::Final,
    }
}

/// The smallest request that each product takes, and what it costs with the official book
/// (`None`: unknown).
pub(crate) fn smallest() -> Vec<(Value, Option<&'static str>)> {
    let products = [
        smallest_videos(),
        smallest_audio(),
        smallest_images(),
        smallest_parts(),
    ];
    products.into_iter().flatten().collect()
}

const IMAGE: &str = "https://example.com/a.png";
const VIDEO: &str = "https://example.com/a.mp4";

fn smallest_videos() -> Vec<(Value, Option<&'static str>)> {
    vec![
        (
            json!({"product": "text-to-video", "prompt": "a fox"}),
            Some("1.5 video-unit"),
        ),
        (
            json!({"product": "image-to-video", "parameters": {"first_frame": IMAGE}}),
            Some("1.5 video-unit"),
        ),
        (
            json!({"product": "omni-video", "prompt": "a fox"}),
            Some("3 video-unit"),
        ),
        (
            json!({"product": "motion-control", "parameters": {
                "image": IMAGE, "video": VIDEO, "character_orientation": "video"}}),
            Some("15 video-unit"),
        ),
        (
            json!({"product": "multi-elements", "prompt": "swap it", "parameters": {
                "session_id": "s", "edit_mode": "removal"}}),
            None,
        ),
        (
            json!({"product": "lip-sync", "parameters": {"session_id": "s", "face_choose": [
                {"face_id": "0", "audio_id": "1", "sound_start_time": 0, "sound_end_time": 2000,
                 "sound_insert_time": 0}]}}),
            Some("6 video-unit"),
        ),
        (
            json!({"product": "avatar", "parameters": {"image": IMAGE, "audio_id": "1"}}),
            Some("120 video-unit"),
        ),
        (
            json!({"product": "effects", "parameters": {
                "effect_scene": "hug_pro", "input": {"images": [IMAGE, IMAGE]}}}),
            None,
        ),
    ]
}

fn smallest_audio() -> Vec<(Value, Option<&'static str>)> {
    vec![
        (
            json!({"product": "text-to-audio", "prompt": "rain"}),
            Some("0.25 video-unit"),
        ),
        (
            json!({"product": "video-to-audio", "parameters": {"video_url": VIDEO}}),
            Some("0.25 video-unit"),
        ),
    ]
}

fn smallest_images() -> Vec<(Value, Option<&'static str>)> {
    vec![
        (
            json!({"product": "image-generation", "prompt": "a fox"}),
            Some("8 image-unit"),
        ),
        (
            json!({"product": "omni-image", "prompt": "a fox"}),
            Some("8 image-unit"),
        ),
        (
            json!({"product": "multi-image-to-image", "parameters": {
                "subject_image_list": [{"subject_image": IMAGE}]}}),
            Some("16 image-unit"),
        ),
        (
            json!({"product": "image-expansion", "parameters": {
                "image": IMAGE, "up_expansion_ratio": 0.1, "down_expansion_ratio": 0.1,
                "left_expansion_ratio": 0.1, "right_expansion_ratio": 0.1}}),
            Some("8 image-unit"),
        ),
        (
            json!({"product": "virtual-try-on", "parameters": {
                "human_image": IMAGE, "cloth_image": IMAGE}}),
            Some("1 try-on-unit"),
        ),
        (
            json!({"product": "ai-multi-shot", "parameters": {"element_frontal_image": IMAGE}}),
            Some("20 image-unit"),
        ),
    ]
}

fn smallest_parts() -> Vec<(Value, Option<&'static str>)> {
    vec![
        (
            json!({"product": "element", "parameters": {
                "element_name": "Fox", "element_description": "A red fox",
                "reference_type": "image_refer", "element_image_list": {"frontal_image": IMAGE,
                "refer_images": [{"image_url": IMAGE}]}}}),
            Some("0 video-unit"),
        ),
        (
            json!({"product": "custom-voice", "parameters": {
                "voice_name": "Fox", "voice_url": "https://example.com/a.mp3"}}),
            Some("0.05 video-unit"),
        ),
    ]
}
