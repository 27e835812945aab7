//! The safety negative prompt: where it goes, what it leaves alone, and that it has room.

use kling_relay::decide::prompt::SafetyTerms;
use kling_relay::model::request::KlingCall;
use serde_json::{Value, json};

use crate::requests::{planned, smallest};

const TERMS: &str = "gore, weapons , Gore,, hate symbols";
const AVOID: &str = "\nAvoid: gore, weapons, hate symbols";

fn with_safety(body: &Value) -> KlingCall {
    let mut call = planned(body).call;
    SafetyTerms::new(TERMS)
        .add_to(&mut call)
        .expect("there is room");
    call
}

#[track_caller]
fn sends(body: &Value, key: &str, value: &str) {
    let call = with_safety(body);
    assert_eq!(
        call.body[key],
        value,
        "{}",
        Value::Object(call.body.clone())
    );
}

fn legacy(more: &Value) -> Value {
    let mut body = json!({"product": "text-to-video", "model": "kling-v2-6", "prompt": "a fox"});
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

fn priced() -> impl Iterator<Item = Value> {
    let priced = smallest().into_iter().filter(|(_, price)| price.is_some());
    priced.map(|(body, _)| body)
}

#[test]
fn it_joins_the_field_where_there_is_one() {
    sends(
        &legacy(&json!({})),
        "negative_prompt",
        "gore, weapons, hate symbols",
    );
    sends(&legacy(&json!({})), "prompt", "a fox");
    let own = json!({"negative_prompt": "rain, GORE; Hate Symbols"});
    sends(
        &legacy(&own),
        "negative_prompt",
        "rain, GORE; Hate Symbols, weapons",
    );
    let all = json!({"negative_prompt": "weapons，gore、hate symbols"});
    sends(
        &legacy(&all),
        "negative_prompt",
        "weapons，gore、hate symbols",
    );
    // An image may be made into a video without a prompt.
    let image = json!({"product": "image-to-video", "model": "kling-v2-6",
        "parameters": {"image": "https://a.example/a.png"}});
    sends(&image, "negative_prompt", "gore, weapons, hate symbols");
}

#[test]
fn it_joins_the_prompt_where_there_is_no_field() {
    let new = |more: Value| {
        let mut body = legacy(&more);
        body["model"] = json!("kling-2.6");
        body
    };
    sends(&new(json!({})), "prompt", &format!("a fox{AVOID}"));
    // Whole and on its own line, whatever the caller's last words are.
    let own = json!({"negative_prompt": "gore\nshow"});
    sends(
        &new(own),
        "prompt",
        &format!("a fox\nAvoid: gore\nshow{AVOID}"),
    );
    let omni = json!({"product": "omni-video", "model": "kling-v3-omni", "prompt": "a fox"});
    sends(&omni, "prompt", &format!("a fox{AVOID}"));
    let image = json!({"product": "image-generation", "prompt": "a fox",
        "parameters": {"image": "https://a.example/a.png"}});
    sends(&image, "prompt", &format!("a fox{AVOID}"));
    assert!(!with_safety(&image).body.contains_key("negative_prompt"));
    let frames = json!({"product": "image-to-video", "model": "kling-2.6", "prompt": "it runs",
        "parameters": {"first_frame": "https://a.example/a.png"}});
    let entry = &with_safety(&frames).body["contents"][0];
    assert_eq!(
        *entry,
        json!({"type": "prompt", "text": format!("it runs{AVOID}")})
    );
}

#[test]
fn what_has_no_prompt_is_left_alone() {
    let mut seen = 0;
    for body in priced() {
        if body.get("prompt").is_some() && body["product"] != "text-to-audio" {
            continue;
        }
        assert_eq!(with_safety(&body), planned(&body).call, "{body}");
        seen += 1;
    }
    assert!(seen > 8, "only {seen}");
}

#[test]
fn no_terms_change_nothing() {
    for text in ["", " ", ",;"] {
        for body in priced() {
            let mut call = planned(&body).call;
            SafetyTerms::new(text)
                .add_to(&mut call)
                .expect("nothing to add");
            assert_eq!(call, planned(&body).call);
        }
    }
}

/// A caller cannot push the terms out with a long prompt.
#[test]
fn without_room_the_request_is_refused() {
    for (body, field, max) in [
        (
            json!({"product": "text-to-video", "model": "kling-2.6"}),
            "prompt",
            2_500,
        ),
        (
            json!({"product": "text-to-video", "model": "kling-3.0"}),
            "prompt",
            3_072,
        ),
        (json!({"product": "omni-image"}), "prompt", 2_500),
        (legacy(&json!({})), "negative_prompt", 2_500),
    ] {
        let with = |length: usize| {
            let mut body = body.clone();
            body[field] = json!("x".repeat(length));
            let mut call = planned(&body).call;
            SafetyTerms::new(TERMS).add_to(&mut call)
        };
        let joint = if field == "prompt" {
            AVOID.len()
        } else {
            AVOID.len() - 6
        };
        assert_eq!(with(max - joint), Ok(()), "{body}");
        let refusal = with(max - joint + 3).expect_err("there is no room");
        assert_eq!(refusal.code.as_str(), "invalid-request");
        assert_eq!(refusal.field.as_deref(), Some(field));
        let words = format!("at most {max} are taken, so shorten it by 3");
        assert!(refusal.message.contains(&words), "{refusal}");
    }
}
