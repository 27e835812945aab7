//! The arithmetic of a day's money: its laws over random histories.

use kling_relay::decide::ledger::{
    HoldRefused, Limits, close, closing, deduct, hold, mark_alerts, remaining, used_share,
    with_limits,
};
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::ledger::{Balance, Basis, UnitBalance, is_limit};
use kling_relay::model::task::Status;
use proptest::prelude::*;
use rust_decimal::Decimal;

/// Units that a test day has limits in; yuan has none.
const LIMITED: [Unit; 3] = [Unit::Video, Unit::Image, Unit::Credit];

#[derive(Clone, Debug)]
enum Step {
    Hold(Amount),
    /// Closes one of the open holds (by place, wrapped) with what Kling says.
    Close(usize, Option<Vec<Amount>>, Status),
}

fn amounts() -> impl Strategy<Value = Amount> {
    let units = prop::sample::select(vec![Unit::Video, Unit::Image, Unit::Credit, Unit::Cny]);
    (0_i64..400, 0_u32..3, units)
        .prop_map(|(n, scale, unit)| Amount::new(Decimal::new(n, scale), unit))
}

fn steps() -> impl Strategy<Value = Step> {
    let bills = prop::option::of(prop::collection::vec(amounts(), 0..4));
    let ends = prop::sample::select(vec![Status::Succeeded, Status::Failed]);
    prop_oneof![
        3 => amounts().prop_map(Step::Hold),
        2 => (any::<usize>(), bills, ends).prop_map(|(at, bill, end)| Step::Close(at, bill, end)),
    ]
}

fn opened(limit: i64) -> Balance {
    let limits: Limits = LIMITED.map(|unit| (unit, Decimal::from(limit))).into();
    with_limits(Balance::new(), &limits)
}

fn sum(amounts: &[Amount], unit: Unit) -> Decimal {
    amounts
        .iter()
        .filter(|a| a.unit == unit)
        .map(|a| a.amount)
        .sum()
}

/// A history of a day with an account of its own of what must be true.
struct Day {
    balance: Balance,
    open: Vec<Amount>,
    deducted: Vec<Amount>,
    overrun: Vec<Amount>,
}

impl Day {
    fn apply(&mut self, step: Step, limit: i64) {
        match step {
            Step::Hold(amount) => match hold(&self.balance, amount) {
                Ok(after) => {
                    let of_unit = &after[&amount.unit];
                    let used = of_unit.held + of_unit.deducted;
                    // Nothing more is spent by a hold of nothing, even after an overrun.
                    let fits = used <= Decimal::from(limit) || amount.amount.is_zero();
                    assert!(fits, "above the limit at acceptance");
                    self.balance = after;
                    self.open.push(amount);
                }
                Err(HoldRefused::NoLimit(unit)) => assert!(!LIMITED.contains(&unit)),
                Err(HoldRefused::OverLimit { needed, remaining }) => {
                    assert_eq!(needed, amount);
                    assert!(amount.amount > remaining.amount, "it would have fitted");
                    assert!(remaining.amount >= Decimal::ZERO);
                }
            },
            Step::Close(at, bill, end) => {
                if self.open.is_empty() {
                    return;
                }
                let held = self.open.swap_remove(at % self.open.len());
                let closing = closing(held, end, bill.as_deref());
                assert_eq!(
                    closing.deduction[0].unit, held.unit,
                    "the hold's unit stands first"
                );
                let (first, others) = closing.deduction.split_first().expect("never empty");
                self.balance = close(&self.balance, held, first.amount);
                for other in others {
                    self.balance = deduct(&self.balance, *other);
                }
                self.deducted.extend(&closing.deduction);
                self.overrun.extend(&closing.overrun);
            }
        }
    }

    fn check(&self, limit: i64) {
        for unit in Unit::ALL {
            let found = self.balance.get(&unit).cloned().unwrap_or_default();
            assert_eq!(
                found.held,
                sum(&self.open, unit),
                "held is what is open, no more, no less"
            );
            assert_eq!(
                found.deducted,
                sum(&self.deducted, unit),
                "every deduction once"
            );
            assert!(found.held >= Decimal::ZERO);
            if LIMITED.contains(&unit) {
                let most = Decimal::from(limit) + sum(&self.overrun, unit);
                assert!(
                    found.held + found.deducted <= most,
                    "above the limit save overruns"
                );
                assert!(remaining(&self.balance, unit).is_some_and(|left| left >= Decimal::ZERO));
            }
        }
    }
}

proptest! {
    #[test]
    fn any_day_adds_up(steps in prop::collection::vec(steps(), 0..80), limit in 0_i64..500) {
        let mut day = Day {
            balance: opened(limit),
            open: Vec::new(),
            deducted: Vec::new(),
            overrun: Vec::new(),
        };
        for step in steps {
            day.apply(step, limit);
            day.check(limit);
        }
    }

    #[test]
    fn closing_a_hold_gives_back_exactly_what_it_took(
        amount in amounts(),
        bill in prop::option::of(prop::collection::vec(amounts(), 0..4)),
        succeeded in any::<bool>(),
    ) {
        let before = opened(1_000_000);
        prop_assume!(LIMITED.contains(&amount.unit));
        let held = hold(&before, amount).expect("it fits");
        let end = if succeeded { Status::Succeeded } else { Status::Failed };
        let closing = closing(amount, end, bill.as_deref());
        let after = close(&held, amount, closing.deduction[0].amount);
        prop_assert_eq!(after[&amount.unit].held, before[&amount.unit].held);
        for taken in &closing.deduction {
            let aside = if taken.unit == amount.unit { amount.amount } else { Decimal::ZERO };
            let over = sum(&closing.overrun, taken.unit);
            prop_assert_eq!(over, (taken.amount - aside).max(Decimal::ZERO));
        }
        let nothing = closing.deduction.iter().all(|taken| taken.amount.is_zero());
        prop_assert_eq!(closing.is_void(), nothing);
    }

    #[test]
    fn thresholds_are_crossed_once(
        uses in prop::collection::vec(0_i64..30, 1..20),
        thresholds in prop::collection::btree_set(1_i64..=100, 1..5),
    ) {
        let thresholds: Vec<Decimal> = thresholds.into_iter().map(|t| Decimal::new(t, 2)).collect();
        let mut balance = opened(100);
        let mut crossed = Vec::new();
        let mut used = Decimal::ZERO;
        for amount in uses {
            let amount = Amount::new(Decimal::from(amount), Unit::Video);
            used += amount.amount;
            let (marked, now) = mark_alerts(deduct(&balance, amount), &thresholds);
            crossed.extend(now.iter().map(|crossed| crossed.threshold));
            let (_, again) = mark_alerts(marked.clone(), &thresholds);
            prop_assert!(again.is_empty());
            balance = marked;
        }
        crossed.sort();
        let reached = |threshold: &&Decimal| used >= **threshold * Decimal::from(100);
        let expected: Vec<Decimal> = thresholds.iter().filter(reached).copied().collect();
        prop_assert_eq!(crossed, expected);
    }
}

fn video(text: &str) -> Amount {
    Amount::new(text.parse().expect("a decimal"), Unit::Video)
}

#[track_caller]
fn check_closing(
    held: Amount,
    status: Status,
    billing: Option<&[Amount]>,
    basis: Basis,
    deduction: &[Amount],
    overrun: &[Amount],
) {
    let closing = closing(held, status, billing);
    assert_eq!(closing.basis, basis);
    assert_eq!(closing.deduction, deduction);
    assert_eq!(closing.overrun, overrun);
}

#[test]
fn closings_follow_kling_where_it_speaks() {
    let (held, none) = (video("2.5"), video("0"));
    let image = Amount::new(Decimal::ONE, Unit::Image);
    let credit = Amount::new(Decimal::from(35), Unit::Credit);
    let no_credit = Amount::zero(Unit::Credit);
    let (ok, bad) = (Status::Succeeded, Status::Failed);
    check_closing(held, ok, None, Basis::Assumed, &[held], &[]);
    check_closing(held, bad, None, Basis::Assumed, &[none], &[]);
    check_closing(held, ok, Some(&[]), Basis::Billed, &[none], &[]);
    check_closing(
        held,
        ok,
        Some(&[video("2")]),
        Basis::Billed,
        &[video("2")],
        &[],
    );
    let (more, over) = (video("3"), video("0.5"));
    check_closing(held, ok, Some(&[more]), Basis::Billed, &[more], &[over]);
    check_closing(held, bad, Some(&[more]), Basis::Billed, &[more], &[over]);
    check_closing(
        held,
        ok,
        Some(&[image]),
        Basis::Billed,
        &[none, image],
        &[image],
    );
    check_closing(credit, ok, Some(&[more]), Basis::Billed, &[credit], &[]);
    check_closing(credit, ok, Some(&[none]), Basis::Billed, &[no_credit], &[]);
}

#[test]
fn used_share_is_reckoned_of_any_limit() {
    let share = |held, deducted, limit| {
        used_share(&UnitBalance {
            held,
            deducted,
            limit,
            ..UnitBalance::default()
        })
    };
    let (zero, two, five) = (Decimal::ZERO, Decimal::TWO, Decimal::from(5));
    assert_eq!(
        share(two, five, Some(Decimal::from(8))),
        Some(Decimal::new(875, 3))
    );
    assert_eq!(share(zero, zero, Some(five)), Some(zero));
    assert_eq!(share(two, five, None), None);
    assert_eq!(share(two, five, Some(zero)), None);
    let least = Decimal::new(1, 28);
    assert_eq!(
        share(two, Decimal::from(6), Some(least)),
        Some(Decimal::MAX)
    );
    assert_eq!(share(Decimal::MAX, five, Some(least)), Some(Decimal::MAX));
}

#[test]
fn limits_have_bounds() {
    for (text, fits) in [
        ("0", true),
        ("0.000001", true),
        ("0.0000009", false),
        ("12.5", true),
        ("1000000000", true),
        ("1000000000.1", false),
        ("-1", false),
    ] {
        assert_eq!(is_limit(text.parse().unwrap()), fits, "{text}");
    }
}
