//! Price books of one's own: what they can add, and what is refused when they load.

use kling_relay::decide::pricing::{BookError, Generations, Input, PriceBook, Sound, plan};
use kling_relay::model::request::Product;
use serde_json::json;

use crate::price_books::facts;
use crate::requests::{options, request};

const HEAD: &str = r#"
name = "ours"
effective_from = "2026-01-01"
source = "our contract"
main_unit = "USD"
daily_limits = { USD = "5" }
"#;

const REST: &str = r#"
[[price]]
products = ["image-to-video", "omni-video", "motion-control", "multi-elements", "lip-sync",
    "avatar", "effects", "text-to-audio", "video-to-audio", "image-generation", "omni-image",
    "multi-image-to-image", "image-expansion", "virtual-try-on", "ai-multi-shot", "element",
    "custom-voice"]
unpriced = "we do not make these"
"#;

fn book(rows: &str) -> Result<PriceBook, BookError> {
    PriceBook::parse(&format!("{HEAD}{rows}{REST}"))
}

fn row(more: &str) -> String {
    format!("[[price]]\nproducts = [\"text-to-video\"]\nper = \"second\"\nunit = \"USD\"\n{more}\n")
}

#[test]
fn own_book_prices_its_own_models() {
    let rows = row("models = [\"4.0\"]\namount = \"0.25\"")
        + &row("models = [\"3.0-turbo\", \"3.0\", \"2.6\", \"2.5-turbo\"]\namount = \"0.1\"");
    let book = PriceBook::parse(&format!("{HEAD}extra_models = [\"4.0\"]\n{rows}{REST}"))
        .expect("the book is sound");
    for (model, pool) in [("kling-4.0", "4.0/video"), ("kling-v4", "4.0/video")] {
        let body = json!({"product": "text-to-video", "model": model, "duration": 8,
            "prompt": "a fox"});
        let planned = plan(&request(&body), &book, &options(Generations::Both))
            .expect("the book knows the model");
        assert_eq!(planned.price.to_string(), "2 USD");
        assert_eq!(planned.slots.pool, pool);
        assert_eq!(planned.model, model);
    }
}

#[test]
fn rows_change_on_their_day() {
    let rows = row("amount = \"1\"\neffective_until = \"2026-12-01\"")
        + &row("amount = \"2\"\neffective_from = \"2026-12-01\"");
    let book = book(&rows).expect("the book is sound");
    let facts = facts(
        Product::TextToVideo,
        "2.6",
        "720p",
        Sound::Silent,
        Input::None,
    );
    let on = |day: &str| {
        let day = day.parse().expect("a date");
        book.price(&facts, day)
            .map(|found| found.amount.to_string())
    };
    assert_eq!(on("2026-11-30").as_deref(), Ok("10 USD"));
    assert_eq!(on("2026-12-01").as_deref(), Ok("20 USD"));
}

#[track_caller]
fn check_bad(rows: &str, expected: &str) {
    let error = book(rows).expect_err("the book has a fault").to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn bad_books_are_refused_with_the_row() {
    check_bad("[[price]\n", "cannot be read");
    check_bad(&row("amount = 0.5"), "cannot be read");
    check_bad(
        &row("amount = \"-1\""),
        "price 1: amount -1 must lie between 0",
    );
    check_bad(
        &row("amount = \"1\"\namounts = { 720p = \"1\" }"),
        "exactly one of",
    );
    check_bad("[[price]]\namount = \"1\"\n", "needs per and unit");
    check_bad(&row("amount = \"1\"\ncolour = \"red\""), "colour");
    check_bad(
        &row("amount = \"1\"\nmodels = [\"2.6x\"]"),
        "no product has a model \"2.6x\"",
    );
    check_bad(&row("amount = \"1\"\nmodels = []"), "an empty list");
    let twice = row("amount = \"1\"") + &row("models = [\"2.6\"]\namount = \"2\"");
    check_bad(&twice, "price 1 and price 2 overlap");
    check_bad(
        &row("models = [\"2.6\"]\namount = \"1\""),
        "text-to-video with model 3.0",
    );
    let hole = row("amount = \"1\"\neffective_until = \"2026-12-01\"")
        + &row("amount = \"2\"\neffective_from = \"2026-12-03\"");
    check_bad(&hole, "on 2026-12-01");
    let backwards = "amount = \"1\"\neffective_from = \"2026-12-01\"\n\
                     effective_until = \"2026-12-01\"";
    check_bad(&row(backwards), "is not after");
}

#[test]
fn limits_of_a_book_are_checked() {
    let text = format!("{HEAD}{}{REST}", row("amount = \"1\""));
    for (from, to, expected) in [
        (
            "USD = \"5\"",
            "EUR = \"5\"",
            "daily_limits.EUR: no such unit",
        ),
        ("USD = \"5\"", "USD = \"-5\"", "must not be negative"),
        ("USD = \"5\"", "CNY = \"5\"", "USD needs a limit of its own"),
    ] {
        let error = PriceBook::parse(&text.replace(from, to)).expect_err("the limit is bad");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
