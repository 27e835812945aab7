//! What is refused, under which code, and that the message names the field and the fix.

use jiff::{SignedDuration, Timestamp};
use kling_relay::decide::pricing::{Generations, check_not_before, plan};
use serde_json::{Value, json};

use crate::requests::{check_refused as check, official, options, refused, request};

/// A text-to-video request with these fields over it.
fn t2v(more: &Value) -> Value {
    let mut body = json!({"product": "text-to-video", "prompt": "a fox"});
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

#[track_caller]
fn check_t2v(more: &Value, field: &str, words: &str) {
    check(&t2v(more), "invalid-request", field, words);
}

#[test]
fn models() {
    for dead in [
        "kling-v1",
        "kling-v1-5",
        "kling-v1-6",
        "kling-v2-master",
        "kling-v2-1-master",
    ] {
        check_t2v(
            &json!({"model": dead}),
            "model",
            "use one of kling-2.6, kling-v2-6",
        );
    }
    check_t2v(
        &json!({"model": "kling-v3-omni"}),
        "model",
        "does not offer kling-v3-omni",
    );
    for unknown in [
        "kling-9.0",
        "kling-v9",
        "sora",
        "",
        "kling-",
        "kling-3.0/../../x",
        "KLING-2.6",
    ] {
        let body = t2v(&json!({"model": unknown}));
        check(
            &body,
            "unknown-price",
            "model",
            "nothing is known about the price",
        );
    }
    let image = json!({"product": "image-generation", "prompt": "a fox", "model": "kling-v2-new"});
    check(
        &image,
        "invalid-request",
        "model",
        "use one of kling-v3, kling-v2-1",
    );
    let avatar = json!({"product": "avatar", "model": "kling-v3"});
    check(&avatar, "invalid-request", "model", "no choice of model");
}

#[test]
fn new_models_need_an_api_key() {
    let body = t2v(&json!({"model": "kling-3.0"}));
    let refusal = plan(
        &request(&body),
        official(),
        &options(Generations::LegacyOnly),
    )
    .expect_err("the new API takes no JWT");
    assert_eq!(refusal.code.as_str(), "invalid-request");
    assert_eq!(refusal.field.as_deref(), Some("model"));
    assert!(refusal.message.contains("kling.api_key"), "{refusal}");
    assert!(refusal.message.contains("kling-v3"), "{refusal}");
    assert!(!refusal.message.contains("kling-2.6"), "{refusal}");
}

#[test]
fn lengths() {
    let bad = [
        json!("4"),
        json!(0),
        json!(-5),
        json!("five"),
        json!(""),
        json!("5s"),
        json!(5.5),
        json!("1e1"),
        json!("1_0"),
        json!(11),
        json!(1e300),
        json!("٥"),
    ];
    for duration in bad {
        check_t2v(
            &json!({"duration": duration}),
            "duration",
            "must be 5 or 10",
        );
    }
    let more = json!({"model": "kling-3.0", "duration": 16});
    check_t2v(&more, "duration", "a whole number from 3 to 15");
    let audio = json!({"product": "text-to-audio", "prompt": "rain", "duration": 3.55});
    check(&audio, "invalid-request", "duration", "at most one decimal");
    let image = json!({"product": "image-generation", "prompt": "a fox", "duration": 5});
    check(&image, "invalid-request", "duration", "has no length");
    let avatar = json!({"product": "avatar", "duration": 5, "parameters": {
        "image": "aGk=", "audio_id": "1"}});
    check(
        &avatar,
        "invalid-request",
        "duration",
        "as long as its input",
    );
}

#[test]
fn modes_sounds_and_ratios() {
    check_t2v(&json!({"mode": "ultra"}), "mode", "standard, std, 720p");
    check_t2v(
        &json!({"mode": "4k"}),
        "mode",
        "kling-2.6 makes no 4k; it makes 720p, 1080p",
    );
    check_t2v(&json!({"audio": true}), "audio", "at mode 1080p only");
    let draft = json!({"audio": true, "mode": "pro", "purpose": "draft"});
    check_t2v(&draft, "audio", "at mode 1080p only");
    let turbo = json!({"model": "kling-3.0-turbo", "audio": false});
    check_t2v(&turbo, "audio", "always makes sound");
    let silent = json!({"model": "kling-v2-5-turbo", "audio": true});
    check_t2v(&silent, "audio", "makes no sound");
    check_t2v(
        &json!({"aspect_ratio": "4:3"}),
        "aspect_ratio",
        "16:9, 9:16, 1:1",
    );
    let i2v = json!({"product": "image-to-video", "aspect_ratio": "16:9",
        "parameters": {"image": "aGk="}});
    check(
        &i2v,
        "invalid-request",
        "aspect_ratio",
        "takes no aspect_ratio",
    );
    let image = json!({"product": "image-generation", "prompt": "a fox", "mode": "standard"});
    check(
        &image,
        "invalid-request",
        "mode",
        "set parameters.resolution",
    );
}

#[test]
fn prompts() {
    let no_prompt = json!({"product": "text-to-video"});
    check(&no_prompt, "invalid-request", "prompt", "needs a prompt");
    check_t2v(&json!({"prompt": " \n"}), "prompt", "is empty");
    check_t2v(&json!({"prompt": "a\u{0}b"}), "prompt", "U+0000");
    check_t2v(&json!({"prompt": "a\u{85}b"}), "prompt", "U+0085");
    check_t2v(
        &json!({"prompt": "狐".repeat(2_501)}),
        "prompt",
        "2501 characters; at most 2500",
    );
    check_t2v(
        &json!({"negative_prompt": "a\rb"}),
        "negative_prompt",
        "U+000D",
    );
    let both = json!({"prompt": "a".repeat(2_490), "negative_prompt": "rain"});
    check_t2v(&both, "negative_prompt", "joins the prompt");
    let v3 = json!({"model": "kling-v3", "prompt": "a".repeat(2_501)});
    check_t2v(&v3, "prompt", "at most 2500");
    let new = json!({"model": "kling-3.0", "prompt": "a".repeat(3_073)});
    check_t2v(&new, "prompt", "at most 3072");
    let audio = json!({"product": "text-to-audio", "prompt": "a".repeat(201)});
    check(&audio, "invalid-request", "prompt", "at most 200");
    let try_on = json!({"product": "virtual-try-on", "prompt": "a coat"});
    check(&try_on, "invalid-request", "prompt", "takes no prompt");
    let beside = json!({"product": "image-generation", "prompt": "a fox", "negative_prompt": "rain",
        "parameters": {"image": "aGk="}});
    check(
        &beside,
        "invalid-request",
        "negative_prompt",
        "beside an image",
    );
}

/// A refusal never quotes the prompt.
#[test]
fn refusals_keep_the_prompt_to_themselves() {
    let refusal = refused(&t2v(&json!({"prompt": "secret word\u{7}"})));
    assert!(!format!("{refusal:?}").contains("secret"));
}

#[test]
fn reserved_parameters() {
    let reserved = [
        "callback_url",
        "external_task_id",
        "options",
        "model_name",
        "model",
        "duration",
        "mode",
        "prompt",
        "negative_prompt",
        "aspect_ratio",
        "audio",
        "sound",
        "multi_shot",
        "resolution",
        "shot_type",
        "multi_prompt",
        "keep_original_sound",
    ];
    for model in ["kling-2.6", "kling-v2-6"] {
        for key in reserved {
            let more = json!({"model": model, "parameters": {key: "x"}});
            check_t2v(
                &more,
                &format!("parameters.{key}"),
                &format!("may not contain {key}"),
            );
        }
    }
    // Inside `settings` as well, where Kling documents some of them.
    let more = json!({"parameters": {"settings": {"duration": 10}}});
    check_t2v(&more, "parameters.duration", "set duration");
    let more = json!({"model": "kling-v2-6", "parameters": {"settings": {}}});
    check_t2v(&more, "parameters.settings", "may not contain settings");
}

#[test]
fn parameters_of_unknown_effect_have_no_price() {
    for model in ["kling-2.6", "kling-v2-6"] {
        let more = json!({"model": model, "parameters": {"turbo_boost": true}});
        check(
            &t2v(&more),
            "unknown-price",
            "parameters.turbo_boost",
            "leave it out",
        );
    }
    let voices = json!({"product": "text-to-video", "prompt": "hi", "model": "kling-v3",
        "audio": true, "parameters": {"voice_list": [{"voice_id": "1"}]}});
    check(&voices, "unknown-price", "model", "without voice control");
}

#[test]
fn parameters_of_the_other_generation() {
    let new = json!({"parameters": {"cfg_scale": 0.5}});
    check_t2v(
        &new,
        "parameters.cfg_scale",
        "take a legacy model: kling-v2-6",
    );
    let legacy = json!({"product": "image-to-video", "model": "kling-v2-6",
        "parameters": {"first_frame": "aGk="}});
    check(
        &legacy,
        "invalid-request",
        "parameters.first_frame",
        "it takes image, image_tail",
    );
}

#[test]
fn labels() {
    let many: serde_json::Map<_, _> = (0..17).map(|n| (format!("k{n}"), json!("v"))).collect();
    check_t2v(&json!({"labels": many}), "labels", "at most 16");
    for key in ["", "Upper", "sp ace", "ü", &"k".repeat(64)] {
        check_t2v(&json!({"labels": {key: "v"}}), "labels", "1 to 63 of a-z");
    }
    check_t2v(
        &json!({"labels": {"k": "v\n"}}),
        "labels.k",
        "no control characters",
    );
    check_t2v(
        &json!({"labels": {"k": "v".repeat(129)}}),
        "labels.k",
        "at most 128",
    );
}

#[test]
fn not_before_lies_within_seven_days() {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
    let days = |n: i64| Some(now + SignedDuration::from_hours(24 * n));
    assert_eq!(check_not_before(None, now), Ok(()));
    assert_eq!(check_not_before(days(-400), now), Ok(()));
    assert_eq!(check_not_before(days(7), now), Ok(()));
    let late = days(7).map(|time| time + SignedDuration::from_millis(1));
    let refusal = check_not_before(late, now).expect_err("it is too late");
    assert_eq!(refusal.field.as_deref(), Some("not_before"));
}
