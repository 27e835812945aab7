//! One Unicode form, nothing hidden; and every text of a request, wherever it stands.

use kling_relay::decide::products::{PROMPT_MAX, table::ROWS};
use kling_relay::decide::prompt::TEXTS_MAX;
use kling_relay::model::policy::Sensitive;
use kling_relay::model::request::Product;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{of_prompt, policy, refused, screened, with_terms};
use crate::requests::{request, smallest};

#[track_caller]
fn check(written: &str, sent: &str) {
    let screened = screened(&policy(Sensitive::Refuse), &of_prompt(written));
    assert_eq!(screened.request.prompt.as_deref(), Some(sent));
}

#[test]
fn what_nobody_sees_is_not_sent() {
    check("a fox", "a fox");
    check("  a fox\n ", "a fox");
    check("one\n\ttwo", "one\n\ttwo");
    // Composed, not made compatible: what a caller wrote stays readable.
    check("cafe\u{301} ½ Ｋ", "café ½ Ｋ");
    check("a\u{200B}b\u{FEFF}c\u{2060}d\u{AD}e", "abcde");
    check("a\u{202E}xof\u{202C} b\u{2066}c\u{2069}", "axof bc");
    check("tag\u{E0041}\u{E007F}ged\u{FE0F}", "tagged");
    // A mark composes over the place where something hidden stood.
    check("cafe\u{200B}\u{301}", "café");
    // Joiners stay where scripts and emoji need them, and go where they hide a word.
    check("می\u{200C}خواهم", "می\u{200C}خواهم");
    check("👩\u{200D}🚀", "👩\u{200D}🚀");
    check("k\u{200D}il\u{200C}l", "kill");
    check("\u{200D}می\u{200C}\u{200C}خ\u{200D}", "می\u{200C}خ");
    check("\u{200B}\u{200D}", "");
}

#[test]
fn control_characters_are_left_for_a_refusal() {
    for control in ["\u{0}", "\u{7}", "\r", "\u{1B}", "\u{85}", "\u{9F}"] {
        check(&format!("a{control}b"), &format!("a{control}b"));
    }
}

/// Where a caller can write text; the text itself is X.
fn places() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "video-to-audio",
            json!({"sound_effect_prompt": "X"}),
            "sound_effect_prompt",
        ),
        ("video-to-audio", json!({"bgm_prompt": "X"}), "bgm_prompt"),
        ("element", json!({"element_name": "X"}), "element_name"),
        (
            "element",
            json!({"element_description": "X"}),
            "element_description",
        ),
        (
            "element",
            json!({"tag_list": [{"tag_name": "X"}]}),
            "tag_list",
        ),
        ("custom-voice", json!({"voice_name": "X"}), "voice_name"),
        ("effects", json!({"effect_scene": "X"}), "effect_scene"),
        ("effects", json!({"input": {"text": ["X"]}}), "input"),
        (
            "lip-sync",
            json!({"face_choose": [{"text": "X"}]}),
            "face_choose",
        ),
        (
            "omni-video",
            json!({"image_list": [{"image": "X"}]}),
            "image_list",
        ),
        (
            "omni-video",
            json!({"contents": [{"type": "element", "id": "X"}]}),
            "contents",
        ),
        (
            "omni-video",
            json!({"refer_image": {"id": "X", "url": "https://a"}}),
            "refer_image",
        ),
        ("omni-video", json!({"element": [{"id": "X"}]}), "element"),
        ("text-to-video", json!({"settings": {"x": "X"}}), "settings"),
        (
            "text-to-video",
            json!({"multi_prompt": [{"prompt": "X"}]}),
            "",
        ),
    ]
}

/// Where a caller can write text, a rule finds it.
#[test]
fn every_text_is_looked_at() {
    let policy = with_terms("nope: forbidden fruit");
    for (product, parameters, field) in places() {
        let text = parameters
            .to_string()
            .replace('X', "Forbidden\u{200B} FRUIT");
        let parameters: Value = serde_json::from_str(&text).unwrap();
        let body = json!({"product": product, "parameters": parameters});
        let field = format!("parameters.{field}")
            .trim_end_matches('.')
            .to_owned();
        assert_eq!(
            refused(&policy, &body),
            (field, "nope".to_owned()),
            "{body}"
        );
    }
    for field in ["prompt", "negative_prompt"] {
        let body = json!({"product": "text-to-video", field: "a forbidden fruit"});
        assert_eq!(
            refused(&policy, &body),
            (field.to_owned(), "nope".to_owned())
        );
    }
}

/// The products' own tables say which parameters are text; none may be left out above.
#[test]
fn every_text_parameter_of_the_tables_is_looked_at() {
    use kling_relay::decide::products::Kind;
    let policy = with_terms("nope: fruit");
    let mut seen = 0;
    for row in ROWS {
        for parameter in row.legacy.parameters {
            if !matches!(parameter.kind, Kind::Text(_)) || parameter.name.ends_with("_id") {
                continue;
            }
            // An address or Base64 is a text here all the same.
            for text in ["fruit", "https://fruit", "a/fruit+"] {
                let parameters = json!({parameter.name: text});
                let body = json!({"product": row.product.as_str(), "parameters": parameters});
                refused(&policy, &body);
            }
            seen += 1;
        }
    }
    assert!(seen >= 6, "only {seen}");
}

#[test]
fn ids_addresses_and_media_are_no_text() {
    let policy = with_terms("nope: fruit");
    let base64 = format!("fruit/{}", "a+fruit+".repeat(16));
    for (product, parameters) in [
        (
            "lip-sync",
            json!({"session_id": "fruit", "face_choose": [{"face_id": "fruit"}]}),
        ),
        (
            "image-to-video",
            json!({"first_frame": "https://a.example/fruit.png"}),
        ),
        (
            "image-to-video",
            json!({"contents": [{"type": "first_frame", "url": base64}]}),
        ),
        ("avatar", json!({"image": "fruit", "sound_file": "fruit"})),
        (
            "video-to-audio",
            json!({"video_url": "https://a.example/fruit"}),
        ),
    ] {
        let body = json!({"product": product, "parameters": parameters});
        let screened = screened(&policy, &body);
        assert_eq!(screened.request, request(&body), "left alone");
        assert!(screened.texts.is_empty());
    }
}

#[test]
fn texts_are_handed_on_as_they_are_sent() {
    let body = json!({"product": "video-to-audio", "parameters": {
        "video_id": "1", "bgm_prompt": " calm\u{200B} ", "sound_effect_prompt": "wind"}});
    let screened = screened(&policy(Sensitive::Refuse), &body);
    let texts = [("bgm_prompt", "calm"), ("sound_effect_prompt", "wind")];
    let texts = texts.map(|(field, text)| (format!("parameters.{field}"), text.to_owned()));
    assert_eq!(screened.texts, texts);
    assert_eq!(screened.request.parameters["bgm_prompt"], "calm");
}

#[test]
fn a_flood_of_text_is_refused_unread() {
    let policy = policy(Sensitive::Refuse);
    let longest = ROWS.iter().flat_map(|row| row.models).map(|m| m.prompt_max);
    let longest = longest.max().unwrap_or_default().max(PROMPT_MAX);
    assert!(longest + PROMPT_MAX < TEXTS_MAX, "what Kling takes is read");
    let body = json!({"product": "effects", "parameters": {
        "input": {"a": "a b ".repeat(TEXTS_MAX / 4), "b": "cd"}}});
    let refused = policy.screen(&request(&body)).expect_err("too long");
    assert!(
        refused.to_string().contains("10000 characters"),
        "{refused}"
    );
    // A key of the caller's own may be a prompt, so it is not repeated.
    let body = json!({"product": "effects", "parameters": {"my secret": "a b".repeat(TEXTS_MAX)}});
    let refused = policy.screen(&request(&body)).expect_err("too long");
    assert!(!refused.to_string().contains("secret"), "{refused}");
}

#[test]
fn the_smallest_requests_pass_unchanged() {
    for (body, _) in smallest() {
        let screened = screened(&policy(Sensitive::Refuse), &body);
        assert_eq!(screened.request, request(&body));
    }
    assert_eq!(smallest().len(), Product::ALL.len());
}

/// Texts with much that is hidden in them.
fn hiding() -> impl Strategy<Value = String> {
    "(\\PC|[\u{200B}-\u{200F}\u{202A}\u{FE0F}\u{301}\u{212A}a]){0,40}"
}

proptest! {
    #[test]
    fn sanitising_twice_changes_nothing(text in hiding()) {
        let policy = policy(Sensitive::Allow);
        let once = screened(&policy, &of_prompt(&text)).request;
        let twice = policy.screen(&once).unwrap().request;
        prop_assert_eq!(once.prompt, twice.prompt);
    }

    #[test]
    fn any_request_is_screened_or_refused(request in crate::any_request::any_request()) {
        let policy = policy(Sensitive::Redact);
        if let Ok(screened) = policy.screen(&request) {
            let again = policy.screen(&screened.request).expect("what is sent breaks no rule");
            prop_assert_eq!(again.request, screened.request);
        }
    }
}
