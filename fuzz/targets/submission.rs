//! Bodies of submissions, and the plans of those that are accepted.
#![no_main]

mod json;

use std::sync::LazyLock;

use jiff::civil::date;
use kling_relay::decide::pricing::{Generations, PlanOptions, PriceBook, plan, price_of};
use kling_relay::model::problem::Problem;
use kling_relay::model::request::{Purpose, TaskRequest};
use kling_relay::model::submission::Submission;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use rust_decimal::Decimal;
use serde_json::{Map, Value};

/// A prompt that is this long does not stand in our own words by chance.
const TELLING_CHARS: usize = 12;
/// No single request of either book costs more, in any unit.
const PRICE_MAX: u32 = 100_000;

/// Keys and values that mean something in a request.
const WORDS: [&str; 40] = [
    "product",
    "model",
    "prompt",
    "negative_prompt",
    "parameters",
    "purpose",
    "labels",
    "tasks",
    "priority",
    "not_before",
    "off_peak",
    "n",
    "duration",
    "mode",
    "resolution",
    "audio",
    "aspect_ratio",
    "image",
    "image_tail",
    "human_image",
    "cloth_image",
    "elements",
    "settings",
    "text-to-video",
    "image-to-video",
    "omni-video",
    "image-generation",
    "virtual-try-on",
    "avatar",
    "lip-sync",
    "motion-control",
    "kling-2.6",
    "kling-v2-6",
    "kling-v3",
    "pro",
    "std",
    "draft",
    "1080p",
    "10",
    "https://example.com/still.png",
];

static BOOKS: LazyLock<[PriceBook; 2]> = LazyLock::new(|| {
    ["official-2026-09", "seed-credits-v1"]
        .map(|name| PriceBook::named(name).expect("the built-in books are sound"))
});

fn refused(body: &[u8], problem: &Problem) {
    let words = serde_json::to_string(problem).expect("a document is JSON");
    assert!(words.len() < 4_096, "a refusal is short");
    assert!((400..500).contains(&problem.status));
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
        return;
    };
    never_quoted(&object, &words);
}

fn never_quoted(request: &Map<String, Value>, words: &str) {
    for secret in ["prompt", "negative_prompt"] {
        let Some(Value::String(prompt)) = request.get(secret) else {
            continue;
        };
        // A prompt of our own words only is no secret, and one that stands in another field may be
        // quoted from there.
        let foreign = |c: char| !c.is_ascii_alphanumeric() && !" ,.;:\"'`_-/()?…".contains(c);
        let elsewhere = request
            .iter()
            .any(|(key, value)| key.contains(prompt) || key != secret && says(value, prompt));
        if prompt.chars().count() >= TELLING_CHARS && prompt.contains(foreign) && !elsewhere {
            assert!(!words.contains(prompt), "a refusal quotes the prompt");
        }
    }
}

fn says(value: &Value, text: &str) -> bool {
    match value {
        Value::String(said) => said.contains(text),
        Value::Array(items) => items.iter().any(|item| says(item, text)),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, value)| key.contains(text) || says(value, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn accepted(request: &TaskRequest) {
    let Ok(Value::Object(said)) = serde_json::to_value(request) else {
        panic!("a request is an object");
    };
    for book in BOOKS.iter() {
        for generations in [Generations::Both, Generations::LegacyOnly] {
            let options = PlanOptions {
                generations,
                on: date(2026, 11, 21),
                default_purpose: Purpose::Final,
            };
            match plan(request, book, &options) {
                Ok(planned) => {
                    let price = planned.price.amount;
                    assert!(price > Decimal::ZERO, "nothing is for nothing");
                    assert!(
                        price <= Decimal::from(PRICE_MAX),
                        "a price without a bound: {price}"
                    );
                    assert!(planned.slots.count >= 1);
                    let again = price_of(&planned.call, book, options.on);
                    let again = again.expect("what is planned has a price");
                    assert_eq!(again.price, planned.price, "the price is the body's");
                    let same = plan(request, book, &options).expect("twice the same");
                    assert_eq!(same, planned, "a plan depends on the request alone");
                }
                Err(refusal) => never_quoted(&said, &refusal.message),
            }
        }
    }
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    json::mutate(data, size, max_size, seed, &WORDS)
});

fuzz_target!(|body: &[u8]| {
    match Submission::parse(body) {
        Ok(submission) => submission.requests().iter().for_each(accepted),
        Err(problem) => refused(body, &problem),
    }
});
