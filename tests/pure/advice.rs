//! Advice: the document's strategies with their savings, and that each is a request that can be
//! made at that price.

use kling_relay::decide::advice::{Alternative, advice, alternatives, join};
use kling_relay::decide::pricing::{Generations, Planned, PriceBook, plan};
use kling_relay::decide::reuse::reuse_key;
use kling_relay::model::advice::{Advice, Strategy as Way};
use kling_relay::model::amount::{Amount, sum_by_unit};
use kling_relay::model::answer::Estimate;
use kling_relay::model::ids::{Day, Tenant};
use kling_relay::model::request::TaskRequest;
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::any_request::near_request;
use crate::requests::{TODAY, official, options, request, seed};

fn planned(request: &TaskRequest, book: &PriceBook) -> Option<Planned> {
    plan(request, book, &options(Generations::Both)).ok()
}

fn of(request: &TaskRequest, book: &PriceBook, off_peak: bool) -> Vec<Alternative> {
    let Some(now) = planned(request, book) else {
        return Vec::new();
    };
    alternatives(request, &now, off_peak, |request| planned(request, book))
}

fn estimate(request: &TaskRequest, book: &PriceBook) -> Estimate {
    let planned = planned(request, book).expect("it can be made");
    let tenant = Tenant::parse("acme").expect("a tenant");
    Estimate {
        price: planned.price,
        model: planned.model.clone(),
        mode: planned.mode.clone(),
        duration: planned.duration.clone(),
        audio: planned.audio,
        day: Day(TODAY),
        reuse_key: (!request.reuse).then(|| reuse_key(&tenant, &planned.call)),
    }
}

fn of_all(requests: &[TaskRequest], book: &PriceBook) -> Vec<Advice> {
    let estimates: Vec<Estimate> = requests.iter().map(|one| estimate(one, book)).collect();
    let found: Vec<_> = requests.iter().map(|one| of(one, book, true)).collect();
    advice(&estimates, &found)
}

/// Strategy, what to set, price and saving of each row, but for reuse.
fn rows(body: &Value, book: &PriceBook) -> Vec<(Way, String, String, String)> {
    let all = of_all(&[request(body)], book);
    let row = |one: &Advice| {
        let saving = one.saving.first().map(|saving| {
            let times = saving
                .times
                .map_or("all".to_owned(), |times| times.to_string());
            format!("{} {times} {}%", saving.amount.amount, saving.percent)
        });
        let set = Value::Object(one.changes[0].set.clone()).to_string();
        let price = one.price[0].amount.to_string();
        (one.strategy, set, price, saving.unwrap_or_default())
    };
    let shown = |one: &&Advice| !matches!(one.strategy, Way::Reuse | Way::OffPeak);
    all.iter().filter(shown).map(row).collect()
}

#[track_caller]
fn check(body: &Value, book: &PriceBook, expected: &[(Way, &str, &str, &str)]) {
    let mut full = json!({"product": "text-to-video", "prompt": "a fox"});
    for (key, value) in body.as_object().into_iter().flatten() {
        full[key] = value.clone();
    }
    let found = rows(&full, book);
    let found: Vec<_> = found
        .iter()
        .map(|(way, set, price, saving)| (*way, set.as_str(), price.as_str(), saving.as_str()))
        .collect();
    assert_eq!(found, expected, "{full}");
}

/// The savings column of the document's table.
#[test]
fn the_documents_own_savings() {
    let standard = r#"{"mode":"standard"}"#;
    let short = r#"{"duration":"5"}"#;
    let silent = r#"{"audio":false}"#;
    let turbo = r#"{"model":"kling-2.5-turbo"}"#;
    check(
        &json!({"mode": "professional"}),
        seed(),
        &[
            (Way::StandardForDrafts, standard, "10", "25 3.5 71.4%"),
            (Way::TurboModel, turbo, "35", ""),
        ],
    );
    check(
        &json!({"duration": 10}),
        seed(),
        &[
            (Way::ShorterFirst, short, "10", "10 2 50%"),
            (Way::TurboModel, turbo, "20", ""),
        ],
    );
    check(
        &json!({"audio": true, "model": "kling-3.0"}),
        seed(),
        &[
            (Way::TurboModel, r#"{"model":"kling-3.0-turbo"}"#, "50", ""),
            (Way::SkipAudio, silent, "10", "40 5 80%"),
        ],
    );
}

#[test]
fn models_come_from_table_and_book() {
    let all = r#"{"mode":"standard","duration":"5","model":"kling-2.6"}"#;
    check(
        &json!({"model": "kling-3.0", "mode": "pro", "duration": 10}),
        official(),
        &[
            (
                Way::StandardForDrafts,
                r#"{"mode":"standard"}"#,
                "6",
                "2 1.33 25%",
            ),
            (Way::ShorterFirst, r#"{"duration":"5"}"#, "4", "4 2 50%"),
            // Turbo 3.0 is no alternative: it cannot be silent.
            (
                Way::CheaperModel,
                r#"{"model":"kling-2.5-turbo"}"#,
                "5",
                "3 1.6 37.5%",
            ),
            (
                Way::CheaperModel,
                r#"{"model":"kling-2.6"}"#,
                "5",
                "3 1.6 37.5%",
            ),
            (Way::Together, all, "1.5", "6.5 5.33 81.3%"),
        ],
    );
    // 2.6 makes no 4k and no 4 s, but once the mode is changed and the length not, 5 s is longer.
    check(
        &json!({"model": "kling-3.0", "mode": "4k", "duration": 4}),
        official(),
        &[(
            Way::StandardForDrafts,
            r#"{"mode":"standard"}"#,
            "2.4",
            "9.6 5 80%",
        )],
    );
    // Legacy requests stay in their generation; 2.6 has sound at 1080p only.
    let all = r#"{"audio":false,"model":"kling-v2-6"}"#;
    check(
        &json!({"model": "kling-v3", "audio": true}),
        official(),
        &[
            (Way::SkipAudio, r#"{"audio":false}"#, "3", "1.5 1.5 33.3%"),
            (Way::Together, all, "1.5", "3 3 66.7%"),
        ],
    );
    check(&json!({"model": "kling-2.5-turbo"}), official(), &[]);
    check(
        &json!({"purpose": "draft", "mode": "pro", "model": "kling-2.5-turbo"}),
        official(),
        &[],
    );
}

#[test]
fn the_window_and_reuse_are_advised_where_they_can_be_asked_for() {
    let plain = request(&json!({"product": "text-to-video", "prompt": "a fox"}));
    let ways = |request: &TaskRequest, off_peak, takes_reuse: bool| -> Vec<Way> {
        let now = planned(request, official()).expect("it can be made");
        let takes = |request: &TaskRequest| {
            planned(request, official()).filter(|_| takes_reuse || !request.reuse)
        };
        let all = alternatives(request, &now, off_peak, takes);
        all.iter().map(|one| one.strategy).collect()
    };
    assert_eq!(
        ways(&plain, true, true),
        [Way::TurboModel, Way::OffPeak, Way::Reuse]
    );
    assert_eq!(ways(&plain, false, false), [Way::TurboModel]);
    let mut asked = plain.clone();
    (asked.off_peak, asked.reuse) = (true, true);
    assert_eq!(ways(&asked, true, true), [Way::TurboModel]);
    let all = of_all(&[plain], official());
    let reuse = all
        .iter()
        .find(|one| one.strategy == Way::Reuse)
        .expect("it is advised");
    assert!(reuse.up_to && reuse.saving[0].times.is_none());
    assert_eq!(reuse.saving[0].percent, Decimal::ONE_HUNDRED);
    let night = all
        .iter()
        .find(|one| one.strategy == Way::OffPeak)
        .expect("it is advised");
    assert!(night.saving.is_empty(), "the same price, only faster");
}

#[test]
fn a_batch_is_added_up_and_its_repeats_are_counted() {
    let video = |mode: &str, prompt: &str| {
        request(
            &json!({"product": "text-to-video", "mode": mode, "prompt": prompt,
            "model": "kling-2.5-turbo"}),
        )
    };
    let mut relabelled = video("std", "a hare");
    relabelled.labels.insert("take".to_owned(), "2".to_owned());
    let image = request(&json!({"product": "image-generation", "prompt": "a fox"}));
    let requests = [
        video("pro", "a fox"),
        video("std", "a hare"),
        video("1080p", "a fox"),
        image,
        relabelled,
    ];
    let all = of_all(&requests, official());
    let amounts = |amounts: &[Amount]| {
        amounts
            .iter()
            .map(Amount::to_string)
            .collect::<Vec<_>>()
            .join(" + ")
    };
    let row = |way| {
        all.iter()
            .find(|one| one.strategy == way)
            .expect("it is advised")
    };
    // Two of five are in professional mode; the others stay in the sum as they are.
    let standard = row(Way::StandardForDrafts);
    assert_eq!(standard.changes.len(), 1);
    assert_eq!(standard.changes[0].tasks, [0, 2]);
    assert_eq!(amounts(&standard.price), "6 video-unit + 8 image-unit");
    assert_eq!(standard.saving.len(), 1);
    assert_eq!(standard.saving[0].amount.to_string(), "2 video-unit");
    assert_eq!(standard.saving[0].percent.to_string(), "25");
    // One spelling of a mode, and labels, make no other video.
    let repeats = row(Way::Duplicates);
    assert_eq!(repeats.changes[0].tasks, [2, 4]);
    assert!(repeats.changes[0].set.is_empty());
    assert_eq!(amounts(&repeats.price), "4 video-unit + 8 image-unit");
    let model = row(Way::CheaperModel);
    assert_eq!(model.changes[0].tasks, [3]);
    assert_eq!(amounts(&model.price), "8 video-unit + 4 image-unit");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What is advised can be submitted as it stands, at that price, and never costs more.
    #[test]
    fn each_alternative_is_a_request_of_that_price(request in near_request()) {
        let Some(now) = planned(&request, official()) else { return Ok(()); };
        for one in of(&request, official(), true) {
            let mut body = serde_json::to_value(&request).expect("a request is JSON");
            for (key, value) in &one.set {
                body[key] = value.clone();
            }
            let changed: TaskRequest = serde_json::from_value(body).expect("still a request");
            let then = planned(&changed, official());
            prop_assert!(then.is_some(), "{:?} cannot be made", one.set);
            let then = then.expect("it was just looked at");
            prop_assert_eq!(then.product, now.product);
            if one.strategy == Way::Reuse {
                continue;
            }
            prop_assert_eq!(then.price, one.price);
            let same = matches!(one.strategy, Way::TurboModel | Way::OffPeak);
            prop_assert_eq!(then.price.amount < now.price.amount, !same);
            prop_assert_eq!(then.price == now.price, same);
            if one.strategy == Way::CheaperModel {
                prop_assert_eq!((then.mode, then.duration, then.audio),
                    (now.mode.clone(), now.duration.clone(), now.audio));
            }
        }
    }

    /// A file that was asked about in parts gets the advice that all of it would have got.
    #[test]
    fn parts_join_to_the_advice_on_the_whole(
        requests in prop::collection::vec(near_request(), 1..12),
        twice in any::<bool>(),
        cuts in prop::collection::vec(0usize..12, 0..3),
    ) {
        let mut requests: Vec<TaskRequest> = requests
            .into_iter()
            .filter(|one| planned(one, official()).is_some())
            .collect();
        if twice {
            requests.extend(requests.clone());
        }
        let estimates: Vec<Estimate> =
            requests.iter().map(|one| estimate(one, official())).collect();
        let whole = of_all(&requests, official());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(requests.len())).collect();
        cuts.extend([0, requests.len()]);
        cuts.sort_unstable();
        let parts: Vec<(usize, Vec<Advice>)> = cuts
            .windows(2)
            .map(|cut| (cut[1] - cut[0], of_all(&requests[cut[0]..cut[1]], official())))
            .collect();
        prop_assert_eq!(&join(&estimates, &parts), &whole);
        // Price and saving add up to what it costs now.
        let total = sum_by_unit(estimates.iter().map(|one| one.price));
        for one in &whole {
            let saved = one.saving.iter().map(|saving| saving.amount);
            prop_assert_eq!(&sum_by_unit(one.price.iter().copied().chain(saved)), &total);
        }
    }
}
