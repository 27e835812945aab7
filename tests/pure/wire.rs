//! Kling's JSON: every sample is read as meant, and no bytes at all can do harm.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kling_relay::edge::kling::wire::{
    self, Malformed, OUTPUTS_MAX, Terms, create_body, parse_callback, parse_created,
    parse_envelope, parse_page, parse_task, parse_tasks, task_body,
};
use kling_relay::model::amount::Unit;
use kling_relay::model::observation::Observation;
use kling_relay::model::request::KlingCall;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::a_task;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples/callbacks")
}

fn sample(name: &str) -> Vec<u8> {
    let path = samples().join(format!("{name}.json"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Unusual terms, so that a unit taken from them can be told from one that the body names.
fn terms() -> Terms {
    Terms::new(Unit::Image, Unit::Cny)
}

fn line(seen: &Observation) -> String {
    let id = seen.kling_task_id.as_str();
    let ours = match seen.external_id.as_deref() {
        Some(a_task::TASK_ID) => "ours",
        Some(other) => other,
        None => "-",
    };
    let mut line = format!("{:?} …{} {ours}", seen.status, &id[id.len() - 4..]);
    if !seen.message.is_empty() {
        write!(line, " ({})", seen.message).unwrap();
    }
    let outputs = seen.outputs.iter().map(|output| {
        let id = output
            .id
            .as_ref()
            .map(|id| format!("#{id}"))
            .unwrap_or_default();
        let path = output.url.0.split('?').next().unwrap_or_default();
        let file = path.rsplit('/').next().filter(|file| !file.is_empty());
        let file = file.unwrap_or("nothing");
        let duration = output.duration.as_deref().unwrap_or_default();
        format!("{}{id} {file} {duration}", output.kind)
            .trim_end()
            .to_owned()
    });
    let bill = seen.billing.as_ref().map(|bill| {
        bill.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    });
    let outputs = outputs.collect::<Vec<_>>().join(", ");
    let outputs = if outputs.is_empty() {
        " | |".to_owned()
    } else {
        format!(" | {outputs} |")
    };
    write!(line, "{outputs} {}", bill.unwrap_or("?".to_owned())).unwrap();
    line
}

/// The expectations that stand beside the samples, one line each: `<name> = <what is seen>`.
fn expectations(folder: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(folder.join("expected.txt")).unwrap();
    let pairs = text.lines().map(|line| line.split_once(" = ").unwrap());
    pairs
        .map(|(name, seen)| (name.trim().to_owned(), seen.to_owned()))
        .collect()
}

/// Every sample of a folder with what is seen in it, against the expectations.
#[track_caller]
fn check(folder: &Path, see: impl Fn(&[u8]) -> String) {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let json = entries.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    let mut seen: Vec<_> = json
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, see(&std::fs::read(&path).unwrap()))
        })
        .collect();
    seen.sort();
    for (seen, expected) in seen.iter().zip(expectations(folder)) {
        assert_eq!(*seen, expected);
    }
    assert_eq!(seen.len(), expectations(folder).len());
}

/// The samples that are no envelopes.
fn bare() -> Vec<(String, Value)> {
    let bare = expectations(&samples())
        .into_iter()
        .filter(|(name, _)| name != "legacy-wrapped");
    bare.map(|(name, _)| {
        let value = serde_json::from_slice(&sample(&name)).unwrap();
        (name, value)
    })
    .collect()
}

#[test]
fn every_sample_is_read_as_meant() {
    check(&samples(), |body| {
        let seen = parse_callback(body, terms()).unwrap();
        assert!(seen.created_at.is_some() && seen.updated_at.is_some());
        line(&seen)
    });
}

#[test]
fn every_refused_sample_is_refused_for_its_reason() {
    check(&samples().join("refused"), |body| {
        match parse_callback(body, terms()).unwrap_err() {
            Malformed::Field { field, .. } => format!("Field {field}"),
            other => format!("{other:?}"),
        }
    });
}

#[test]
fn the_same_task_reads_the_same_in_an_envelope() {
    for (name, bare) in bare() {
        let wrapped = json!({ "code": 0, "message": "SUCCEED", "data": bare });
        assert_eq!(
            parse_task(&wrapped, terms()),
            parse_task(&bare, terms()),
            "{name}"
        );
    }
}

#[test]
fn a_bill_is_read_only_at_the_end() {
    let body = br#"{"id":"1","status":"processing",
        "billing":[{"charge_type":"unit","amount":"3","package_type":"video"}]}"#;
    assert_eq!(parse_callback(body, terms()).unwrap().billing, None);
}

#[test]
fn a_bill_that_cannot_be_is_no_bill() {
    for amount in [
        "-1",
        "1000000001",
        "NaN",
        "",
        "3 units",
        "79228162514264337593543950335",
    ] {
        let body =
            json!({ "task_id": "1", "task_status": "succeed", "final_unit_deduction": amount });
        assert_eq!(
            parse_task(&body, terms()).unwrap().billing,
            None,
            "{amount}"
        );
    }
}

#[test]
fn a_bare_number_says_nothing_where_the_product_is_not_known() {
    let unknown = Terms {
        pack: None,
        ..terms()
    };
    let bare = json!({ "task_id": "1", "task_status": "succeed", "final_unit_deduction": "8" });
    assert_eq!(parse_task(&bare, unknown).unwrap().billing, None);
    let bill = json!([{ "charge_type": "unit", "package_type": "image", "amount": "8" }]);
    let named = json!({ "id": "1", "status": "succeeded", "billing": bill });
    let billing = parse_task(&named, unknown).unwrap().billing.unwrap();
    assert_eq!(billing[0].unit, Unit::Image);
}

#[test]
fn more_outputs_than_any_task_has_are_refused() {
    let outputs = |n: usize| vec![json!({ "type": "image", "url": "https://x.klingai.com/" }); n];
    let body = |n| json!({ "id": "1", "status": "succeeded", "outputs": outputs(n) });
    assert_eq!(
        parse_task(&body(OUTPUTS_MAX), terms())
            .unwrap()
            .outputs
            .len(),
        OUTPUTS_MAX
    );
    let refused = parse_task(&body(OUTPUTS_MAX + 1), terms());
    assert_eq!(refused, Err(Malformed::TooManyOutputs));
}

#[test]
fn deep_nesting_is_not_json() {
    let deep = "[".repeat(200_000);
    assert_eq!(
        parse_callback(deep.as_bytes(), terms()),
        Err(Malformed::NotJson)
    );
}

#[test]
fn a_create_is_read_in_both_standards() {
    let legacy = json!({ "task_id": "867283741759111202", "task_status": "submitted",
        "task_info": {}, "created_at": 1_774_805_076_166_i64 });
    assert_eq!(
        line(&parse_created(&legacy).unwrap()),
        "Submitted …1202 - | | ?"
    );
    let new = json!({ "id": "893605946402811985", "status": "submitted", "message": "",
        "create_time": 1_781_080_778_802_i64, "external_id": a_task::TASK_ID });
    assert_eq!(
        line(&parse_created(&new).unwrap()),
        "Submitted …1985 ours | | ?"
    );
    let bare = json!({ "id": "893605946402811985" });
    assert_eq!(
        line(&parse_created(&bare).unwrap()),
        "Submitted …1985 - | | ?"
    );
    assert_eq!(parse_created(&json!({})), Err(Malformed::NoKnownShape));
    assert_eq!(parse_created(&Value::Null), Err(Malformed::NoKnownShape));
}

#[test]
fn an_envelope_is_read_with_and_without_data() {
    let full = parse_envelope(br#"{"code":0,"message":"SUCCEED","request_id":"r","data":[]}"#);
    let full = full.unwrap();
    assert_eq!(
        (full.code, full.request_id.as_deref(), full.data),
        (0, Some("r"), json!([]))
    );
    let error =
        parse_envelope(br#"{"code":1303,"message":"parallel task over resource pack limit"}"#);
    let error = error.unwrap();
    assert_eq!(
        (error.code, error.request_id, error.data),
        (1303, None, Value::Null)
    );
    assert_eq!(parse_envelope(b"<html>404</html>"), Err(Malformed::NotJson));
    assert_eq!(parse_envelope(b"{}"), Err(Malformed::NoKnownShape));
}

#[test]
fn a_list_keeps_the_ids_of_what_cannot_be_read() {
    let data = json!([
        { "id": "1", "status": "succeeded", "outputs": [] },
        { "id": "2", "status": "exploded", "external_id": "x" },
        7,
    ]);
    let entries = parse_tasks(data, |_, _| terms()).unwrap();
    assert!(entries[0].observation.is_ok());
    assert!(entries[1].observation.is_err());
    assert_eq!(entries[1].kling_id.as_deref(), Some("2"));
    assert_eq!(entries[1].external_id.as_deref(), Some("x"));
    assert!(entries[2].observation.is_err());
    assert_eq!(parse_tasks(Value::Null, |_, _| terms()).unwrap().len(), 0);
    assert_eq!(
        parse_tasks(json!("x"), |_, _| terms()),
        Err(Malformed::NoKnownShape)
    );
}

#[test]
fn pages_end_where_kling_says() {
    let empty = parse_page(json!({ "count": 0, "has_more": false }), terms()).unwrap();
    assert_eq!((empty.tasks.len(), empty.next_cursor), (0, None));
    let task = json!({ "id": "1", "status": "submitted" });
    let page = json!({ "result": [task], "count": 1, "next_cursor": "c", "has_more": true });
    let page = parse_page(page, terms()).unwrap();
    assert_eq!(
        (page.tasks.len(), page.next_cursor.as_deref()),
        (1, Some("c"))
    );
    let last = json!({ "result": [], "next_cursor": "c", "has_more": false });
    assert_eq!(parse_page(last, terms()).unwrap().next_cursor, None);
}

#[test]
fn the_callback_address_goes_where_its_standard_reads_it() {
    let call = |path: &str, body: Value| KlingCall {
        path: path.to_owned(),
        body: body.as_object().unwrap().clone(),
    };
    let id = a_task::task_id();
    let options = json!({ "watermark_info": { "enabled": true } });
    let new = call(
        "/text-to-video/kling-2.6",
        json!({ "prompt": "p", "options": options }),
    );
    let expected = json!({ "prompt": "p", "options": { "watermark_info": { "enabled": true },
        "callback_url": "https://r/cb", "external_task_id": a_task::TASK_ID } });
    assert_eq!(create_body(&new, &id, "https://r/cb"), expected);
    let legacy = call("/v1/videos/text2video", json!({ "prompt": "p" }));
    let expected = json!({ "prompt": "p", "callback_url": "https://r/cb",
        "external_task_id": a_task::TASK_ID });
    assert_eq!(create_body(&legacy, &id, "https://r/cb"), expected);
}

#[test]
fn a_task_that_was_read_can_take_a_callbacks_path() {
    for (name, raw) in bare() {
        let read = parse_task(&raw, terms()).unwrap();
        let again = parse_callback(&task_body(&raw, &a_task::task_id()), terms()).unwrap();
        let ours = Observation {
            external_id: Some(a_task::TASK_ID.to_owned()),
            ..read
        };
        assert_eq!(again, ours, "{name}");
    }
}

#[test]
fn cash_is_in_the_currency_of_the_region() {
    let unit = |url: &str| wire::cash_unit(&url.parse().unwrap());
    assert_eq!(unit("https://api-singapore.klingai.com"), Unit::Usd);
    assert_eq!(unit("https://api-beijing.klingai.com"), Unit::Cny);
}

const KEYS: &str = "
    id status task_id task_status data outputs billing task_result videos images audios url
    url_1 type amount charge_type package_type final_unit_deduction final_balance_deduction
    quota task_info external_task_id external_id create_time updated_at message index";

/// JSON that is mostly Kling's keys with the wrong things behind them.
fn near_kling() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(KEYS.split_whitespace().collect::<Vec<_>>());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "succeed", "failed", "video", "unit", "cash", "1", "1e9", ""
        ])
        .prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8).prop_map(|pairs| {
                pairs
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()
            }),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse_callback(&bytes, terms());
        let _ = parse_envelope(&bytes);
    }

    #[test]
    fn arbitrary_json_never_panics(value in near_kling()) {
        let body = value.to_string().into_bytes();
        if let Ok(seen) = parse_callback(&body, terms()) {
            let billing = seen.billing.unwrap_or_default();
            // Would overflow if a figure were unbounded.
            let _ = kling_relay::model::amount::sum_by_unit(billing);
        }
        let _ = parse_envelope(&body);
        let _ = parse_created(&value);
        let _ = parse_tasks(value.clone(), |_, _| terms());
        let _ = parse_page(value.clone(), terms());
        let _ = task_body(&value, &a_task::task_id());
    }

    #[test]
    fn a_damaged_sample_never_panics(
        index in any::<prop::sample::Index>(),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let samples = bare();
        let mut body = sample(&samples[index.index(samples.len())].0);
        let position = position.index(body.len());
        body[position] = byte;
        let _ = parse_callback(&body, terms());
    }
}
