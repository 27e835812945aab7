//! Histories begun anew, for tasks that Kling lists and the log has lost.
//!
//! They begin like any other, with a hold and `requested` in one commit; what Kling says of them
//! takes the callbacks' own way. Without a request they can never be created again.

use futures::future::join_all;
use jiff::SignedDuration;
use rust_decimal::Decimal;

use super::adjust::AMOUNT_MAX;
use super::budget::signed;
use super::refusals::unavailable;
use super::{Intake, announce};
use crate::decide::products::ProductRow;
use crate::edge::nats::log::new_commit_id;
use crate::edge::nats::money::{AcceptError, NewTask};
use crate::model::amount::sum_by_unit;
use crate::model::answer::Rebuilt;
use crate::model::event::TaskEvent;
use crate::model::operator::{LostTask, Rebuild};
use crate::model::problem::{Problem, ProblemCode};
use crate::model::task::{Generation, Newer, RelayState, Reuse, Slots, Status, Task};

/// Tasks of one call.
const TASKS_MAX: usize = 200;
/// Deduction records of one task.
const RECORDS_MAX: usize = 1_000;
/// What is not known of a lost task any more.
const UNKNOWN: &str = "unknown";

impl Intake {
    /// Begins lost histories anew: of the tenants that the configuration knows, or of the one
    /// named, since other deployments may share the account. The day's limit does not count: Kling
    /// has them already.
    ///
    /// # Errors
    /// `invalid-request` with the field; `unavailable` when the outcome is unknown: the same again
    /// is harmless.
    pub async fn rebuild(&self, wish: Rebuild) -> Result<Rebuilt, Problem> {
        if !wish.dry_run {
            signed(&wish.who, &wish.reason)?;
        }
        let count = wish.tasks.len();
        if !(1..=TASKS_MAX).contains(&count) {
            let detail = format!("expected 1 to {TASKS_MAX} tasks, not {count}");
            return Err(Problem::new(ProblemCode::InvalidRequest, detail).field("tasks"));
        }
        for lost in &wish.tasks {
            if !is_possible(lost) {
                let task_id = &lost.task_id;
                let detail = format!("task {task_id} has money below 0 or beyond any task's");
                return Err(Problem::new(ProblemCode::InvalidRequest, detail).field("tasks"));
            }
        }
        let is_ours = |lost: &&LostTask| {
            let tenant = lost.task_id.tenant();
            self.rules.tenants.contains(&tenant) || wish.tenant.as_ref() == Some(&tenant)
        };
        let (ours, others): (Vec<_>, Vec<_>) = wish.tasks.iter().partition(is_ours);
        let mut rebuilt = Rebuilt {
            other_tenants: others.iter().map(|lost| lost.task_id.tenant()).collect(),
            ..Rebuilt::default()
        };
        if wish.dry_run {
            return Ok(rebuilt);
        }
        let all = ours.into_iter().map(|lost| self.begin(lost));
        for result in join_all(all).await {
            match result? {
                true => rebuilt.begun += 1,
                false => rebuilt.known += 1,
            }
        }
        tracing::info!(
            begun = rebuilt.begun,
            known = rebuilt.known,
            who = wish.who,
            "lost histories were begun anew"
        );
        Ok(rebuilt)
    }

    /// Returns whether there was no history.
    async fn begin(&self, lost: &LostTask) -> Result<bool, Problem> {
        let new = self.lost(lost);
        let task = new.event.task.clone();
        let timeout = self.rules.accept_timeout;
        match self.money.accept(vec![new], timeout).await {
            Ok(_) => {
                announce(&task);
                Ok(true)
            }
            Err(AcceptError::Exists(_)) => Ok(false),
            Err(_) => Err(unavailable()),
        }
    }

    fn lost(&self, lost: &LostTask) -> NewTask {
        let (now, relay) = (self.clock.now(), self.lost_relay(lost));
        let task = Task {
            task_id: lost.task_id.clone(),
            tenant: lost.task_id.tenant(),
            // What Kling says next must be of this one.
            kling_task_id: Some(lost.kling_task_id.clone()),
            product: lost.product,
            model: UNKNOWN.to_owned(),
            status: Status::Requested,
            labels: Default::default(),
            occurred_at: now,
            retry_of: None,
            reused_from: None,
            saved: None,
            mode: None,
            duration: None,
            audio: false,
            purpose: None,
            estimate: lost.hold,
            error: None,
            billing: Some(lost.recorded.clone()).filter(|recorded| !recorded.is_empty()),
            assets: Vec::new(),
            held: None,
            deduction: Vec::new(),
            overrun: Vec::new(),
            relay,
            newer: Newer::new(),
        };
        NewTask {
            event: TaskEvent {
                task,
                call: None,
                outputs: Vec::new(),
            },
            hold: lost.hold,
            commit_id: new_commit_id(),
            traceparent: None,
        }
    }

    fn lost_relay(&self, lost: &LostTask) -> RelayState {
        let (now, created_at) = (self.clock.now(), lost.created_at);
        let keep = SignedDuration::try_from(self.rules.retention).unwrap_or_default();
        let pack = ProductRow::of(lost.product).pack;
        RelayState {
            requested_at: created_at,
            requested_seq: 0,
            expires_at: now.saturating_add(keep).unwrap_or(now),
            day: self.day(created_at),
            account_held: false,
            price_book: self.rules.book.name().to_owned(),
            request_digest: String::new(),
            submitted_with: 0,
            generation: match lost.path.is_empty() {
                true => Generation::New,
                false => Generation::Legacy,
            },
            path: lost.path.clone(),
            slots: Slots {
                pool: format!("{UNKNOWN}/{}", pack.as_str()),
                count: 1,
            },
            reuse: Reuse::default(),
            not_before: None,
            off_peak: false,
            attempts: 0,
            claim: None,
            may_exist: true,
            dispatching: 0,
            lookups: 0,
            changed_at: created_at,
            stalled: 0,
            stalled_at: None,
            rebuilt: true,
            retries: 0,
            submitted_at: Some(created_at),
            outputs: 0,
            stored_at: None,
            settled_at: None,
            newer: Newer::new(),
        }
    }
}

/// Tells whether a task can have cost that. A record may be a refund, the sum of them not.
fn is_possible(lost: &LostTask) -> bool {
    let possible = Decimal::ZERO..=AMOUNT_MAX;
    let mut records = lost.recorded.iter();
    possible.contains(&lost.hold.amount)
        && lost.recorded.len() <= RECORDS_MAX
        && records.all(|record| record.amount.abs() <= AMOUNT_MAX)
        && sum_by_unit(lost.recorded.iter().copied())
            .iter()
            .all(|sum| possible.contains(&sum.amount))
}
