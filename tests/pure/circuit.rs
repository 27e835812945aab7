//! When Kling refuses: what closes, for how long, and how it opens again.

use jiff::{SignedDuration, Timestamp};
use kling_relay::decide::circuit::{Circuit, Gate, Scope};
use proptest::prelude::*;

const VIDEO: &str = "2.6/video";
const IMAGE: &str = "v3/image";

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(seconds)
}

fn stays() -> SignedDuration {
    SignedDuration::from_secs(60)
}

fn video() -> Scope {
    Scope::Pack("video".to_owned())
}

#[test]
fn an_empty_pack_closes_its_own_pools_only() {
    let mut circuit = Circuit::default();
    assert_eq!(circuit.gate(VIDEO, at(0)), Gate::Open);
    assert!(
        circuit.refused(video(), at(0), stays()),
        "the first is news"
    );
    assert!(
        !circuit.refused(video(), at(1), stays()),
        "the second is not"
    );
    assert_eq!(circuit.gate(VIDEO, at(2)), Gate::ClosedUntil(at(61)));
    assert_eq!(circuit.gate("o1/video", at(2)), Gate::ClosedUntil(at(61)));
    assert_eq!(circuit.gate(IMAGE, at(2)), Gate::Open);
}

#[test]
fn after_the_time_one_is_tried_and_its_success_opens_all() {
    let mut circuit = Circuit::default();
    circuit.refused(Scope::Account, at(0), stays());
    assert_eq!(circuit.gate(VIDEO, at(59)), Gate::ClosedUntil(at(60)));
    assert_eq!(circuit.gate(VIDEO, at(60)), Gate::OneToTry);
    assert_eq!(circuit.gate(IMAGE, at(60)), Gate::OneToTry);
    circuit.accepted(IMAGE);
    assert_eq!(circuit.gate(VIDEO, at(61)), Gate::Open);
}

#[test]
fn a_failed_try_closes_again_without_being_news() {
    let mut circuit = Circuit::default();
    circuit.refused(video(), at(0), stays());
    assert_eq!(circuit.gate(VIDEO, at(60)), Gate::OneToTry);
    assert!(!circuit.refused(video(), at(60), stays()));
    assert_eq!(circuit.gate(VIDEO, at(61)), Gate::ClosedUntil(at(120)));
    circuit.accepted(VIDEO);
    assert!(
        circuit.refused(video(), at(200), stays()),
        "it is news again"
    );
}

#[test]
fn what_another_pack_takes_says_nothing_about_this_one() {
    let mut circuit = Circuit::default();
    circuit.refused(video(), at(0), stays());
    circuit.accepted(IMAGE);
    assert_eq!(circuit.gate(VIDEO, at(1)), Gate::ClosedUntil(at(60)));
}

proptest! {
    #[test]
    fn it_is_closed_exactly_as_long_as_the_last_refusal_says(
        refusals in prop::collection::vec((any::<bool>(), 0..100i64), 1..8),
        look in 0..300i64,
    ) {
        let mut circuit = Circuit::default();
        let mut refusals = refusals;
        refusals.sort_by_key(|(_, seconds)| *seconds);
        for (account, seconds) in &refusals {
            let scope = if *account { Scope::Account } else { video() };
            circuit.refused(scope, at(*seconds), stays());
        }
        let last = refusals.last().unwrap().1 + 60;
        let expected = if look < last { Gate::ClosedUntil(at(last)) } else { Gate::OneToTry };
        prop_assert_eq!(circuit.gate(VIDEO, at(look)), expected);
    }
}
