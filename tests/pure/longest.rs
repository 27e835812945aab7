//! Lengths that only the end tells: the hold is that of the longest that Kling documents.

use serde_json::{Value, json};

use crate::requests::planned;

const AVATAR: &str = r#"{"image": "https://a/b.png", "audio_id": "1"}"#;
const FACE: &str = r#"{"session_id": "s", "face_choose": [{"face_id": "0", "audio_id": "1",
    "sound_start_time": 0, "sound_end_time": 2000, "sound_insert_time": 0}]}"#;
const BY_VIDEO: &str = r#"{"image": "https://a/b.png", "video": "https://a/b.mp4",
    "character_orientation": "video"}"#;
const BY_IMAGE: &str = r#"{"image": "https://a/b.png", "video": "https://a/b.mp4",
    "character_orientation": "image"}"#;
const BASE: &str = r#"{"base_video": "https://a/b.mp4"}"#;
const EDIT: &str = r#"{"video_list": [{"video_url": "https://a/b.mp4", "refer_type": "base"}]}"#;
const UNSAID: &str = r#"{"video_list": [{"video_url": "https://a/b.mp4"}]}"#;

/// Product, model, mode, parameters, and the hold in video units.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// Source: platform reference 2.3 and 7.2; an avatar speaks up to 300 s, a face is recognised in up
/// to 60 s, a base video has up to 16 s (O1: 10 s), and so has its result.
const CASES: &[Case] = &[
    ("avatar", "", "std", AVATAR, "120"),
    ("avatar", "", "pro", AVATAR, "240"),
    ("lip-sync", "", "", FACE, "6"),
    ("motion-control", "kling-2.6", "std", BY_VIDEO, "15"),
    ("motion-control", "kling-2.6", "pro", BY_IMAGE, "8"),
    ("motion-control", "kling-3.0", "std", BY_VIDEO, "27"),
    ("motion-control", "kling-3.0", "pro", BY_IMAGE, "12"),
    ("omni-video", "kling-3.0-omni", "std", BASE, "14.4"),
    ("omni-video", "kling-3.0-omni", "4k", BASE, "48"),
    ("omni-video", "kling-o1", "pro", BASE, "12"),
    ("omni-video", "kling-v3-omni", "std", EDIT, "14.4"),
    ("omni-video", "kling-v3-omni", "std", UNSAID, "14.4"),
];

#[test]
fn lengths_unknown_at_submission_hold_the_documented_maximum() {
    for (product, model, mode, parameters, price) in CASES {
        let parameters: Value = serde_json::from_str(parameters).expect("JSON");
        let mut body = json!({"product": product, "parameters": parameters});
        let prompt = if *product == "omni-video" {
            "a fox"
        } else {
            ""
        };
        for (key, value) in [("model", model), ("mode", mode), ("prompt", &prompt)] {
            if !value.is_empty() {
                body[key] = json!(value);
            }
        }
        let planned = planned(&body);
        assert_eq!(
            planned.price.to_string(),
            format!("{price} video-unit"),
            "{body}"
        );
        assert_eq!(planned.duration, None, "nobody asked for a length");
    }
}
