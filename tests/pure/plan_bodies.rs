//! What each product's request becomes at Kling, and what it costs and takes.

use kling_relay::decide::pricing::{Generations, PlanOptions, plan};
use kling_relay::decide::products::{ProductRow, pool};
use kling_relay::model::request::{Product, Purpose};
use kling_relay::model::task::Generation;
use serde_json::{Value, json};

use crate::requests::{official, options, planned, refused, request, smallest};

#[track_caller]
fn check_body(body: &Value, path: &str, expected: &Value, price: &str) {
    let planned = planned(body);
    assert_eq!(planned.call.path, path);
    assert_eq!(&Value::Object(planned.call.body), expected);
    assert_eq!(planned.price.to_string(), price);
}

#[test]
fn text_to_video_on_both_generations() {
    check_body(
        &json!({"product": "text-to-video", "prompt": "a fox"}),
        "/text-to-video/kling-2.6",
        &json!({"prompt": "a fox", "settings": {
            "audio": "off", "resolution": "720p", "aspect_ratio": "16:9", "duration": 5}}),
        "1.5 video-unit",
    );
    check_body(
        &json!({"product": "text-to-video", "model": "kling-3.0", "prompt": "a fox",
            "duration": "7", "mode": "4k", "audio": true, "aspect_ratio": "9:16"}),
        "/text-to-video/kling-3.0",
        &json!({"prompt": "a fox", "settings": {"multi_shot": false, "audio": "native",
            "resolution": "4k", "aspect_ratio": "9:16", "duration": 7}}),
        "21 video-unit",
    );
    check_body(
        &json!({"product": "text-to-video", "model": "kling-v2-6", "prompt": "a fox",
            "negative_prompt": "rain", "duration": 10, "mode": "professional", "audio": true}),
        "/v1/videos/text2video",
        &json!({"model_name": "kling-v2-6", "prompt": "a fox", "negative_prompt": "rain",
            "mode": "pro", "duration": "10", "aspect_ratio": "16:9", "sound": "on",
            "multi_shot": false}),
        "10 video-unit",
    );
    check_body(
        &json!({"product": "text-to-video", "model": "kling-v2-5-turbo", "prompt": "a fox",
            "parameters": {"watermark_info": {"enabled": true}}}),
        "/v1/videos/text2video",
        &json!({"model_name": "kling-v2-5-turbo", "prompt": "a fox", "mode": "std",
            "duration": "5", "aspect_ratio": "16:9", "multi_shot": false,
            "watermark_info": {"enabled": true}}),
        "1.5 video-unit",
    );
}

#[test]
fn turbo_always_makes_sound_and_has_no_switch() {
    let body = json!({"product": "text-to-video", "model": "kling-3.0-turbo", "prompt": "a fox"});
    check_body(
        &body,
        "/text-to-video/kling-3.0-turbo",
        &json!({"prompt": "a fox", "settings": {
            "resolution": "720p", "aspect_ratio": "16:9", "duration": 5}}),
        "4 video-unit",
    );
    assert!(planned(&body).audio);
}

#[test]
fn what_is_not_to_be_seen_joins_the_prompt_where_there_is_no_field() {
    let planned = planned(&json!({"product": "text-to-video", "model": "kling-2.6",
        "prompt": "a fox", "negative_prompt": "rain"}));
    assert_eq!(planned.call.body["prompt"], "a fox\nAvoid: rain");
    assert!(!planned.call.body.contains_key("negative_prompt"));
}

#[test]
fn image_to_video_on_both_generations() {
    let (first, last) = ("https://example.com/1.png", "https://example.com/2.png");
    let contents = json!([
        {"type": "prompt", "text": "@sweet sings"},
        {"type": "first_frame", "url": first},
        {"type": "voice", "voice_id": "77", "id": "sweet"},
    ]);
    let settings = json!({"audio": "native", "resolution": "1080p", "duration": 5});
    for parameters in [
        json!({"first_frame": first, "voice": {"voice_id": "77", "id": "sweet"}}),
        json!({"image": first, "voice": [{"voice_id": "77", "id": "sweet"}]}),
        json!({"contents": [contents[1], contents[2]]}),
    ] {
        check_body(
            &json!({"product": "image-to-video", "prompt": "@sweet sings", "audio": true,
                "mode": "1080p", "parameters": parameters}),
            "/image-to-video/kling-2.6",
            &json!({"contents": contents, "settings": settings}),
            "6 video-unit",
        );
    }
    check_body(
        &json!({"product": "image-to-video", "model": "kling-3.0", "parameters": {
            "first_frame": {"url": first}, "last_frame": last,
            "element": [{"element_id": "5", "id": "Zhang"}]}}),
        "/image-to-video/kling-3.0",
        &json!({"contents": [
            {"type": "first_frame", "url": first},
            {"type": "last_frame", "url": last},
            {"type": "element", "element_id": "5", "id": "Zhang"}],
            "settings": {"multi_shot": false, "audio": "off", "resolution": "720p",
                "duration": 5}}),
        "3 video-unit",
    );
    check_body(
        &json!({"product": "image-to-video", "model": "kling-v3", "prompt": "it wakes",
            "duration": 3, "parameters": {"image": first, "cfg_scale": 0.7}}),
        "/v1/videos/image2video",
        &json!({"model_name": "kling-v3", "prompt": "it wakes", "mode": "std", "duration": "3",
            "sound": "off", "multi_shot": false, "image": first, "cfg_scale": 0.7}),
        "1.8 video-unit",
    );
}

#[test]
fn omni_video_from_words_frames_and_videos() {
    let (image, video) = ("https://example.com/1.png", "https://example.com/1.mp4");
    let body = |more: Value| {
        let mut body = json!({"product": "omni-video", "prompt": "a fox"});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        body
    };
    let price = |more: Value| planned(&body(more)).price.to_string();
    assert_eq!(price(json!({"audio": true})), "4 video-unit");
    // A feature video lends its looks; the length is still ours.
    let feature = planned(&body(json!({"parameters": {"feature_video": video}})));
    assert_eq!(feature.price.to_string(), "4.5 video-unit");
    assert_eq!(feature.call.body["settings"]["audio"], "off");
    assert!(
        !feature.call.body["settings"]
            .as_object()
            .expect("settings")
            .contains_key("aspect_ratio")
    );
    // A base video is edited: the result is as long, so the longest is held, and sound is its own.
    let base = planned(&body(
        json!({"audio": true, "parameters": {"base_video": video}}),
    ));
    assert_eq!(base.price.to_string(), "14.4 video-unit");
    assert_eq!(
        base.call.body["settings"],
        json!({"multi_shot": false, "audio": "original",
        "resolution": "720p"})
    );
    assert_eq!(base.duration, None);
    let o1 = planned(&body(
        json!({"model": "kling-o1", "parameters": {"base_video": video}}),
    ));
    assert_eq!(o1.price.to_string(), "9 video-unit");
    let legacy = planned(&body(
        json!({"model": "kling-v3-omni", "mode": "pro", "parameters": {
        "image_list": [{"image_url": image, "type": "first_frame"}]}}),
    ));
    assert_eq!(legacy.call.path, "/v1/videos/omni-video");
    assert_eq!(legacy.call.body["duration"], "5");
    assert!(!legacy.call.body.contains_key("aspect_ratio"));
    assert_eq!(legacy.price.to_string(), "4 video-unit");
    let edit = planned(&body(json!({"model": "kling-video-o1", "parameters": {
        "video_list": [{"video_url": video, "refer_type": "base"}]}})));
    assert_eq!(edit.price.to_string(), "9 video-unit");
    assert!(!edit.call.body.contains_key("duration"));
    assert!(!edit.call.body.contains_key("sound"));
}

#[test]
fn motion_control_holds_the_longest_video() {
    let (image, video) = ("https://example.com/1.png", "https://example.com/1.mp4");
    let body = |orientation: &str, model: &str| {
        json!({"product": "motion-control", "model": model, "audio": true, "parameters": {
            "image": image, "video": video, "settings": {"character_orientation": orientation}}})
    };
    check_body(
        &body("image", "kling-3.0"),
        "/motion-control/kling-3.0",
        &json!({"contents": [{"type": "image", "url": image}, {"type": "video", "url": video}],
            "settings": {"audio": "original", "resolution": "720p",
                "character_orientation": "image"}}),
        "9 video-unit",
    );
    assert_eq!(
        planned(&body("video", "kling-3.0")).price.to_string(),
        "27 video-unit"
    );
    check_body(
        &json!({"product": "motion-control", "model": "kling-v2-6", "mode": "pro", "parameters": {
            "image_url": image, "video_url": video, "character_orientation": "image"}}),
        "/v1/videos/motion-control",
        &json!({"model_name": "kling-v2-6", "mode": "pro", "keep_original_sound": "no",
            "image_url": image, "video_url": video, "character_orientation": "image"}),
        "8 video-unit",
    );
}

#[test]
fn images_count_by_number_in_price_and_slots() {
    let planned_images = |more: Value| {
        let mut body = json!({"product": "omni-image", "prompt": "a fox", "parameters": {}});
        body["parameters"] = more;
        let planned = planned(&body);
        (
            planned.price.to_string(),
            planned.slots.count,
            planned.slots.pool,
        )
    };
    let pool = || "o1/image".to_owned();
    assert_eq!(
        planned_images(json!({})),
        ("8 image-unit".to_owned(), 1, pool())
    );
    assert_eq!(
        planned_images(json!({"n": 9})),
        ("72 image-unit".to_owned(), 9, pool())
    );
    let series = json!({"result_type": "series", "series_amount": 3, "resolution": "4k"});
    assert_eq!(
        planned_images(series),
        ("48 image-unit".to_owned(), 3, pool())
    );
    // Four is Kling's default for a series; `auto` may make nine.
    let default = json!({"result_type": "series"});
    assert_eq!(
        planned_images(default),
        ("32 image-unit".to_owned(), 4, pool())
    );
    let auto = json!({"result_type": "series", "series_amount": "auto"});
    assert_eq!(
        planned_images(auto),
        ("72 image-unit".to_owned(), 9, pool())
    );
    check_body(
        &json!({"product": "image-generation", "model": "kling-v2-1", "prompt": "a fox",
            "aspect_ratio": "21:9", "parameters": {"n": 2, "image": "aGVsbG8="}}),
        "/v1/images/generations",
        &json!({"model_name": "kling-v2-1", "prompt": "a fox", "aspect_ratio": "21:9", "n": 2,
            "image": "aGVsbG8="}),
        "16 image-unit",
    );
}

#[test]
fn text_to_audio_sends_its_length_as_a_number() {
    check_body(
        &json!({"product": "text-to-audio", "prompt": "rain", "duration": "3.5"}),
        "/v1/audio/text-to-audio",
        &json!({"prompt": "rain", "duration": 3.5}),
        "0.25 video-unit",
    );
}

#[test]
fn avatar_holds_five_minutes() {
    check_body(
        &json!({"product": "avatar", "mode": "professional", "prompt": "smile", "parameters": {
            "image": "aGVsbG8=", "audio_id": "9"}}),
        "/v1/videos/avatar/image2video",
        &json!({"prompt": "smile", "mode": "pro", "image": "aGVsbG8=", "audio_id": "9"}),
        "240 video-unit",
    );
}

/// Each product has its row, its body and its price, or says that the price is unknown.
#[test]
fn every_product_is_planned_or_unknown() {
    let all = smallest();
    assert_eq!(all.len(), Product::ALL.len());
    for ((body, price), product) in all.iter().zip(Product::ALL) {
        assert_eq!(request(body).product, product);
        let row = ProductRow::of(product);
        let Some(price) = price else {
            let refusal = refused(body);
            assert_eq!(
                refusal.code.as_str(),
                "unknown-price",
                "{product}: {refusal}"
            );
            assert_eq!(refusal.field.as_deref(), Some("product"));
            continue;
        };
        let planned = planned(body);
        assert_eq!(planned.product, product);
        assert_eq!(planned.price.to_string(), *price, "{product}");
        assert_eq!(planned.price.unit, row.pack.unit(), "{product}");
        assert_eq!(planned.slots.count, 1, "{product}");
        if planned.generation == Generation::Legacy {
            assert_eq!(planned.call.path, row.legacy.path);
        }
        let version = row
            .model(&planned.model)
            .map_or(product.as_str(), |(row, _)| row.version);
        assert_eq!(planned.slots.pool, pool(version, row.pack), "{product}");
    }
}

#[test]
fn both_spellings_share_their_slots() {
    for row in kling_relay::decide::products::table::ROWS {
        for model in row.models {
            for spelling in model.new.iter().chain(model.legacy) {
                let found = row.resolve(spelling).expect("the table has it");
                assert_eq!(found.version, model.version);
            }
        }
    }
    let pool_of = |model: &str| {
        let body = json!({"product": "text-to-video", "model": model, "prompt": "a fox"});
        planned(&body).slots.pool
    };
    assert_eq!(pool_of("kling-2.6"), "2.6/video");
    assert_eq!(pool_of("kling-v2-6"), "2.6/video");
    assert_eq!(pool_of("kling-v3"), "3.0/video");
    assert_eq!(pool_of("kling-2.5-turbo"), pool_of("kling-v2-5-turbo"));
}

#[test]
fn without_an_api_key_defaults_are_legacy() {
    for (body, price) in smallest() {
        let Some(price) = price else { continue };
        let mut body = body;
        let product = request(&body).product;
        if product == Product::ImageToVideo {
            body["parameters"] = json!({"image": "https://example.com/a.png"});
        }
        if product == Product::MotionControl {
            body["parameters"] = json!({"image_url": "https://example.com/a.png",
                "video_url": "https://example.com/a.mp4", "character_orientation": "video"});
        }
        let planned = plan(
            &request(&body),
            official(),
            &options(Generations::LegacyOnly),
        )
        .expect("every product stands on the legacy API");
        assert_eq!(planned.generation, Generation::Legacy);
        assert!(planned.call.path.starts_with("/v1/"));
        assert_eq!(planned.price.to_string(), price, "{product}");
    }
}

#[test]
fn draft_turns_the_mode_to_standard() {
    let body = json!({"product": "text-to-video", "mode": "professional", "purpose": "draft",
        "prompt": "a fox"});
    let planned = planned(&body);
    assert_eq!(planned.mode.as_deref(), Some("720p"));
    assert_eq!(planned.duration.as_deref(), Some("5"));
    assert_eq!(planned.price.to_string(), "1.5 video-unit");
}

/// The operator's policy speaks for requests that say nothing; a request that says something wins.
#[test]
fn the_default_purpose_is_the_operators() {
    for (default, purpose, mode, price) in [
        (Purpose::Final, None, "1080p", "2.5 video-unit"),
        (Purpose::Draft, None, "720p", "1.5 video-unit"),
        (Purpose::Draft, Some("final"), "1080p", "2.5 video-unit"),
        (Purpose::Final, Some("draft"), "720p", "1.5 video-unit"),
    ] {
        let mut body = json!({"product": "text-to-video", "mode": "pro", "prompt": "a fox"});
        if let Some(purpose) = purpose {
            body["purpose"] = json!(purpose);
        }
        let options = PlanOptions {
            default_purpose: default,
            ..options(Generations::Both)
        };
        let planned = plan(&request(&body), official(), &options).expect("it can be made");
        assert_eq!(
            planned.mode.as_deref(),
            Some(mode),
            "{default:?} {purpose:?}"
        );
        assert_eq!(planned.price.to_string(), price);
        assert_eq!(planned.call.body["settings"]["resolution"], mode);
    }
}
