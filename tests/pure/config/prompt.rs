//! `[prompt]`: words of its own in its problems, and a key that nobody sees.

use kling_relay::config::{Config, Detector, Sensitive};
use secrecy::ExposeSecret;

use super::{SERVE, load, merge, refuses};

#[test]
fn wrong_words_are_told_the_right_ones() {
    let file = r#"
        [prompt]
        sensitive = "maybe"
        detectors = ["passport"]
        moderation = { key = 9182736455, url = "//me:S3CRET@nowhere" }
    "#;
    let named = [
        "prompt.sensitive",
        "`refuse`, `redact`, `allow`",
        "prompt.detectors",
        "`private-key`, `api-key`",
        "prompt.moderation.key",
        "prompt.moderation.url",
    ];
    refuses(file, &[], &named, &["S3CRET", "9182736455"]);
}

#[test]
fn the_environment_goes_over_the_file() {
    let environment = [
        ("KLING_RELAY_PROMPT__SENSITIVE", "redact"),
        ("KLING_RELAY_PROMPT__DETECTORS", "[\"email\", \"card\"]"),
        ("KLING_RELAY_PROMPT__NEGATIVE_PROMPT", ""),
        (
            "KLING_RELAY_PROMPT__MODERATION__URL",
            "https://m.example.com/check",
        ),
        ("KLING_RELAY_PROMPT__MODERATION__CONCURRENCY", "3"),
    ];
    let prompt = load("", &environment).unwrap().prompt;
    assert_eq!(prompt.sensitive, Sensitive::Redact);
    assert_eq!(prompt.detectors, [Detector::Email, Detector::Card]);
    assert_eq!(prompt.negative_prompt, "");
    assert_eq!(
        prompt.moderation.url.unwrap().as_str(),
        "https://m.example.com/check"
    );
    assert_eq!(prompt.moderation.concurrency, 3);
}

#[test]
fn the_key_comes_from_a_file_and_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "S3CRET\n").unwrap();
    let section = format!(
        "[prompt.moderation]\nkey_file = {:?}",
        file.display().to_string()
    );
    let config = load(&merge(SERVE, &section), &[]).unwrap();
    let key = config.prompt.moderation.key.as_ref().unwrap();
    assert_eq!(key.expose_secret(), "S3CRET");
    let (text, debug) = (config.effective_redacted(), format!("{config:?}"));
    assert!(!text.contains("S3CRET") && !debug.contains("S3CRET"));
    assert!(
        text.contains("[prompt.moderation]\nkey = \"[redacted]\""),
        "{text}"
    );
}

/// Before anything starts, and by `kling-relay config`.
#[test]
fn a_bad_terms_file_is_named_with_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("terms.txt");
    let mut config = Config::default();
    config.prompt.terms_file = Some(file.clone());
    let says = |content: Option<String>, words: &[&str]| {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let error = kling_relay::app::check(&config).expect_err("it cannot be used");
        let said = format!("{error:#}");
        for word in ["prompt.terms_file", "terms.txt"].iter().chain(words) {
            assert!(said.contains(word), "{said:?} lacks {word:?}");
        }
    };
    says(None, &["cannot be read"]);
    says(
        Some("x\na: b\nc: /(/".to_owned()),
        &["line 1: ", "line 3: "],
    );
    says(Some("#".repeat(257 << 10)), &["at most 262144"]);
    std::fs::write(&file, "a: b").unwrap();
    kling_relay::app::check(&config).unwrap();
}
