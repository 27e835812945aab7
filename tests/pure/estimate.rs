//! The answer to an estimate: what fits, on which day, over all parts of a file.

use std::collections::BTreeMap;

use kling_relay::decide::estimate::{estimates, join, over};
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::answer::Estimate;
use kling_relay::model::ids::Day;
use kling_relay::ops::estimate::figures;
use proptest::prelude::*;
use rust_decimal::Decimal;

fn amount(tenths: i64, unit: Unit) -> Amount {
    Amount::new(Decimal::new(tenths, 1), unit)
}

fn day(text: &str) -> Day {
    text.parse().expect("a date")
}

fn task(price: Amount, day: Day) -> Estimate {
    Estimate {
        price,
        model: "kling-2.6".to_owned(),
        mode: Some("720p".to_owned()),
        duration: Some("10".to_owned()),
        audio: false,
        day,
        reuse_key: None,
    }
}

type Left = BTreeMap<Day, Vec<Amount>>;

/// The document's three figures, in its own words.
#[test]
fn a_refusal_looks_like_the_documents() {
    let today = day("2026-11-21");
    let left = Left::from([(today, vec![amount(200, Unit::Video)])]);
    let twelve = estimates(vec![task(amount(30, Unit::Video), today); 12], &left);
    assert!(!twelve.allowed);
    assert_eq!(twelve.fits, 6);
    assert_eq!(
        figures(&twelve),
        "Batch estimate: 12 videos x 3 video-unit = 36 video-unit\nBudget remaining: 20 video-unit"
    );
    let refusal = over(&twelve).expect("36 > 20");
    assert_eq!(
        refusal.message,
        "Batch needs 36 video-unit but only 20 video-unit remaining. Reduce to 6 videos or lower \
         mode."
    );
    assert_eq!(
        (refusal.needed, refusal.remaining),
        (
            vec![amount(360, Unit::Video)],
            vec![amount(200, Unit::Video)],
        )
    );
    let six = estimates(vec![task(amount(30, Unit::Video), today); 6], &left);
    assert_eq!((six.allowed, six.fits, over(&six)), (true, 6, None));
    let one = estimates(vec![task(amount(30, Unit::Video), today)], &left);
    assert!(figures(&one).starts_with("1 task: 3 video-unit (kling-2.6, 720p, 10 s)\n"));
}

#[test]
fn each_day_holds_its_own_and_the_first_that_cannot_is_named() {
    let (today, tomorrow) = (day("2026-11-21"), day("2026-11-22"));
    let video = |day| task(amount(30, Unit::Video), day);
    let left = Left::from([
        (today, vec![amount(60, Unit::Video)]),
        (
            tomorrow,
            vec![amount(30, Unit::Video), amount(80, Unit::Image)],
        ),
    ]);
    let tasks = vec![
        video(today),
        video(tomorrow),
        video(today),
        video(tomorrow),
        video(today),
    ];
    let answer = estimates(tasks, &left);
    assert_eq!((answer.allowed, answer.fits), (false, 3));
    assert_eq!(answer.remaining, [amount(30, Unit::Video)]);
    assert_eq!(answer.days.len(), 2);
    assert_eq!(answer.days[0].needed, [amount(90, Unit::Video)]);
    let refusal = over(&answer).expect("it does not fit");
    assert!(
        refusal
            .message
            .starts_with("2026-11-22: Batch needs 6 video-unit but only 3 video-unit")
    );
    assert_eq!(refusal.fits, 3);
    // No limit is no money: not even for what costs nothing.
    let image = task(amount(0, Unit::Image), today);
    let answer = estimates(vec![image], &left);
    assert_eq!((answer.allowed, answer.fits), (false, 0));
    assert_eq!(answer.remaining, [amount(0, Unit::Image)]);
}

proptest! {
    /// A file that was asked about in parts gets the answer that all of it would have got.
    #[test]
    fn parts_join_to_the_answer_for_the_whole(
        tasks in prop::collection::vec((0i64..40, any::<bool>(), any::<bool>()), 1..30),
        left in prop::collection::vec(prop::option::of(0i64..300), 4),
        cut in 0usize..30,
    ) {
        let days = [day("2026-11-21"), day("2026-11-22")];
        let units = [Unit::Video, Unit::Image];
        let tasks: Vec<Estimate> = tasks
            .into_iter()
            .map(|(price, late, image)| {
                task(amount(price, units[usize::from(image)]), days[usize::from(late)])
            })
            .collect();
        let of_day = |at: usize| {
            let of_unit = |unit: usize| left[2 * at + unit].map(|left| amount(left, units[unit]));
            [of_unit(0), of_unit(1)].into_iter().flatten().collect::<Vec<Amount>>()
        };
        let left = Left::from([(days[0], of_day(0)), (days[1], of_day(1))]);
        let whole = estimates(tasks.clone(), &left);
        let (first, second) = tasks.split_at(cut.min(tasks.len()));
        let parts = [first, second].map(|part| estimates(part.to_vec(), &left));
        let joined = join(parts.into());
        prop_assert_eq!((joined.fits, joined.allowed), (whole.fits, whole.allowed));
        prop_assert_eq!(&joined.total, &whole.total);
        prop_assert_eq!(&joined.remaining, &whole.remaining);
        prop_assert_eq!(over(&joined), over(&whole));
        // What is said to fit does, and one more does not.
        let allowed = |count: usize| estimates(tasks[..count].to_vec(), &left).allowed;
        prop_assert!(allowed(whole.fits));
        prop_assert_eq!(whole.allowed, whole.fits == tasks.len());
        prop_assert!(whole.allowed || !allowed(whole.fits + 1));
    }
}
