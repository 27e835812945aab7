//! Every code with its status, its field and a fix in its words; never a word of a prompt.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, KEY, World, video};

/// Stands in every prompt below, and in places where a prompt may end up by mistake.
const CANARY: &str = "canary in a coal mine";

struct Case {
    body: Value,
    code: &'static str,
    field: &'static str,
    words: &'static str,
}

fn bad(body: Value, field: &'static str, words: &'static str) -> Case {
    Case {
        body,
        code: "invalid-request",
        field,
        words,
    }
}

fn unpriced(body: Value, field: &'static str, words: &'static str) -> Case {
    Case {
        body,
        code: "unknown-price",
        field,
        words,
    }
}

fn v(more: Value) -> Value {
    let mut body = video(&json!({"prompt": CANARY}));
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn shapes() -> Vec<Case> {
    vec![
        bad(json!([]), "", "the body must be a JSON object"),
        bad(json!("text"), "", "the body must be a JSON object"),
        bad(json!({"prompt": CANARY}), "product", "add it"),
        bad(
            json!({"product": CANARY}),
            "product",
            "must be one of \"text-to-video\"",
        ),
        bad(v(json!({"product": 5})), "product", "must be text"),
        bad(v(json!({"model": 26})), "model", "must be text"),
        bad(v(json!({"prompt": 5})), "prompt", "must be text"),
        bad(v(json!({"audio": "yes"})), "audio", "must be true or false"),
        bad(v(json!({"audio": CANARY})), "audio", "true or false"),
        bad(
            v(json!({"duration": {}})),
            "duration",
            "a number of seconds, 5 or \"5\"",
        ),
        bad(v(json!({"labels": CANARY})), "labels", "a JSON object"),
        bad(v(json!({"labels": {"k": 5}})), "labels.k", "must be text"),
        bad(
            v(json!({"parameters": [CANARY]})),
            "parameters",
            "a JSON object",
        ),
        bad(
            v(json!({"purpose": CANARY})),
            "purpose",
            "\"draft\" or \"final\"",
        ),
        bad(
            v(json!({"not_before": CANARY})),
            "not_before",
            "2026-11-21T08:00:00Z",
        ),
        bad(
            v(json!({"promt": CANARY})),
            "promt",
            "use one of \"product\"",
        ),
        bad(v(json!({CANARY: "x"})), "canary…", "there is no field"),
        bad(
            v(json!({"off_peak": true})),
            "off_peak",
            "set dispatcher.off_peak",
        ),
        bad(
            json!({"product": "element", "reuse": true}),
            "reuse",
            "makes no file",
        ),
    ]
}

fn videos() -> Vec<Case> {
    let many: serde_json::Map<_, _> = (0..17).map(|n| (format!("k{n}"), json!("v"))).collect();
    vec![
        bad(v(json!({"prompt": ""})), "prompt", "is empty"),
        bad(
            v(json!({"prompt": format!("{CANARY} {}", "a".repeat(3_100))})),
            "prompt",
            "at most",
        ),
        bad(v(json!({"duration": -5})), "duration", "must be 5 or 10"),
        bad(v(json!({"duration": 1e300})), "duration", "must be 5 or 10"),
        bad(
            v(json!({"duration": "five"})),
            "duration",
            "must be 5 or 10",
        ),
        bad(v(json!({"mode": "ultra"})), "mode", "standard, std, 720p"),
        bad(v(json!({"mode": "4k"})), "mode", "it makes 720p, 1080p"),
        bad(v(json!({"audio": true})), "audio", "at mode 1080p only"),
        bad(
            v(json!({"aspect_ratio": "4:3"})),
            "aspect_ratio",
            "16:9, 9:16, 1:1",
        ),
        bad(v(json!({"model": "kling-v1-6"})), "model", "use one of"),
        unpriced(
            v(json!({"model": "kling-99"})),
            "model",
            "nothing is known about the price",
        ),
        bad(
            v(json!({"parameters": {"callback_url": "https://a.example"}})),
            "parameters.callback_url",
            "may not contain callback_url",
        ),
        bad(
            v(json!({"parameters": {"external_task_id": "x"}})),
            "parameters.external_task_id",
            "may not contain",
        ),
        unpriced(
            v(json!({"parameters": {"turbo_boost": true}})),
            "parameters.turbo_boost",
            "leave it out",
        ),
        bad(v(json!({"labels": many})), "labels", "at most 16"),
        bad(v(json!({"labels": {"Key": "v"}})), "labels", "1 to 63"),
        bad(
            v(json!({"labels": {"k": "v".repeat(129)}})),
            "labels.k",
            "at most 128",
        ),
        bad(
            v(json!({"not_before": "2126-01-01T00:00:00Z"})),
            "not_before",
            "7 days",
        ),
    ]
}

fn other_products() -> Vec<Case> {
    let of = |product: &str, more: Value| {
        let mut body = json!({ "product": product });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let image = "https://example.com/a.png";
    vec![
        bad(
            of("image-to-video", json!({"prompt": CANARY})),
            "parameters.first_frame",
            "needs first_frame",
        ),
        bad(
            of(
                "image-to-video",
                json!({"aspect_ratio": "16:9", "parameters": {"image": image}}),
            ),
            "aspect_ratio",
            "takes no aspect_ratio",
        ),
        bad(
            of(
                "image-generation",
                json!({"prompt": CANARY, "mode": "standard"}),
            ),
            "mode",
            "set parameters.resolution",
        ),
        bad(
            of("image-generation", json!({"prompt": CANARY, "duration": 5})),
            "duration",
            "has no length",
        ),
        bad(
            of(
                "image-generation",
                json!({"prompt": CANARY, "parameters": {"n": 10_000}}),
            ),
            "parameters.n",
            "1 to 9",
        ),
        bad(
            of(
                "virtual-try-on",
                json!({"prompt": CANARY, "parameters": {"human_image": image,
                    "cloth_image": image}}),
            ),
            "prompt",
            "takes no prompt",
        ),
        bad(
            of(
                "virtual-try-on",
                json!({"parameters": {"human_image": image}}),
            ),
            "parameters.cloth_image",
            "cloth_image",
        ),
    ]
}

/// One row each: status, form, field, words, and no word of a prompt.
#[tokio::test]
async fn each_bad_request_is_told_its_field_and_its_fix() {
    let world = World::start().await;
    let cases = [shapes(), videos(), other_products()];
    let mut wrong = Vec::new();
    for case in cases.into_iter().flatten() {
        let answer = world.submit(&case.body).await;
        let problem = answer.body.to_string();
        let status = match case.code {
            "unknown-price" => 422,
            "not-implemented" => 501,
            _ => 400,
        };
        let right = answer.status == status
            && answer.body["code"] == case.code
            && answer.body["field"].as_str().unwrap_or_default() == case.field
            && answer.body["detail"]
                .as_str()
                .unwrap_or_default()
                .contains(case.words)
            && answer.header("content-type") == "application/problem+json"
            && !problem.contains("coal mine");
        if !right {
            let (field, words) = (case.field, case.words);
            wrong.push(format!(
                "{}\n  wanted {status} {field:?} {words:?}\n  got {problem}",
                case.body.to_string().chars().take(160).collect::<String>()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let nothing = world.get("/v1/tasks").await;
    assert_eq!(nothing.body["tasks"], json!([]), "a refusal stores nothing");
}

#[tokio::test]
async fn bodies_that_are_no_json_or_too_large() {
    let world = World::with(|config| {
        config.api.body_max_bytes = 20_000;
        config.api.batch_body_max_bytes = 100_000;
        config.api.bodies_max_bytes = 1_600_000;
    })
    .await;
    let post = |body: &str| {
        let request = world.request(KEY, Method::POST, "/v1/tasks");
        Answer::of(request.body(body.to_owned()))
    };
    for text in [
        "",
        "{",
        "{\"product\":",
        "prompt=canary",
        "{'product': 1}",
        "\u{0}",
    ] {
        let answer = post(text).await;
        answer.is_refusal("invalid-request", 400, "", "send one JSON object");
        assert!(!answer.body.to_string().contains("canary"));
    }
    let two = format!("{0}{0}", video(&json!({})));
    post(&two)
        .await
        .is_refusal("invalid-request", 400, "", "send one document");
    let twice = r#"{"product":"text-to-video","prompt":"a","prompt":"canary"}"#;
    post(twice)
        .await
        .is_refusal("invalid-request", 400, "prompt", "send it once");
    let deep = format!("{{\"product\":{}", "[".repeat(5_000));
    assert_eq!(post(&deep).await.status, 400);
    let large = video(&json!({"prompt": "a".repeat(20_001)}));
    world
        .submit(&large)
        .await
        .is_refusal("too-large", 413, "", "20000 bytes");
    let wide = format!("{{\"tasks\":[{}0]}}", "0,".repeat(9_000));
    let wide = world.request(KEY, Method::POST, "/v1/estimates").body(wide);
    Answer::of(wide)
        .await
        .is_refusal("too-large", 413, "", "too many values");
    let many = json!({"tasks": vec![video(&json!({})); 301]});
    let answer = world.call(Method::POST, "/v1/batches", &many).await;
    answer.is_refusal(
        "too-large",
        413,
        "tasks",
        "at most 300 tasks and this one has 301",
    );
    let none = json!({"tasks": []});
    let answer = world.call(Method::POST, "/v1/batches", &none).await;
    answer.is_refusal("invalid-request", 400, "tasks", "at least one");
    let second = json!({"tasks": [video(&json!({})), video(&json!({"duration": 7}))]});
    let answer = world.call(Method::POST, "/v1/batches", &second).await;
    answer.is_refusal("invalid-request", 400, "tasks[1].duration", "5 or 10");
    let second = json!({"tasks": [video(&json!({})), {"prompt": "canary"}]});
    let answer = world.call(Method::POST, "/v1/batches", &second).await;
    answer.is_refusal("invalid-request", 400, "tasks[1].product", "add it");
}
