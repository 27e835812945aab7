//! The digest of a request: equal for what means the same, and the same for ever.

use kling_relay::decide::pricing::request_digest;
use serde_json::{Value, json};

use crate::requests::request;

#[test]
fn digest_normalises_what_means_the_same() {
    let base = json!({"product": "text-to-video", "prompt": "a fox"});
    let digest = |more: Value| {
        let mut body = base.clone();
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        request_digest(&request(&body))
    };
    let plain = digest(json!({}));
    assert_eq!(plain.len(), 64);
    for same in [
        json!({"duration": 5}),
        json!({"duration": "5"}),
        json!({"duration": "5.0"}),
        json!({"mode": "standard"}),
        json!({"mode": "std"}),
        json!({"mode": "720p"}),
        json!({"audio": false}),
        json!({"purpose": "final"}),
        json!({"labels": {}, "parameters": {}}),
        json!({"reuse": false, "off_peak": false}),
    ] {
        assert_eq!(digest(same.clone()), plain, "{same}");
    }
    for other in [
        json!({"duration": 10}),
        json!({"mode": "pro"}),
        json!({"audio": true}),
        json!({"purpose": "draft"}),
        json!({"labels": {"a": "b"}}),
        json!({"parameters": {"n": 1}}),
        json!({"model": "kling-v2-6"}),
        json!({"prompt": "a fox "}),
        json!({"negative_prompt": ""}),
        json!({"reuse": true}),
        json!({"off_peak": true}),
        json!({"not_before": "2026-11-22T00:00:00Z"}),
        json!({"aspect_ratio": "1:1"}),
    ] {
        assert_ne!(digest(other.clone()), plain, "{other}");
    }
}

/// The digest is stored with tasks: it must not change under an upgrade.
#[test]
fn digest_is_stable() {
    let body = json!({"product": "text-to-video", "model": "kling-v2-6", "prompt": "a fox",
        "duration": 10, "mode": "pro", "audio": true, "labels": {"project": "x"},
        "parameters": {"cfg_scale": 0.5}});
    assert_eq!(
        request_digest(&request(&body)),
        "ba2a85b1649fe6edfe5b2a9b3bc48f8cd81f183a08c684478143c7f16398a124"
    );
}
