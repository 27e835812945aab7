//! What the ledger's entries come to: groups, totals, cost, records and drift.

use std::collections::BTreeMap;

use kling_relay::decide::ledger::closes_task;
use kling_relay::decide::usage::{
    Cells, Dimension, GROUPS_MAX, Groups, Rates, cells_of, merge, prompt_preview, record_of,
};
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::ids::{CommitId, Day, TaskId};
use kling_relay::model::ledger::{Basis, EntryKind, LedgerEntry};
use kling_relay::model::request::{KlingCall, Product};
use kling_relay::model::usage::{UsageFigures, UsageGroup, UsageTotals};
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::json;

pub(crate) fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(crate) fn video(text: &str) -> Amount {
    Amount::new(decimal(text), Unit::Video)
}

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

pub(crate) fn entry(kind: EntryKind, held: &str, deducted: &str) -> LedgerEntry {
    LedgerEntry {
        entry_id: "batch.1".to_owned(),
        tenant: "acme".to_owned(),
        task_id: TaskId::parse("acme_0000000000000000000000000a").ok(),
        commit_id: CommitId::parse("commit").unwrap(),
        day: day("2026-11-21"),
        kind,
        unit: Some(Unit::Video),
        held_change: decimal(held),
        deducted_change: decimal(deducted),
        basis: None,
        billed: Vec::new(),
        overrun: Vec::new(),
        balance: BTreeMap::new(),
        product: Some(Product::TextToVideo),
        model: Some("kling-2.6".to_owned()),
        mode: Some("720p".to_owned()),
        duration: Some("5".to_owned()),
        audio: Some(false),
        labels: BTreeMap::new(),
        kling_task_id: None,
        latency_seconds: None,
        saved: None,
        outcome: None,
        occurred_at: "2026-11-21T10:00:00Z".parse().unwrap(),
        who: None,
        reason: None,
    }
}

pub(crate) fn hold(amount: &str) -> LedgerEntry {
    entry(EntryKind::Hold, amount, "0")
}

/// A success that Kling billed.
pub(crate) fn settled(held: &str, billed: &str) -> LedgerEntry {
    let mut entry = entry(EntryKind::Settlement, &format!("-{held}"), billed);
    entry.basis = Some(Basis::Billed);
    entry.billed = vec![video(billed)];
    entry.outcome = Some("succeeded".to_owned());
    entry.latency_seconds = Some(decimal("90"));
    entry
}

pub(crate) fn void(held: &str) -> LedgerEntry {
    let mut entry = entry(EntryKind::Void, &format!("-{held}"), "0");
    entry.basis = Some(Basis::Assumed);
    entry.outcome = Some("failed".to_owned());
    entry.reason = Some("moderation".to_owned());
    entry
}

/// What the repair of a torn batch writes.
pub(crate) fn taken_back(torn: &LedgerEntry) -> LedgerEntry {
    LedgerEntry {
        kind: EntryKind::Adjustment,
        held_change: -torn.held_change,
        deducted_change: -torn.deducted_change,
        basis: torn.basis.filter(|_| closes_task(torn)),
        outcome: torn.outcome.clone().filter(|_| closes_task(torn)),
        billed: Vec::new(),
        ..torn.clone()
    }
}

fn labelled(mut entry: LedgerEntry, key: &str, value: &str) -> LedgerEntry {
    entry.labels.insert(key.to_owned(), value.to_owned());
    entry
}

fn grouped(entries: &[LedgerEntry], by: &[&str]) -> (Vec<UsageGroup>, UsageTotals) {
    grouped_at(entries, by, None)
}

fn grouped_at(
    entries: &[LedgerEntry],
    by: &[&str],
    rates: Option<&Rates>,
) -> (Vec<UsageGroup>, UsageTotals) {
    let by = by.iter().map(|name| Dimension::parse(name).unwrap());
    let mut groups = Groups::new(by.collect());
    for entry in entries {
        for cell in cells_of(entry) {
            groups.add(&entry.tenant, entry.day, &cell).unwrap();
        }
    }
    groups.into_rows(rates)
}

fn total(entries: &[LedgerEntry]) -> UsageTotals {
    grouped(entries, &[]).1
}

#[test]
fn tasks_are_counted_when_their_hold_closes() {
    let total = total(&[
        entry(EntryKind::Limit, "0", "0"),
        hold("1.5"),
        hold("1.5"),
        hold("3"),
        settled("1.5", "1.2"),
        void("1.5"),
    ]);
    assert_eq!((total.tasks, total.succeeded, total.failed), (2, 1, 1));
    assert_eq!(total.success_rate, Some(decimal("0.5")));
    assert_eq!(total.mean_latency_seconds, Some(decimal("90")));
    assert_eq!(total.deducted, [video("1.2")]);
    assert_eq!(total.held, [video("3")]);
    assert_eq!((total.saved, total.cost), (Vec::new(), None));
}

#[test]
fn a_bill_in_two_units_is_one_task() {
    let mut first = settled("5", "3");
    first.billed.push(Amount::new(decimal("0.7"), Unit::Usd));
    let mut second = settled("0", "0.7");
    second.unit = Some(Unit::Usd);
    second.billed.clear();
    assert!(closes_task(&first) && !closes_task(&second));
    let total = total(&[hold("5"), first.clone(), second.clone()]);
    assert_eq!(total.tasks, 1);
    let paid = [video("3"), Amount::new(decimal("0.7"), Unit::Usd)];
    assert_eq!(total.deducted, paid);
    let records = [first, second].map(|entry| record_of(entry).unwrap());
    assert_eq!(records[0].estimate, Some(decimal("5")));
    assert_eq!(records[1].estimate, None);
    assert_eq!(records[1].credits, decimal("0.7"));
}

#[test]
fn what_is_assumed_is_a_task_too_and_no_drift() {
    let mut assumed = settled("2", "2");
    assumed.basis = Some(Basis::Assumed);
    assumed.billed.clear();
    assert_eq!(total(std::slice::from_ref(&assumed)).succeeded, 1);
    let figures = &cells_of(&assumed)[1].figures;
    assert_eq!(figures.compared, 0);
}

#[test]
fn a_torn_closing_is_not_counted() {
    let torn = settled("1.5", "1.2");
    let again = settled("1.5", "1.3");
    let total = total(&[hold("1.5"), torn.clone(), taken_back(&torn), again]);
    assert_eq!((total.tasks, total.succeeded), (1, 1));
    assert_eq!(total.mean_latency_seconds, Some(decimal("90")));
    assert_eq!((total.deducted, total.held), (vec![video("1.3")], vec![]));

    let (hold, gone) = (hold("4"), labelled(void("4"), "a", "b"));
    let (groups, none) = grouped(
        &[
            hold.clone(),
            taken_back(&hold),
            gone.clone(),
            taken_back(&gone),
        ],
        &["label:a"],
    );
    assert_eq!(groups, [], "a group of nothing is not shown");
    assert_eq!((none.tasks, none.success_rate), (0, None));
}

#[test]
fn a_correction_changes_amounts_and_is_no_task() {
    let correction = entry(EntryKind::Adjustment, "0", "-0.2");
    let total = total(&[hold("1.5"), settled("1.5", "1.2"), correction.clone()]);
    assert_eq!((total.tasks, total.deducted), (1, vec![video("1")]));
    let record = record_of(correction).unwrap();
    assert_eq!((record.credits, record.estimate), (decimal("-0.2"), None));
    for silent in [
        hold("1"),
        taken_back(&hold("1")),
        entry(EntryKind::Limit, "0", "0"),
    ] {
        assert_eq!(record_of(silent), None);
    }
}

#[test]
fn a_reused_result_says_what_it_saved() {
    let mut reused = void("0");
    reused.outcome = Some("succeeded".to_owned());
    reused.saved = Some(video("1.5"));
    let total = total(&[hold("0"), reused]);
    assert_eq!((total.succeeded, total.saved), (1, vec![video("1.5")]));
    assert_eq!(total.deducted, []);
}

#[test]
fn groups_have_every_dimension() {
    let mut other = labelled(settled("8", "8"), "project", "spring");
    other.tenant = "zeta".to_owned();
    other.day = day("2026-11-22");
    other.product = Some(Product::ImageGeneration);
    other.unit = Some(Unit::Image);
    let entries = [settled("1.5", "1.5"), other];
    let check = |by: &[&str], expected: &[&[Option<&str>]]| {
        let (groups, _) = grouped(&entries, by);
        let found: Vec<Vec<Option<&str>>> = groups
            .iter()
            .map(|group| {
                by.iter()
                    .map(|name| group.group[*name].as_deref())
                    .collect()
            })
            .collect();
        assert_eq!(found, expected);
    };
    check(&["day"], &[&[Some("2026-11-21")], &[Some("2026-11-22")]]);
    check(&["tenant"], &[&[Some("acme")], &[Some("zeta")]]);
    check(&["model"], &[&[Some("kling-2.6")]]);
    check(
        &["product", "model"],
        &[
            &[Some("image-generation"), Some("kling-2.6")],
            &[Some("text-to-video"), Some("kling-2.6")],
        ],
    );
    check(&["label:project"], &[&[None], &[Some("spring")]]);
    for nonsense in ["", "days", "label:", "label"] {
        assert_eq!(Dimension::parse(nonsense), None, "{nonsense:?}");
    }
}

#[test]
fn held_without_labels_comes_back_to_nothing() {
    let entries = [
        hold("2"),
        labelled(settled("2", "2"), "project", "x"),
        hold("3"),
    ];
    let (groups, total) = grouped(&entries, &["label:project"]);
    assert_eq!(total.held, [video("3")]);
    let held: Vec<_> = groups
        .iter()
        .map(|group| group.totals.held.clone())
        .collect();
    assert_eq!(held, [vec![video("3")], vec![]]);
}

#[test]
fn cost_counts_cash_as_itself_and_names_what_has_no_rate() {
    let rates = BTreeMap::from([(Unit::Video, decimal("0.14"))]);
    let rates = Rates::new("USD", rates);
    let mut cash = settled("1", "0.5");
    cash.unit = Some(Unit::Usd);
    let mut image = settled("8", "8");
    image.unit = Some(Unit::Image);
    let entries = [settled("10", "10"), cash, image];
    let cost = grouped_at(&entries, &[], Some(&rates)).1.cost.unwrap();
    assert_eq!(
        (cost.amount, cost.currency.as_str()),
        (decimal("1.9"), "USD")
    );
    assert_eq!(cost.without, [Unit::Image]);
    let yuan = Rates::new("CNY", BTreeMap::new());
    let cost = grouped_at(&entries[..1], &[], Some(&yuan)).1.cost.unwrap();
    assert_eq!(
        (cost.amount, cost.without),
        (Decimal::ZERO, vec![Unit::Video])
    );
}

#[test]
fn too_many_groups_say_what_to_do() {
    let mut groups = Groups::new(vec![Dimension::Label("n".to_owned())]);
    let mut add = |number: usize| {
        let entry = labelled(settled("1", "1"), "n", &number.to_string());
        groups.add("acme", entry.day, &cells_of(&entry)[1])
    };
    (0..GROUPS_MAX).for_each(|number| add(number).unwrap());
    add(0).unwrap();
    let error = add(GROUPS_MAX).unwrap_err();
    assert!(error.to_string().contains("fewer days"), "{error}");
}

fn arbitrary() -> impl Strategy<Value = LedgerEntry> {
    let amounts = (0_i64..50, 0_i64..50);
    (0..5_usize, amounts, 0..3_usize, 0..2_usize).prop_map(
        |(kind, (held, billed), label, model)| {
            let (held, billed) = (format!("{held}.5"), format!("{billed}.25"));
            let closing = settled(&held, &billed);
            let entry = match kind {
                0 => hold(&held),
                1 => closing,
                2 => void(&held),
                3 => taken_back(&closing),
                _ => entry(EntryKind::Adjustment, "0", &billed),
            };
            let mut entry = match label {
                0 => entry,
                label => labelled(entry, "project", &label.to_string()),
            };
            entry.model = Some(["kling-2.6", "kling-3.0"][model].to_owned());
            entry
        },
    )
}

proptest! {
    /// Wherever a day is cut into pages, and in whatever order they are read, a report is the same.
    #[test]
    fn pages_come_to_the_same(
        entries in prop::collection::vec(arbitrary(), 0..40),
        cut in 0..40_usize,
    ) {
        let cut = cut.min(entries.len());
        let by = [Dimension::Model, Dimension::Label("project".to_owned())];
        let mut groups = Groups::new(by.to_vec());
        let (mut sum, mut whole) = (UsageFigures::default(), UsageFigures::default());
        for page in [&entries[cut..], &entries[..cut]] {
            let mut cells = Cells::default();
            page.iter().for_each(|entry| cells.add(entry));
            prop_assert_eq!(cells.size_bytes() == 0, page.iter().all(|e| cells_of(e).is_empty()));
            for cell in cells.into_cells() {
                let text = serde_json::to_string(&cell).unwrap();
                prop_assert!(text.len() < 600, "{}", text);
                let cell = serde_json::from_str(&text).unwrap();
                groups.add("acme", day("2026-11-21"), &cell).unwrap();
                merge(&mut sum, &cell.figures);
            }
        }
        entries.iter().flat_map(cells_of).for_each(|cell| merge(&mut whole, &cell.figures));
        for sums in [&mut sum, &mut whole] {
            for map in [&mut sums.held, &mut sums.deducted, &mut sums.estimated, &mut sums.billed] {
                map.retain(|_, amount| !amount.is_zero());
            }
        }
        prop_assert_eq!(sum, whole);
        prop_assert_eq!(groups.into_rows(None), grouped(&entries, &["model", "label:project"]));
    }
}

#[test]
fn a_preview_is_one_short_line() {
    let call = |body: serde_json::Value| KlingCall {
        path: "/x".to_owned(),
        body: body.as_object().unwrap().clone(),
    };
    let alone = call(json!({"prompt": "A boat\nat dawn"}));
    assert_eq!(prompt_preview(&alone, 9).as_deref(), Some("A boat at"));
    let entry =
        json!({"contents": [{"type": "image"}, {"type": "prompt", "text": "Ein Fährboot"}]});
    assert_eq!(prompt_preview(&call(entry), 8).as_deref(), Some("Ein Fähr"));
    assert_eq!(prompt_preview(&call(json!({"voice": 1})), 8), None);
}
