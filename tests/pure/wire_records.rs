//! Kling's deduction records: every figure is read as it was sent, and nothing else can do harm.

use kling_relay::edge::kling::wire::{Malformed, RecordSource, parse_page, parse_records};
use kling_relay::model::amount::{Amount, Unit};
use proptest::prelude::*;
use serde_json::{Value, json};

const CASH: RecordSource = RecordSource::Balance { cash: Unit::Cny };

fn page(detail: &[Value]) -> Value {
    json!({ "result": { "detail": detail, "count": detail.len() }, "has_more": false })
}

/// The amount of a single record.
fn read(source: RecordSource, record: &Value) -> Option<Amount> {
    let page = parse_records(&page(std::slice::from_ref(record)), source).unwrap();
    let [record] = &page.records[..] else {
        panic!("one record and not {page:?}")
    };
    assert_eq!(record.kling_task_id.as_str(), "867283741759111202");
    record.amount
}

/// A record as the platform documents it, with this figure.
fn package(figure: &str, product_type: &str) -> Value {
    let text = json!({
        "task_id": "867283741759111202", "api_key_name": "k", "product_function": "text2video",
        "model_name": "kling-v2-6", "resolution": "720p", "duration": "5.04",
        "refer_video_input": false, "video_sound": "off", "voice_control": false,
        "deduction_time": "1774805076166", "package_id": "p", "product_type": product_type,
        "unit_before_deduction": 10, "unit_after_deduction": 8.5, "deduction_amount": "FIGURE",
    });
    let text = text.to_string().replace("\"FIGURE\"", figure);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn figures_are_exact_however_they_are_spelt() {
    for (sent, meant) in [
        ("1.5", "1.5"),
        ("0.1", "0.1"),
        ("0.3", "0.3"),
        ("2.40", "2.4"),
        ("8", "8"),
        ("\"0.05\"", "0.05"),
        ("1e-7", "0.0000001"),
        ("123456789.012345", "123456789.012345"),
        // What a double makes of 1.8, 0.3 and 4.4 on the way.
        ("1.7999999999999998", "1.8"),
        ("0.30000000000000004", "0.3"),
        ("4.4000000000000004", "4.4"),
        // Given back.
        ("-0.5", "-0.5"),
        ("0", "0"),
    ] {
        let amount = read(RecordSource::Package, &package(sent, "video"));
        assert_eq!(
            amount.unwrap().to_string(),
            format!("{meant} video-unit"),
            "{sent}"
        );
    }
    for sent in [
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"much\"",
        "1e300",
        "2000000000",
    ] {
        assert_eq!(
            read(RecordSource::Package, &package(sent, "video")),
            None,
            "{sent}"
        );
    }
}

#[test]
fn the_unit_is_the_packs_or_the_balances() {
    let unit = |word| read(RecordSource::Package, &package("1", word)).map(|amount| amount.unit);
    assert_eq!(unit("video"), Some(Unit::Video));
    assert_eq!(unit("image"), Some(Unit::Image));
    assert_eq!(unit("try-on"), Some(Unit::TryOn));
    assert_eq!(unit("hologram"), None);
    assert_eq!(unit(""), None);
    let balance = |currency: Value| {
        let record = json!({ "task_id": "867283741759111202", "deduction_amount": 0.21,
            "cash_type": "balance", "list_price": 0.21, "currency": currency });
        read(CASH, &record).map(|amount| amount.to_string())
    };
    assert_eq!(balance(json!("USD")).as_deref(), Some("0.21 USD"));
    assert_eq!(balance(Value::Null).as_deref(), Some("0.21 CNY"));
    assert_eq!(balance(json!("EUR")), None);
}

#[test]
fn a_page_says_when_and_where_it_goes_on() {
    let mut answer = page(&[package("1", "video")]);
    answer["next_cursor"] = json!("c");
    let last = parse_records(&answer, RecordSource::Package).unwrap();
    assert_eq!(last.next_cursor, None, "there is no more");
    let at = last.records[0].deducted_at.unwrap();
    assert_eq!(at.as_millisecond(), 1_774_805_076_166);
    answer["has_more"] = json!(true);
    let first = parse_records(&answer, RecordSource::Package).unwrap();
    assert_eq!(first.next_cursor.as_deref(), Some("c"));
    // More, and nobody says where: not the last page, and not half of the truth.
    answer["next_cursor"] = Value::Null;
    let lost = parse_records(&answer, RecordSource::Package);
    assert!(
        matches!(
            lost,
            Err(Malformed::Field {
                field: "next_cursor",
                ..
            })
        ),
        "{lost:?}"
    );
    let tasks = json!({ "result": [], "count": 0, "has_more": true });
    assert!(parse_page(tasks, kling_relay::edge::kling::wire::Terms::default()).is_err());
}

#[test]
fn nothing_is_an_empty_page_and_a_nameless_record_is_none() {
    for empty in [
        json!({}),
        json!({ "result": null }),
        json!({ "result": { "count": 0 } }),
        json!({ "result": { "detail": null, "count": 0 }, "has_more": false }),
    ] {
        let page = parse_records(&empty, RecordSource::Package).unwrap();
        assert_eq!((page.records.len(), page.next_cursor), (0, None), "{empty}");
    }
    for wrong in [
        json!(null),
        json!([]),
        json!("x"),
        json!({ "result": { "detail": {} } }),
        page(&[json!(7)]),
        page(&[json!({ "deduction_amount": 1 })]),
        page(&[json!({ "task_id": 1.5, "deduction_amount": 1 })]),
        page(&[json!({ "task_id": "a b", "deduction_amount": 1 })]),
    ] {
        assert!(
            parse_records(&wrong, RecordSource::Package).is_err(),
            "{wrong}"
        );
    }
}

const KEYS: &str = "result detail count next_cursor has_more task_id deduction_amount currency
    deduction_time product_type cash_type";

/// JSON that is mostly Kling's keys with the wrong things behind them.
fn near_records() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(KEYS.split_whitespace().collect::<Vec<_>>());
    let words = ["video", "USD", "1.5", "1e9", "-1", "867283741759111202", ""];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        let pairs = prop::collection::vec((key.clone(), inner.clone()), 0..8);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Value::from),
            pairs.prop_map(|pairs| {
                let pairs = pairs.into_iter();
                pairs.map(|(key, value)| (key.to_owned(), value)).collect()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_json_never_panics(value in near_records(), record in near_records()) {
        for source in [RecordSource::Package, CASH] {
            let _ = parse_records(&value, source);
            if let Ok(page) = parse_records(&page(std::slice::from_ref(&record)), source) {
                // Would overflow if a figure were unbounded.
                let amounts = page.records.into_iter().filter_map(|record| record.amount);
                let _ = kling_relay::model::amount::sum_by_unit(amounts);
            }
        }
    }

    #[test]
    fn fifteen_digits_come_back(whole in 0_u64..100_000, fraction in 0_u64..1_000_000_000) {
        let sent = format!("{whole}.{fraction:09}");
        let amount = read(RecordSource::Package, &package(&sent, "video")).unwrap();
        prop_assert_eq!(amount.amount, sent.parse::<rust_decimal::Decimal>().unwrap());
    }
}
