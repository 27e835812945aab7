//! What is refused about frames, references, videos and the other parameters.

use serde_json::{Value, json};

use crate::requests::check_refused as check;

fn i2v(model: &str, parameters: &Value) -> Value {
    json!({"product": "image-to-video", "model": model, "prompt": "it wakes",
        "parameters": parameters})
}

#[track_caller]
fn check_i2v(model: &str, parameters: &Value, field: &str, words: &str) {
    check(&i2v(model, parameters), "invalid-request", field, words);
}

#[test]
fn frames() {
    let url = "https://example.com/a.png";
    check_i2v(
        "kling-2.6",
        &json!({}),
        "parameters.first_frame",
        "needs first_frame",
    );
    check_i2v(
        "kling-2.6",
        &json!({"last_frame": url}),
        "parameters.first_frame",
        "needs",
    );
    let both = json!({"first_frame": url, "last_frame": url});
    check_i2v(
        "kling-2.6",
        &both,
        "mode",
        "a last_frame at mode 1080p only",
    );
    check_i2v(
        "kling-3.0-turbo",
        &both,
        "parameters.last_frame",
        "takes no last_frame",
    );
    let tail = json!({"image": url, "image_tail": url});
    check_i2v("kling-v2-5-turbo", &tail, "mode", "1080p only");
    check_i2v(
        "kling-v2-6",
        &json!({}),
        "parameters",
        "one of image and image_tail",
    );
    let data = json!({"first_frame": "data:image/png;base64,aGk="});
    check_i2v(
        "kling-2.6",
        &data,
        "parameters.first_frame",
        "without a data: prefix",
    );
    check_i2v(
        "kling-v2-6",
        &json!({"image": ""}),
        "parameters.image",
        "bare Base64",
    );
}

#[test]
fn other_contents() {
    let url = "https://example.com/a.png";
    let voice = json!({"first_frame": url, "voice": {"voice_id": "1", "id": "a"}});
    check_i2v("kling-2.6", &voice, "audio", "voices need audio");
    let twice = json!({"first_frame": [url, url]});
    check_i2v(
        "kling-2.6",
        &twice,
        "parameters.first_frame",
        "at most 1 first_frame",
    );
    let prompt = json!({"contents": [{"type": "prompt", "text": "x"}]});
    check_i2v("kling-2.6", &prompt, "parameters.contents[0]", "set prompt");
    let odd = json!({"contents": [{"type": "sticker", "url": url}]});
    check_i2v(
        "kling-2.6",
        &odd,
        "parameters.contents[0]",
        "takes no \"sticker\"",
    );
    check_i2v(
        "kling-2.6",
        &json!({"contents": {}}),
        "parameters.contents",
        "must be a list",
    );
    let element = |id: &str| json!({"element_id": "1", "id": id});
    let same = json!({"first_frame": url, "element": [element("a"), element("a")]});
    check_i2v("kling-3.0", &same, "parameters.contents", "each id");
    let nameless = json!({"first_frame": url, "element": {"element_id": "1"}});
    check_i2v(
        "kling-3.0",
        &nameless,
        "parameters.element",
        "id must be the name",
    );
    let four = json!({"first_frame": url, "element": [element("a"), element("b"), element("c"),
        element("d")]});
    check_i2v("kling-3.0", &four, "parameters.element", "at most 3");
}

#[test]
fn omni_and_motion() {
    let (url, video) = ("https://example.com/a.png", "https://example.com/a.mp4");
    let omni = |more: Value| {
        let mut body = json!({"product": "omni-video", "prompt": "a fox"});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        body
    };
    let invalid = |body: &Value, field: &str, words: &str| {
        check(body, "invalid-request", field, words);
    };
    let timed = omni(json!({"duration": 5, "parameters": {"base_video": video}}));
    invalid(&timed, "duration", "as long as its base");
    let loud = omni(json!({"audio": true, "parameters": {"feature_video": video}}));
    invalid(&loud, "audio", "there is no sound");
    let two = omni(json!({"parameters": {"base_video": video, "feature_video": video}}));
    invalid(&two, "parameters.base_video", "exclude each other");
    let framed = omni(json!({"parameters": {"base_video": video, "first_frame": url}}));
    invalid(&framed, "parameters.first_frame", "takes no frames");
    let alone =
        omni(json!({"model": "kling-o1", "duration": 7, "parameters": {"first_frame": url}}));
    invalid(&alone, "duration", "5 or 10 s");
    let native = omni(json!({"model": "kling-o1", "audio": true}));
    invalid(&native, "audio", "makes none of its own");
    let local = omni(json!({"parameters": {"base_video": "/tmp/a.mp4"}}));
    invalid(&local, "parameters.base_video", "http or https URL");
    let still = json!({"product": "motion-control", "parameters": {"image": url, "video": video}});
    invalid(&still, "parameters.character_orientation", "is missing");
    let odd = json!({"product": "motion-control", "parameters": {"image": url, "video": video,
        "character_orientation": "up"}});
    invalid(
        &odd,
        "parameters.character_orientation",
        "one of image, video",
    );
}

#[test]
fn images_and_the_rest() {
    let image = |parameters: Value| {
        let mut body = json!({"product": "omni-image", "prompt": "a fox"});
        body["parameters"] = parameters;
        body
    };
    let invalid = |body: &Value, field: &str, words: &str| {
        check(body, "invalid-request", field, words);
    };
    for n in [json!(0), json!(10), json!("3"), json!(1.5)] {
        invalid(&image(json!({"n": n})), "parameters.n", "from 1 to 9");
    }
    invalid(
        &image(json!({"resolution": "8k"})),
        "parameters.resolution",
        "1k, 2k, 4k",
    );
    let series = json!({"result_type": "series", "n": 2});
    invalid(&image(series), "parameters.n", "series_amount");
    invalid(
        &image(json!({"series_amount": 3})),
        "parameters.series_amount",
        "result_type",
    );
    let face = json!({"product": "image-generation", "prompt": "a fox",
        "parameters": {"image_reference": "face", "image": "aGk="}});
    invalid(&face, "parameters.image_reference", "only kling-v2-1");
    let avatar = json!({"product": "avatar", "parameters": {"image": "aGk=", "audio_id": "1",
        "sound_file": "aGk="}});
    invalid(&avatar, "parameters", "exclude each other");
    let voice = json!({"product": "custom-voice", "parameters": {"voice_name": "x".repeat(21),
        "voice_url": "https://example.com/a.mp3"}});
    invalid(&voice, "parameters.voice_name", "at most 20");
    let expand = json!({"product": "image-expansion", "parameters": {"image": "aGk="}});
    invalid(&expand, "parameters.up_expansion_ratio", "is missing");
}
