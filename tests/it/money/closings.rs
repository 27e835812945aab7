//! Each way in which a task can end, and what its hold becomes: through the stage that closes it.

use kling_relay::edge::nats::log::Log;
use kling_relay::edge::nats::money::{Money, MoneyRules};
use kling_relay::model::amount::{Amount, Unit};
use kling_relay::model::event::{EventKind, NewEvent};
use kling_relay::model::ids::TaskId;
use kling_relay::model::ledger::{Basis, EntryKind, LedgerEntry};
use kling_relay::model::task::{Status, Task, TaskError};
use kling_relay::stage::accountant::Accountant;
use kling_relay::stage::runner::{Handler, Message, Outcome};
use rust_decimal::Decimal;

use super::{DEADLINE, balance, decimals, figures, start};
use crate::broker::{Node, config, open};
use crate::kit::{audit, everything, fresh_task_id, key, limits, new_task, video};

/// What every task of these tests holds.
const HELD: i64 = 3;

/// How a task ends, and what its ledger says then: kind, basis, what is taken and what of it was
/// not held, and why.
struct Case {
    name: &'static str,
    status: Status,
    bill: Option<Vec<Amount>>,
    error: Option<&'static str>,
    kind: EntryKind,
    basis: Basis,
    taken: Vec<Amount>,
    over: Vec<Amount>,
}

fn amount(hundredths: i64, unit: Unit) -> Amount {
    Amount::new(Decimal::new(hundredths, 2).normalize(), unit)
}

fn success(name: &'static str, bill: &[Amount], taken: &[Amount], over: &[Amount]) -> Case {
    Case {
        name,
        status: Status::Succeeded,
        bill: Some(bill.to_vec()),
        error: None,
        kind: EntryKind::Settlement,
        basis: Basis::Billed,
        taken: taken.to_vec(),
        over: over.to_vec(),
    }
}

fn failure(name: &'static str, error: &'static str, bill: Option<Vec<Amount>>) -> Case {
    Case {
        name,
        status: Status::Failed,
        basis: if bill.is_some() {
            Basis::Billed
        } else {
            Basis::Assumed
        },
        bill,
        error: Some(error),
        kind: EntryKind::Void,
        taken: vec![video(0)],
        over: vec![],
    }
}

fn cases() -> Vec<Case> {
    let (usd, cny) = (amount(50, Unit::Usd), amount(700, Unit::Cny));
    let paid_failure = Case {
        kind: EntryKind::Settlement,
        taken: vec![video(1)],
        ..failure(
            "a failure that Kling charges",
            "generation-failed",
            Some(vec![video(1)]),
        )
    };
    let unsaid = Case {
        bill: None,
        basis: Basis::Assumed,
        ..success("a success without a bill", &[], &[video(HELD)], &[])
    };
    vec![
        success("as held", &[video(3)], &[video(3)], &[]),
        success("below the hold", &[video(2)], &[video(2)], &[]),
        success("above the hold", &[video(5)], &[video(5)], &[video(2)]),
        success(
            "in several lines",
            &[video(1), amount(150, Unit::Video)],
            &[amount(250, Unit::Video)],
            &[],
        ),
        success("pack and cash", &[video(2), usd], &[video(2), usd], &[usd]),
        success("cash alone", &[cny], &[video(0), cny], &[cny]),
        success(
            "two packs",
            &[amount(100, Unit::Image), video(4)],
            &[video(4), amount(100, Unit::Image)],
            &[video(1), amount(100, Unit::Image)],
        ),
        unsaid,
        Case {
            kind: EntryKind::Void,
            ..success("for nothing", &[video(0)], &[video(0)], &[])
        },
        failure(
            "a failure that says nothing of money",
            "generation-failed",
            None,
        ),
        failure(
            "a failure that cost nothing",
            "moderation",
            Some(vec![video(0)]),
        ),
        failure(
            "refused by Kling before it was made",
            "invalid-request",
            None,
        ),
        failure("cancelled before it was sent", "cancelled", None),
        paid_failure,
    ]
}

/// Ends a task and hands the event to the stage, twice: the second time changes nothing.
async fn close(log: &Log, money: &Money, id: &TaskId, case: &Case) {
    let on = log.load(id).await.unwrap().unwrap();
    let mut task: Task = on.task.clone();
    task.status = case.status;
    task.billing.clone_from(&case.bill);
    task.error = case.error.map(|code| TaskError {
        code: code.to_owned(),
        message: "words".to_owned(),
        retryable: false,
    });
    let kind = match case.status {
        Status::Succeeded => EventKind::Succeeded,
        _ => EventKind::Failed,
    };
    log.commit(&on, NewEvent::plain(kind, 1, task))
        .await
        .unwrap();
    let recorded = log.last(id, kind).await.unwrap().unwrap();
    let message = Message {
        recorded,
        delivered: 1,
        attempt: 1,
    };
    let accountant = Accountant::new(log.clone(), money.clone());
    for _ in 0..2 {
        assert_eq!(
            accountant.handle(&message).await,
            Outcome::Done,
            "{}",
            case.name
        );
    }
}

async fn closing_entries(log: &Log, id: &TaskId) -> Vec<LedgerEntry> {
    let messages = everything(log).await;
    let entries = messages
        .iter()
        .filter_map(|message| message.ledger_entry().ok());
    let of_task = entries.filter(|entry| entry.task_id.as_ref() == Some(id));
    of_task
        .filter(|entry| entry.kind != EntryKind::Hold)
        .collect()
}

#[tokio::test]
async fn each_end_of_a_task_closes_its_hold_by_its_own_rule() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, MoneyRules::new(limits(1_000))).await;
    for case in cases() {
        let id = fresh_task_id();
        let new = vec![new_task(&id, video(HELD))];
        money.accept(new, DEADLINE).await.unwrap();
        close(&log, &money, &id, &case).await;
        let entries = closing_entries(&log, &id).await;
        let name = case.name;
        assert_eq!(entries.len(), case.taken.len(), "{name}: {entries:#?}");
        for (entry, taken) in entries.iter().zip(&case.taken) {
            let first = entry.unit == Some(Unit::Video);
            let held = if first {
                Decimal::from(-HELD)
            } else {
                Decimal::ZERO
            };
            assert_eq!(
                (entry.kind, entry.basis),
                (case.kind, Some(case.basis)),
                "{name}"
            );
            assert_eq!(entry.held_change, held, "{name}");
            assert_eq!(entry.unit, Some(taken.unit), "{name}");
            assert_eq!(entry.deducted_change, taken.amount, "{name}");
            assert_eq!(entry.outcome.as_deref(), Some(case.status.as_str()));
        }
        let over: Vec<Amount> = entries
            .iter()
            .flat_map(|entry| entry.overrun.clone())
            .collect();
        assert_eq!(over, case.over, "{name}");
        let billed = case.bill.clone().unwrap_or_default();
        assert_eq!(entries[0].billed, billed, "{name}: Kling's own lines");
        let why = case.error.filter(|_| case.kind == EntryKind::Void);
        assert_eq!(entries[0].reason.as_deref(), why, "{name}");
        assert_eq!(balance(&money, &key()).await.held, Decimal::ZERO, "{name}");
    }
    audit(&everything(&log).await);
}

/// A retry is a task of its own: the first hold is given back, the second is charged.
#[tokio::test]
async fn a_retry_holds_and_pays_for_itself() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, MoneyRules::new(limits(4))).await;
    let cases = cases();
    let case = |name: &str| cases.iter().find(|case| case.name == name).unwrap();
    let first = fresh_task_id();
    let task = vec![new_task(&first, video(HELD))];
    money.accept(task, DEADLINE).await.unwrap();
    close(
        &log,
        &money,
        &first,
        case("a failure that says nothing of money"),
    )
    .await;
    let again = TaskId::derived(&first.tenant(), "retry", &format!("{first}.1"));
    let mut retry = new_task(&again, video(HELD));
    retry.event.task.retry_of = Some(first);
    money.accept(vec![retry], DEADLINE).await.unwrap();
    close(&log, &money, &again, case("above the hold")).await;
    let found = figures(&balance(&money, &key()).await);
    assert_eq!(
        found,
        decimals(0, 5),
        "above the limit, since Kling took it"
    );
    audit(&everything(&log).await);
}

/// A hold is never closed by the clock: what ends after its task has left the log needs a person.
#[tokio::test]
async fn an_end_of_a_task_that_is_gone_is_set_aside() {
    let node = Node::start();
    let (_broker, log) = open(&node.endpoint(), &config(1)).await;
    let money = start(&log, MoneyRules::new(limits(10))).await;
    let id = fresh_task_id();
    money
        .accept(vec![new_task(&id, video(1))], DEADLINE)
        .await
        .unwrap();
    let mut message = Message {
        recorded: log.last(&id, EventKind::Requested).await.unwrap().unwrap(),
        delivered: 1,
        attempt: 1,
    };
    let accountant = Accountant::new(log.clone(), money.clone());
    let early = accountant.handle(&message).await;
    assert!(matches!(early, Outcome::Retry(_)), "not ended: {early:?}");
    let gone = fresh_task_id();
    message.recorded.subject = message.recorded.subject.replace(id.as_str(), gone.as_str());
    let late = accountant.handle(&message).await;
    assert!(
        matches!(&late, Outcome::SetAside(why) if why.contains("hold open")),
        "{late:?}"
    );
    assert_eq!(figures(&balance(&money, &key()).await), decimals(1, 0));
}
