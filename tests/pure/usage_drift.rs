//! What Kling takes beside what was estimated, and how the correction is worded.

use kling_relay::decide::pricing::PriceBook;
use kling_relay::decide::usage::{Drifts, cells_of};
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::ledger::LedgerEntry;
use kling_relay::model::request::Product;
use kling_relay::model::usage::Drift;

use crate::requests::{TODAY, official, seed};
use crate::usage::{decimal, hold, settled, taken_back, void};

fn drift(book: &PriceBook, entries: &[LedgerEntry]) -> (Vec<Drift>, usize) {
    let mut drifts = Drifts::default();
    for cell in entries.iter().flat_map(cells_of) {
        drifts.add(&cell).unwrap();
    }
    drifts.into_rows(book, TODAY)
}

fn of(
    product: Product,
    model: &str,
    mode: &str,
    duration: &str,
    mut entry: LedgerEntry,
) -> LedgerEntry {
    entry.product = Some(product);
    entry.model = Some(model.to_owned());
    entry.mode = Some(mode.to_owned());
    entry.duration = (!duration.is_empty()).then(|| duration.to_owned());
    entry
}

/// Checks one drifting kind: its ratio, and words of its suggestion.
#[track_caller]
fn drifts(book: &PriceBook, entry: LedgerEntry, ratio: &str, words: &[&str]) {
    let (rows, agreeing) = drift(book, &[hold("1"), entry]);
    assert_eq!((rows.len(), agreeing), (1, 0), "{rows:#?}");
    assert_eq!(rows[0].ratio, Some(decimal(ratio)));
    let suggestion = rows[0].suggestion.clone().unwrap();
    for words in words {
        assert!(
            suggestion.contains(words),
            "{words:?} is not in {suggestion:?}"
        );
    }
}

#[test]
fn drift_is_worded_as_the_book_words_it() {
    let book = official();
    let five = of(
        Product::TextToVideo,
        "kling-2.6",
        "720p",
        "5",
        settled("1.5", "1.2"),
    );
    let words = [
        "says 0.3 video-unit a second, Kling takes 0.24",
        "amounts = { 720p = \"0.24\" }",
    ];
    drifts(book, five, "0.8", &words);
    let legacy = of(
        Product::TextToVideo,
        "kling-v2-6",
        "pro",
        "10",
        settled("5", "5.5"),
    );
    let words = ["says 0.5", "takes 0.55", "1080p = \"0.55\"", "price "];
    drifts(book, legacy, "1.1", &words);
    let mut image = of(
        Product::ImageGeneration,
        "kling-v3",
        "1k",
        "",
        settled("16", "20"),
    );
    image.unit = Some(Unit::Image);
    image.billed = vec![Amount::new(decimal("20"), Unit::Image)];
    drifts(
        book,
        image,
        "1.25",
        &["says 8 image-unit an image, Kling takes 10"],
    );
    let call = of(
        Product::TextToAudio,
        "text-to-audio",
        "",
        "10",
        settled("0.25", "0.5"),
    );
    drifts(
        book,
        call,
        "2",
        &[
            "0.25 video-unit a call, Kling takes 0.5",
            "amount = \"0.5\"",
        ],
    );
    // Held at another price than the book's of today: only the task can be spoken of.
    let odd = of(
        Product::TextToVideo,
        "kling-2.6",
        "720p",
        "5",
        settled("7", "6"),
    );
    drifts(book, odd, "0.8571", &["takes 6 video-unit a task", "7"]);
}

#[test]
fn what_agrees_or_cannot_be_compared_is_no_drift() {
    let book = official();
    let agrees = settled("1.5", "1.5");
    let mut other_unit = settled("1.5", "0");
    other_unit.billed = vec![Amount::new(decimal("0.2"), Unit::Usd)];
    let mut failed = settled("1.5", "0.3");
    failed.outcome = Some("failed".to_owned());
    let mut credit = settled("10", "10");
    credit.unit = Some(Unit::Credit);
    let (rows, agreeing) = drift(book, &[agrees, other_unit, failed, credit, void("3")]);
    assert_eq!((rows, agreeing), (Vec::new(), 1));
    let torn = settled("1.5", "1.2");
    assert_eq!(
        drift(book, &[torn.clone(), taken_back(&torn)]),
        (Vec::new(), 0)
    );
    assert_eq!(drift(seed(), &[]), (Vec::new(), 0));
}

#[test]
fn what_holds_the_maximum_drifts_by_design() {
    for product in [Product::Avatar, Product::LipSync, Product::MotionControl] {
        let entry = of(product, product.as_str(), "std", "", settled("120", "4.4"));
        let (rows, _) = drift(official(), &[entry]);
        assert!(
            rows[0].by_design && rows[0].suggestion.is_none(),
            "{rows:?}"
        );
    }
}

#[test]
fn free_by_the_book_and_billed_by_kling_has_no_ratio() {
    let element = of(Product::Element, "element", "", "", settled("0", "1"));
    let (rows, _) = drift(official(), &[element]);
    assert_eq!(rows[0].ratio, None);
    assert!(
        rows[0]
            .suggestion
            .as_ref()
            .unwrap()
            .contains("takes 1 video-unit a task")
    );
}
