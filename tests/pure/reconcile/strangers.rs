//! Tasks that our ledger does not have: somebody else's, and ours of which nobody knows.

use kling_relay::decide::reconcile::{Class, DayBooks, DayReport, STRANGERS_MAX, SeenTask, Whose};
use kling_relay::model::ids::Tenant;

use super::{NEXT_DAY, day, is, kling, patience, record, seen, task, video};

#[test]
fn tasks_of_others_are_told_apart_and_no_fault() {
    let mut books = DayBooks::new(day(), None);
    let mut stranger = seen(7, Some(vec![video("3")]));
    stranger.external_id = Some("their-own-id".to_owned());
    assert_eq!(books.show(&stranger), Whose::Others);
    books.record(&record(7, Some(video("3"))), true);
    // One created on another day is that day's.
    books.record(&record(8, Some(video("3"))), false);
    let report = books.close(patience(NEXT_DAY));
    assert_eq!(report.findings[0].records, [video("3")]);
    is(report, Class::Unknown);
}

#[test]
fn strangers_are_bounded() {
    let mut books = DayBooks::new(day(), None);
    let many = STRANGERS_MAX as u128 + 10;
    for n in 0..many {
        books.record(&record(n, Some(video("3"))), true);
    }
    let report = books.close(patience(NEXT_DAY));
    assert_eq!(report.findings.len(), STRANGERS_MAX);
    assert_eq!(report.counts[&Class::Unknown], STRANGERS_MAX as u64 + 10);
}

#[test]
fn a_task_of_our_form_that_nobody_knows_is_missing() {
    let adopt = |seen: &SeenTask, now| {
        let mut books = DayBooks::new(day(), None);
        assert_eq!(books.show(seen), Whose::AskLog(task(1)));
        books.adopt(&task(1), seen);
        books.close(patience(now))
    };
    let billed = seen(1, Some(vec![video("3")]));
    is(adopt(&billed, NEXT_DAY), Class::MissingInLedger);
    // Nothing taken, or nothing yet: nothing to say.
    for nothing in [seen(1, Some(vec![video("0")])), seen(1, None)] {
        assert_eq!(adopt(&nothing, NEXT_DAY), DayReport::default());
    }
    // Of another day: its records are compared there.
    let mut books = DayBooks::new(day(), None);
    assert_eq!(books.show(&billed), Whose::AskLog(task(1)));
    books.elsewhere(kling(1));
    books.record(&record(1, Some(video("3"))), true);
    assert_eq!(books.close(patience(NEXT_DAY)), DayReport::default());
}

#[test]
fn one_tenants_books_are_silent_about_others() {
    let mut books = DayBooks::new(day(), Some(Tenant::parse("zeta").unwrap()));
    assert_eq!(books.show(&seen(1, Some(vec![video("3")]))), Whose::Others);
    books.record(&record(1, Some(video("3"))), true);
    books.record(&record(2, Some(video("3"))), true);
    assert_eq!(books.close(patience(NEXT_DAY)), DayReport::default());
}
