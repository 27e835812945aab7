//! Laws of planning, over requests of any kind.

use kling_relay::decide::pricing::{
    Facts, Generations, Planned, PriceBook, plan, price_of, request_digest,
};
use kling_relay::decide::products::table::ROWS;
use kling_relay::model::request::{KlingCall, Product, TaskRequest};
use kling_relay::model::task::Generation;
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::any_request::{any_request, keys, near_request, spellings, value};
use crate::requests::{TODAY, official, options, planned, request, seed, smallest};

/// What holds of every accepted plan.
fn check_laws(request: &TaskRequest, planned: &Planned, book: &PriceBook) -> Result<(), String> {
    let body = &planned.call.body;
    let law = |holds: bool, what: &str| {
        if holds {
            Ok(())
        } else {
            Err(format!("{what}: {}", planned.call.path))
        }
    };
    let free = request.product == Product::Element;
    law(
        free || planned.price.amount > Decimal::ZERO,
        "the price is positive",
    )?;
    law(
        planned.price.amount >= Decimal::ZERO,
        "the price is not negative",
    )?;
    let again = price_of(&planned.call, book, TODAY).map_err(|refusal| refusal.to_string())?;
    law(
        again.price == planned.price,
        "the body has the plan's price",
    )?;
    law(
        again.slots == planned.slots,
        "the body has the plan's slots",
    )?;
    law((1..=9).contains(&planned.slots.count), "slots are bounded")?;
    for key in ["callback_url", "external_task_id"] {
        law(
            !body.contains_key(key),
            "the dispatcher's fields are not there yet",
        )?;
        let options = body.get("options").and_then(Value::as_object);
        law(
            options.is_none_or(|options| !options.contains_key(key)),
            "nor in options",
        )?;
    }
    let is_new = planned.generation == Generation::New;
    law(
        is_new != planned.call.path.starts_with("/v1/"),
        "the path is the generation's",
    )?;
    law(
        !is_new || !body.contains_key("model_name"),
        "a new path names the model by itself",
    )?;
    let multi_shot = body.get("settings").and_then(|s| s.get("multi_shot"));
    let multi_shot = multi_shot.or_else(|| body.get("multi_shot"));
    law(
        multi_shot.is_none_or(|on| on == false),
        "multi_shot is false",
    )?;
    let facts = Facts::of(&planned.call).map_err(|refusal| refusal.to_string())?;
    law(
        facts.product == request.product,
        "the body is the product's",
    )?;
    law(
        planned.request_digest == request_digest(request),
        "the digest is the request's",
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_request_is_planned_lawfully_or_refused(
        request in any_request(),
        legacy_only in any::<bool>(),
        with_credits in any::<bool>(),
    ) {
        let generations = if legacy_only { Generations::LegacyOnly } else { Generations::Both };
        let book = if with_credits { seed() } else { official() };
        match plan(&request, book, &options(generations)) {
            Ok(planned) => prop_assert_eq!(check_laws(&request, &planned, book), Ok(())),
            Err(refusal) => prop_assert!(!refusal.message.is_empty() && refusal.field.is_some()),
        }
    }

    #[test]
    fn near_requests_are_planned_lawfully_or_refused(request in near_request()) {
        let book = official();
        if let Ok(planned) = plan(&request, book, &options(Generations::Both)) {
            prop_assert_eq!(check_laws(&request, &planned, book), Ok(()));
        }
    }

    /// Any body at any endpoint is priced or refused.
    #[test]
    fn any_call_is_priced_or_refused(
        row in prop::sample::select(ROWS.to_vec()),
        spelling in prop::sample::select(spellings()),
        entries in prop::collection::vec((prop::sample::select(keys()), value()), 0..6),
    ) {
        let path = match &row.new {
            Some(endpoint) => format!("{}{spelling}", endpoint.prefix),
            None => row.legacy.path.to_owned(),
        };
        let body = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let call = KlingCall { path, body };
        let _ = price_of(&call, official(), TODAY);
    }

    /// Equal requests in another order and spelling have one digest.
    #[test]
    fn digest_ignores_order_of_parameters(
        entries in prop::collection::btree_map("[a-d]{1,3}", value(), 0..5),
    ) {
        let with = |parameters: Map<String, Value>| {
            let body = json!({"product": "effects", "parameters": parameters});
            request_digest(&request(&body))
        };
        let forwards: Map<String, Value> = entries.clone().into_iter().collect();
        let backwards: Map<String, Value> = entries.into_iter().rev().collect();
        prop_assert_eq!(with(forwards), with(backwards));
    }
}

/// A test that only ever sees refusals proves nothing.
#[test]
fn near_requests_are_often_accepted() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let accepted = (0..1_000).filter(|_| {
        let request = near_request()
            .new_tree(&mut runner)
            .expect("a request")
            .current();
        plan(&request, official(), &options(Generations::Both)).is_ok()
    });
    assert!(accepted.count() > 100);
}

/// A plan made today and the dispatcher's additions do not change the price.
#[test]
fn the_dispatchers_fields_leave_the_price_alone() {
    for (body, price) in smallest() {
        if price.is_none() {
            continue;
        }
        let planned = planned(&body);
        let mut call = planned.call.clone();
        let fields = json!({"callback_url": "https://x/y", "external_task_id": "t_1"});
        match planned.generation {
            Generation::New => {
                call.body.insert("options".to_owned(), fields);
            }
            Generation::Legacy => {
                call.body
                    .extend(fields.as_object().expect("an object").clone());
            }
        }
        let priced = price_of(&call, official(), TODAY).expect("the price is known");
        assert_eq!(priced.price, planned.price);
    }
}

/// A body that did not come from a plan is priced by the same tables, or not at all.
#[test]
fn calls_of_unknown_effect_have_no_price() {
    let legacy = "/v1/videos/text2video";
    for (path, body, field) in [
        ("/v1/videos/text2video/", json!({}), "path"),
        ("/text-to-video/sora", json!({}), "model"),
        (legacy, json!({}), "model"),
        (
            legacy,
            json!({"model_name": "kling-v2-6", "boost": 1}),
            "boost",
        ),
        ("/text-to-video/kling-2.6", json!({"boost": 1}), "boost"),
        (
            "/text-to-video/kling-2.6",
            json!({"settings": {"fps": 60}}),
            "fps",
        ),
        (
            "/image-to-video/kling-2.6",
            json!({"contents": [{"type": "x"}]}),
            "contents.x",
        ),
    ] {
        check_call(path, body, "unknown-price", field);
    }
    for (path, body, field) in [
        (
            legacy,
            json!({"model_name": "kling-v2-6", "mode": "standard"}),
            "mode",
        ),
        (
            legacy,
            json!({"model_name": "kling-v2-6", "duration": "-5"}),
            "duration",
        ),
        (
            legacy,
            json!({"model_name": "kling-v2-6", "sound": true}),
            "sound",
        ),
        (
            "/text-to-video/kling-2.6",
            json!({"settings": []}),
            "settings",
        ),
        (
            "/text-to-video/kling-2.6",
            json!({"settings": {"resolution": "std"}}),
            "resolution",
        ),
        (
            "/v1/images/omni-image",
            json!({"model_name": "kling-v3-omni", "n": 10}),
            "n",
        ),
    ] {
        check_call(path, body, "invalid-request", field);
    }
}

#[track_caller]
fn check_call(path: &str, body: Value, code: &str, field: &str) {
    let Value::Object(body) = body else {
        panic!("a body is an object");
    };
    let call = KlingCall {
        path: path.to_owned(),
        body,
    };
    let refusal = price_of(&call, official(), TODAY).expect_err("it has no price");
    assert_eq!(refusal.code.as_str(), code, "{refusal}");
    assert_eq!(refusal.field.as_deref(), Some(field), "{refusal}");
}
