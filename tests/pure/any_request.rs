//! Requests of any kind, for the laws of planning.

use kling_relay::decide::products::table::ROWS;
use kling_relay::model::request::{Product, TaskRequest};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::requests::{request, smallest};

/// Values that mean something somewhere, and some that never do.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2i64..20).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "5",
            "10",
            "auto",
            "series",
            "single",
            "1k",
            "4k",
            "image",
            "video",
            "https://a/b.png",
            "aGk=",
            "feature",
            "on",
            "first_frame",
            "base_video",
            "voice",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let key = prop::sample::select(vec![
            "type",
            "url",
            "id",
            "element_id",
            "voice_id",
            "refer_type",
            "enabled",
            "text",
            "x",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4).prop_map(|entries| {
                let entries = entries
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value));
                Value::Object(entries.collect())
            }),
        ]
    })
}

/// Every parameter that any table names, and more.
pub(crate) fn keys() -> Vec<&'static str> {
    let mut keys = vec![
        "contents",
        "settings",
        "image",
        "video",
        "first_frame",
        "last_frame",
        "refer_image",
        "feature_video",
        "base_video",
        "element",
        "voice",
        "callback_url",
        "options",
        "duration",
        "model_name",
        "resolution",
        "nonsense",
        "",
        "multi_shot",
    ];
    let known = ROWS.iter().flat_map(|row| row.legacy.parameters.iter());
    keys.extend(known.map(|parameter| parameter.name));
    keys
}

pub(crate) fn spellings() -> Vec<String> {
    let table = ROWS
        .iter()
        .flat_map(|row| row.spellings(true))
        .map(str::to_owned);
    let others = [
        "",
        "kling-",
        "kling-v2-master",
        "kling-4.0",
        "kling-v4-omni",
        "x/../y",
    ];
    table.chain(others.map(str::to_owned)).collect()
}

/// A request of the documented form whose fields hold anything.
pub(crate) fn any_request() -> impl Strategy<Value = TaskRequest> {
    let text = || prop::option::of("\\PC{0,20}");
    let mode = prop::option::of(prop_oneof![
        prop::sample::select(vec![
            "standard",
            "std",
            "720p",
            "professional",
            "pro",
            "1080p",
            "4k"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
    ]);
    let duration = prop::option::of(prop_oneof![
        prop::sample::select(vec!["5", "10", "3", "15", "3.5"]).prop_map(Value::from),
        "[0-9.e+-]{0,6}".prop_map(Value::from),
        any::<f64>().prop_map(|n| if n.is_finite() { json!(n) } else { json!(0) }),
        (0u64..20).prop_map(Value::from),
    ]);
    let parameters =
        prop::collection::vec((prop::sample::select(keys()), value()), 0..5).prop_map(|entries| {
            let entries = entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value));
            entries.collect::<Map<String, Value>>()
        });
    (
        prop::sample::select(Product::ALL.to_vec()),
        prop::option::of(prop::sample::select(spellings())),
        (text(), text()),
        (duration, mode, text(), prop::option::of(any::<bool>())),
        prop::option::of(prop::sample::select(vec!["draft", "final"])),
        parameters,
    )
        .prop_map(
            |(product, model, texts, (duration, mode, ratio, audio), purpose, parameters)| {
                let mut body = json!({ "product": product.as_str(), "parameters": parameters });
                let mut set = |key: &str, value: Option<Value>| {
                    if let Some(value) = value {
                        body[key] = value;
                    }
                };
                set("model", model.map(Value::from));
                set("prompt", texts.0.map(Value::from));
                set("negative_prompt", texts.1.map(Value::from));
                set("duration", duration);
                set("mode", mode.map(Value::from));
                set(
                    "aspect_ratio",
                    ratio.map(|ratio| json!(if ratio.len() > 9 { "16:9" } else { "1:1" })),
                );
                set("audio", audio.map(Value::from));
                set("purpose", purpose.map(Value::from));
                request(&body)
            },
        )
}

/// Requests that are accepted more often than not: the smallest of each product, with a few typed
/// fields over it.
pub(crate) fn near_request() -> impl Strategy<Value = TaskRequest> {
    (
        prop::sample::select(smallest()),
        prop::option::of(prop::sample::select(spellings())),
        prop::option::of(prop::sample::select(vec!["pro", "std", "4k"])),
        prop::option::of(3u64..16),
        prop::option::of(any::<bool>()),
        prop::option::of(1u64..10),
        any::<bool>(),
    )
        .prop_map(
            |((mut body, _), model, mode, duration, audio, n, negative)| {
                let mut set = |key: &str, value: Option<Value>| {
                    if let Some(value) = value {
                        body[key] = value;
                    }
                };
                set("model", model.map(Value::from));
                set("mode", mode.map(Value::from));
                set("duration", duration.map(Value::from));
                set("audio", audio.map(Value::from));
                set("negative_prompt", negative.then(|| json!("rain")));
                if let Some(n) = n {
                    body["parameters"]["n"] = json!(n);
                }
                request(&body)
            },
        )
}
