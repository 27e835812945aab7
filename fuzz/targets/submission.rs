//! Bodies of submissions, and the plans of those that are accepted.
#![no_main]

use std::sync::LazyLock;

use jiff::civil::date;
use kling_relay::decide::pricing::{Generations, PlanOptions, PriceBook, plan, price_of};
use kling_relay::model::problem::Problem;
use kling_relay::model::request::{Purpose, TaskRequest};
use kling_relay::model::submission::Submission;
use libfuzzer_sys::fuzz_target;
use rust_decimal::Decimal;
use serde_json::Value;

/// A prompt that is this long does not stand in our own words by chance.
const TELLING_CHARS: usize = 12;
/// No single request of either book costs more, in any unit.
const PRICE_MAX: u32 = 100_000;

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
    for secret in ["prompt", "negative_prompt"] {
        if let Some(Value::String(prompt)) = object.get(secret) {
            never_quoted(prompt, &words);
        }
    }
}

fn never_quoted(prompt: &str, words: &str) {
    // A prompt of our own words only is no secret.
    let foreign = |c: char| !c.is_ascii_alphanumeric() && !" ,.;:\"'`_-/()?…".contains(c);
    if prompt.chars().count() >= TELLING_CHARS && prompt.contains(foreign) {
        assert!(!words.contains(prompt), "a refusal quotes the prompt");
    }
}

fn accepted(request: &TaskRequest) {
    let prompt = request.prompt.clone().unwrap_or_default();
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
                Err(refusal) => never_quoted(&prompt, &refusal.message),
            }
        }
    }
}

fuzz_target!(|body: &[u8]| {
    match Submission::parse(body) {
        Ok(submission) => submission.requests().iter().for_each(accepted),
        Err(problem) => refused(body, &problem),
    }
});
