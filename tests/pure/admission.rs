//! The early answer to a budget question: needed, remaining, how many fit.

use kling_relay::decide::admission::admit;
use kling_relay::decide::ledger::{Limits, hold, with_limits};
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::ledger::Balance;
use proptest::prelude::*;
use rust_decimal::Decimal;

fn amount(tenths: i64, unit: Unit) -> Amount {
    Amount::new(Decimal::new(tenths, 1), unit)
}

fn day(limits: &[(Unit, i64)]) -> Balance {
    let limits: Limits = limits
        .iter()
        .map(|(unit, tenths)| (*unit, Decimal::new(*tenths, 1)))
        .collect();
    with_limits(Balance::new(), &limits)
}

#[test]
fn what_fits_is_admitted() {
    let tenant = day(&[(Unit::Video, 45)]);
    assert_eq!(admit(&[amount(15, Unit::Video); 3], &tenant, None), Ok(()));
    assert_eq!(admit(&[], &tenant, None), Ok(()));
}

#[test]
fn refusal_carries_the_documents_three_figures() {
    // The document's own case: ten videos of ten credits against what is left of a thousand.
    let spent = hold(&day(&[(Unit::Credit, 10_000)]), amount(9_560, Unit::Credit));
    let tenant = spent.expect("956 of 1000 fit");
    let over = admit(&[amount(100, Unit::Credit); 10], &tenant, None).expect_err("100 > 44");
    assert_eq!(over.needed, [amount(1_000, Unit::Credit)]);
    assert_eq!(over.remaining, [amount(440, Unit::Credit)]);
    assert_eq!(over.fits, 4);
    assert_eq!(
        over.message,
        "Batch needs 100 credit but only 44 credit remaining. Reduce to 4 tasks or lower mode."
    );
    let over = admit(
        &[amount(15, Unit::Video); 2],
        &day(&[(Unit::Video, 20)]),
        None,
    )
    .expect_err("3 > 2");
    assert!(
        over.message.contains("Reduce to 1 video or lower mode."),
        "{over}"
    );
}

#[test]
fn single_task_and_empty_budget_have_their_words() {
    let over =
        admit(&[amount(15, Unit::Video)], &day(&[(Unit::Video, 10)]), None).expect_err("1.5 > 1");
    assert_eq!(over.fits, 0);
    assert!(
        over.message
            .starts_with("The task needs 1.5 video-unit but only 1 video-unit remaining.")
    );
    let over = admit(
        &[amount(15, Unit::Video); 2],
        &day(&[(Unit::Video, 10)]),
        None,
    )
    .expect_err("1.5 > 1");
    assert!(over.message.contains("None fits"), "{over}");
}

#[test]
fn a_unit_without_a_limit_admits_nothing() {
    let over = admit(&[amount(80, Unit::Image)], &day(&[(Unit::Video, 10)]), None)
        .expect_err("there is no image limit");
    assert_eq!(over.remaining, [amount(0, Unit::Image)]);
}

#[test]
fn the_tighter_of_tenant_and_account_decides() {
    let tenant = day(&[(Unit::Video, 1_000)]);
    let account = day(&[(Unit::Video, 40)]);
    let over = admit(&[amount(15, Unit::Video); 5], &tenant, Some(&account)).expect_err("7.5 > 4");
    assert_eq!(over.remaining, [amount(40, Unit::Video)]);
    assert_eq!(over.fits, 2);
}

#[test]
fn units_are_counted_apart() {
    let tenant = day(&[(Unit::Video, 30), (Unit::Image, 80)]);
    let prices = [
        amount(15, Unit::Video),
        amount(80, Unit::Image),
        amount(15, Unit::Video),
        amount(80, Unit::Image),
    ];
    let over = admit(&prices, &tenant, None).expect_err("two images do not fit");
    assert_eq!(over.fits, 3);
    assert_eq!(
        over.needed,
        [amount(30, Unit::Video), amount(160, Unit::Image)]
    );
    assert_eq!(
        over.remaining,
        [amount(30, Unit::Video), amount(80, Unit::Image)]
    );
}

proptest! {
    /// What is said to fit does, one more does not, and the ledger's own hold agrees.
    #[test]
    fn fits_is_the_greatest_prefix(
        prices in prop::collection::vec((0i64..100, prop::bool::ANY), 1..20),
        limits in (0i64..500, 0i64..500),
        account in prop::option::of((0i64..500, 0i64..500)),
    ) {
        let unit = |image| if image { Unit::Image } else { Unit::Video };
        let prices: Vec<Amount> =
            prices.into_iter().map(|(tenths, image)| amount(tenths, unit(image))).collect();
        let of = |(video, image)| day(&[(Unit::Video, video), (Unit::Image, image)]);
        let (tenant, account) = (of(limits), account.map(of));
        let held = |count: usize| {
            let all = |day: &Balance| {
                prices[..count].iter().try_fold(day.clone(), |day, price| hold(&day, *price))
            };
            all(&tenant).is_ok() && account.as_ref().is_none_or(|account| all(account).is_ok())
        };
        match admit(&prices, &tenant, account.as_ref()) {
            Ok(()) => prop_assert!(held(prices.len())),
            Err(over) => {
                prop_assert!(held(over.fits));
                prop_assert!(!held(over.fits + 1));
            }
        }
    }
}
