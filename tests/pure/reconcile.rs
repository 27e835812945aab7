//! The comparison of our ledger with Kling's figures: each class, and no other.

mod strangers;

use jiff::{SignedDuration, Timestamp};
use kling_relay::decide::reconcile::{
    Change, Class, DayBooks, DayReport, Patience, SeenTask, Whose,
};
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::deduction::DeductionRecord;
use kling_relay::model::ids::{CommitId, Day, KlingTaskId, TaskId, Tenant};
use kling_relay::model::ledger::{Balance, Basis, EntryKind, LedgerEntry};
use rust_decimal::Decimal;

const SETTLED: &str = "2026-11-21T10:00:00Z";
const NEXT_DAY: &str = "2026-11-22T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn day() -> Day {
    "2026-11-21".parse().unwrap()
}

fn task(n: u128) -> TaskId {
    TaskId::from_bits(&Tenant::parse("acme").unwrap(), n)
}

fn kling(n: u128) -> KlingTaskId {
    KlingTaskId::parse(&format!("k{n}")).unwrap()
}

fn amount(text: &str, unit: Unit) -> Amount {
    Amount::new(text.parse().unwrap(), unit)
}

fn video(text: &str) -> Amount {
    amount(text, Unit::Video)
}

fn usd(text: &str) -> Amount {
    amount(text, Unit::Usd)
}

fn entry(n: u128, kind: EntryKind, held: Amount, deducted: &str) -> LedgerEntry {
    LedgerEntry {
        entry_id: "b.1".to_owned(),
        tenant: "acme".to_owned(),
        task_id: Some(task(n)),
        commit_id: CommitId::parse("c").unwrap(),
        day: day(),
        kind,
        unit: Some(held.unit),
        held_change: held.amount,
        deducted_change: deducted.parse().unwrap(),
        basis: None,
        billed: Vec::new(),
        overrun: Vec::new(),
        balance: Balance::new(),
        product: None,
        model: None,
        mode: None,
        duration: None,
        audio: None,
        labels: std::collections::BTreeMap::new(),
        kling_task_id: None,
        latency_seconds: None,
        saved: None,
        outcome: None,
        occurred_at: at(SETTLED),
        who: None,
        reason: None,
    }
}

/// One task's books, told in the order in which an audit learns them.
struct Case(DayBooks);

impl Case {
    fn held(amount: Amount) -> Self {
        let mut books = DayBooks::new(day(), None);
        books.enter(&entry(1, EntryKind::Hold, amount, "0"));
        Self(books)
    }

    /// Held and settled, in the hold's unit first.
    fn settled(held: Amount, basis: Basis, taken: &[Amount]) -> Self {
        Self::settled_as(held, basis, taken, taken)
    }

    fn settled_as(held: Amount, basis: Basis, taken: &[Amount], billed: &[Amount]) -> Self {
        let mut case = Self::held(held);
        let own = taken.iter().find(|amount| amount.unit == held.unit);
        let own = own.map_or("0".to_owned(), |amount| amount.amount.to_string());
        let closing = Amount::new(-held.amount, held.unit);
        let mut first = entry(1, EntryKind::Settlement, closing, &own);
        first.basis = Some(basis);
        if basis == Basis::Billed {
            first.billed = billed.to_vec();
        }
        first.kling_task_id = Some(kling(1));
        case.0.enter(&first);
        for further in taken.iter().filter(|amount| amount.unit != held.unit) {
            let nothing = Amount::zero(further.unit);
            let deducted = further.amount.to_string();
            let mut entry = entry(1, EntryKind::Settlement, nothing, &deducted);
            entry.basis = Some(basis);
            entry.kling_task_id = Some(kling(1));
            case.0.enter(&entry);
        }
        case
    }

    fn adjusted(mut self, unit: Unit, change: &str) -> Self {
        let mut entry = entry(1, EntryKind::Adjustment, Amount::zero(unit), change);
        entry.who = Some("ada".to_owned());
        self.0.enter(&entry);
        self
    }

    fn billing(mut self, billing: &[Amount]) -> Self {
        let seen = seen(1, Some(billing.to_vec()));
        assert_eq!(self.0.show(&seen), Whose::Entered);
        self
    }

    fn records(mut self, amounts: &[Amount]) -> Self {
        for amount in amounts {
            self.0.record(&record(1, Some(*amount)), true);
        }
        self
    }

    /// The next day, when every record is there.
    fn later(self) -> DayReport {
        self.0.close(patience(NEXT_DAY))
    }

    /// A minute after the settlement.
    fn soon(self) -> DayReport {
        self.0.close(patience("2026-11-21T10:01:00Z"))
    }
}

fn patience(now: &str) -> Patience {
    Patience {
        now: at(now),
        lag: SignedDuration::from_hours(12),
    }
}

fn seen(n: u128, billing: Option<Vec<Amount>>) -> SeenTask {
    SeenTask {
        kling_task_id: kling(n),
        external_id: Some(task(n).to_string()),
        ended_at: billing.is_some().then(|| at(SETTLED)),
        billing,
    }
}

fn record(n: u128, amount: Option<Amount>) -> DeductionRecord {
    DeductionRecord {
        kling_task_id: kling(n),
        amount,
        deducted_at: Some(at(SETTLED)),
    }
}

#[track_caller]
fn is(report: DayReport, class: Class) -> Vec<Change> {
    assert_eq!(report.counts, [(class, 1)].into(), "{report:#?}");
    assert_eq!(report.differences(), u64::from(class.is_difference()));
    let listed = class.is_difference() || class == Class::Unknown;
    assert_eq!(report.findings.len(), usize::from(listed), "{report:#?}");
    let findings = report.findings.into_iter();
    findings.flat_map(|finding| finding.changes).collect()
}

#[track_caller]
fn changes(found: &[Change], expected: &[(Unit, &str, &str)]) {
    let found: Vec<(Unit, String, String)> = found
        .iter()
        .map(|change| (change.unit, change.from.to_string(), change.to.to_string()))
        .collect();
    let expected: Vec<(Unit, String, String)> = expected
        .iter()
        .map(|(unit, from, to)| (*unit, (*from).to_owned(), (*to).to_owned()))
        .collect();
    assert_eq!(found, expected);
}

fn billed(taken: &[Amount]) -> Case {
    Case::settled(video("1.5"), Basis::Billed, taken)
}

#[test]
fn three_figures_that_agree_match() {
    let one = [video("1.5")];
    is(
        billed(&one).billing(&one).records(&one).later(),
        Class::Match,
    );
    // Several packs, trailing zeros, no bill of its own any more.
    let packs = [video("1"), video("0.50")];
    is(billed(&one).records(&packs).later(), Class::Match);
    // A pack and cash.
    let mixed = [video("0.5"), usd("0.14")];
    is(
        billed(&mixed).billing(&mixed).records(&mixed).later(),
        Class::Match,
    );
    // Cash alone, held in units.
    let cash = [usd("0.21")];
    is(
        billed(&cash).billing(&cash).records(&cash).later(),
        Class::Match,
    );
    // Nothing taken: with a record of nothing, or none.
    let nothing = [video("0")];
    is(
        billed(&nothing).billing(&nothing).records(&nothing).later(),
        Class::Match,
    );
    is(billed(&nothing).later(), Class::Match);
}

#[test]
fn totals_say_what_each_side_adds_up_to() {
    let mixed = [video("0.5"), usd("0.14")];
    let report = billed(&mixed)
        .billing(&mixed)
        .records(&[video("2")])
        .later();
    let totals = report.totals[&Unit::Video];
    let figures = [totals.ledger, totals.billing, totals.records].map(|f| f.to_string());
    assert_eq!(figures, ["0.5", "0.5", "2"]);
    assert_eq!(report.totals[&Unit::Usd].records, Decimal::ZERO);
}

#[test]
fn another_amount_or_unit_differs_and_the_records_are_right() {
    let one = [video("1.5")];
    let amount = billed(&one).billing(&one).records(&[video("7")]).later();
    changes(&is(amount, Class::Different), &[(Unit::Video, "1.5", "7")]);
    let twice = billed(&one)
        .billing(&one)
        .records(&[one[0], one[0]])
        .later();
    changes(&is(twice, Class::Different), &[(Unit::Video, "1.5", "3")]);
    let unit = billed(&one).billing(&one).records(&[usd("0.21")]).later();
    let expected = [(Unit::Video, "1.5", "0"), (Unit::Usd, "0", "0.21")];
    changes(&is(unit, Class::Different), &expected);
    // Too much differs at once, however young.
    let over = billed(&one).billing(&one).records(&[video("7")]).soon();
    is(over, Class::Different);
    // Without records the task's own bill is the evidence.
    let bill = billed(&one).billing(&[video("2")]).soon();
    changes(&is(bill, Class::Different), &[(Unit::Video, "1.5", "2")]);
}

#[test]
fn klings_own_figures_may_disagree_until_a_person_has_answered() {
    let one = [video("1.5")];
    let other = billed(&one).billing(&[video("2")]).records(&one).later();
    changes(&is(other, Class::Different), &[]);
    let posted = billed(&one).adjusted(Unit::Video, "5.5");
    let posted = posted.billing(&one).records(&[video("7")]).later();
    is(posted, Class::Match);
    let posted_wrongly = billed(&one).adjusted(Unit::Video, "5");
    let posted_wrongly = posted_wrongly.billing(&one).records(&[video("7")]).later();
    changes(
        &is(posted_wrongly, Class::Different),
        &[(Unit::Video, "6.5", "7")],
    );
}

#[test]
fn a_missing_record_is_awaited_and_then_missed() {
    let one = [video("1.5")];
    is(billed(&one).billing(&one).soon(), Class::NotYet);
    let missed = billed(&one).billing(&one).later();
    changes(&is(missed, Class::MissingAtKling), &[]);
    is(billed(&one).later(), Class::MissingAtKling);
    // Part of the records may come first, and the rest be late.
    let mixed = [video("0.5"), usd("0.14")];
    is(billed(&mixed).records(&mixed[..1]).soon(), Class::NotYet);
    let rest = billed(&mixed).records(&mixed[..1]).later();
    changes(&is(rest, Class::Different), &[(Unit::Usd, "0.14", "0")]);
}

#[test]
fn an_open_task_is_pending_until_kling_has_taken_something() {
    is(Case::held(video("1.5")).later(), Class::Pending);
    let mut open = Case::held(video("1.5"));
    assert_eq!(open.0.show(&seen(1, None)), Whose::Entered);
    is(open.later(), Class::Pending);
    let ended = || Case::held(video("1.5")).billing(&[video("1.5")]);
    is(ended().soon(), Class::Pending);
    changes(&is(ended().later(), Class::MissingInLedger), &[]);
    is(
        ended().records(&[video("1.5")]).later(),
        Class::MissingInLedger,
    );
    // The log knows Kling's id, and Kling's list no longer shows the task.
    let mut named = Case::held(video("1.5"));
    named.0.name(&task(1), &kling(1));
    is(
        named.records(&[video("1.5")]).later(),
        Class::MissingInLedger,
    );
}

#[test]
fn an_assumption_yields_to_a_figure() {
    let assumed = || Case::settled(video("1.5"), Basis::Assumed, &[video("1.5")]);
    is(assumed().records(&[video("1.5")]).later(), Class::Match);
    let figure = assumed().records(&[video("7")]).later();
    changes(&is(figure, Class::Assumed), &[(Unit::Video, "1.5", "7")]);
    let bill = assumed().billing(&[video("0")]).later();
    changes(&is(bill, Class::Assumed), &[(Unit::Video, "1.5", "0")]);
    is(assumed().soon(), Class::NotYet);
    is(assumed().later(), Class::MissingAtKling);
}

#[test]
fn credits_are_compared_by_their_bill() {
    let held = amount("35", Unit::Credit);
    let credits =
        |taken: &[Amount], bill: &[Amount]| Case::settled_as(held, Basis::Billed, taken, bill);
    let one = [video("1.5")];
    is(
        credits(&[held], &one).billing(&one).records(&one).later(),
        Class::Match,
    );
    is(credits(&[held], &one).soon(), Class::NotYet);
    is(credits(&[held], &one).later(), Class::MissingAtKling);
    // The bill differs; the credits do not change by it.
    let more = credits(&[held], &one).records(&[video("7")]).later();
    changes(&is(more, Class::Different), &[]);
    // Kling took nothing after all, or something after all.
    let none = credits(&[held], &one).records(&[video("0")]).later();
    changes(&is(none, Class::Different), &[(Unit::Credit, "35", "0")]);
    let some = credits(&[], &[]).records(&one).later();
    changes(&is(some, Class::Different), &[(Unit::Credit, "0", "35")]);
    let back = credits(&[held], &one).adjusted(Unit::Credit, "-35");
    is(back.records(&[video("0")]).later(), Class::Match);
    let assumed = || Case::settled(held, Basis::Assumed, &[held]);
    is(assumed().records(&one).later(), Class::Match);
    let wrong = assumed().records(&[video("0")]).later();
    changes(&is(wrong, Class::Assumed), &[(Unit::Credit, "35", "0")]);
    is(assumed().later(), Class::MissingAtKling);
}

#[test]
fn a_record_that_cannot_be_read_is_told() {
    let one = [video("1.5")];
    let mut case = billed(&one).billing(&one).records(&one);
    case.0.record(&record(1, None), true);
    is(case.later(), Class::Unreadable);
}

/// The repair of a torn batch takes an entry back: a hold that never was, a settlement that was
/// not committed.
#[test]
fn entries_that_a_repair_takes_back_count_for_nothing() {
    let mut books = DayBooks::new(day(), None);
    books.enter(&entry(1, EntryKind::Hold, video("1.5"), "0"));
    books.enter(&entry(1, EntryKind::Adjustment, video("-1.5"), "0"));
    assert!(books.is_empty());

    let one = [video("1.5")];
    let mut case = billed(&one);
    case.0
        .enter(&entry(1, EntryKind::Adjustment, video("1.5"), "-1.5"));
    assert_eq!(case.0.open(), [task(1)]);
    let mut again = entry(1, EntryKind::Settlement, video("-1.5"), "1.5");
    again.basis = Some(Basis::Billed);
    again.billed = one.to_vec();
    again.kling_task_id = Some(kling(1));
    case.0.enter(&again);
    is(case.billing(&one).records(&one).later(), Class::Match);
}
