//! From a request to the task that is to be: planned, priced, and not yet stored.

use jiff::{SignedDuration, Timestamp};

use super::Intake;
use super::refusals::unfit;
use super::reuse::check_reuse;
use crate::decide::pricing::{PlanOptions, Planned, check_not_before, plan, request_digest};
use crate::decide::reuse::reuse_key;
use crate::edge::nats::log::new_commit_id;
use crate::edge::nats::money::NewTask;
use crate::model::event::TaskEvent;
use crate::model::ids::{TaskId, Tenant};
use crate::model::problem::Problem;
use crate::model::request::TaskRequest;
use crate::model::task::{Newer, RelayState, Reuse, Status, Task};

impl Intake {
    pub(super) fn plan(&self, request: &TaskRequest, now: Timestamp) -> Result<Planned, Problem> {
        let screened = self.screen(request)?;
        self.plan_screened(request, &screened, now)
    }

    /// Plans what the prompt policy has let through.
    pub(super) fn plan_screened(
        &self,
        request: &TaskRequest,
        screened: &TaskRequest,
        now: Timestamp,
    ) -> Result<Planned, Problem> {
        check_reuse(request)?;
        let ready_at = self.ready_at(request, now)?;
        let planned = check_not_before(request.not_before, now).and_then(|()| {
            let on = self.day(ready_at).0;
            let options = PlanOptions {
                generations: self.rules.generations,
                on,
                default_purpose: self.rules.default_purpose,
            };
            let mut planned = plan(screened, &self.rules.book, &options)?;
            self.rules
                .screening
                .policy
                .safety
                .add_to(&mut planned.call)?;
            // Of the request as written: a changed policy must not turn a repeat into a conflict.
            planned.request_digest = request_digest(request);
            Ok(planned)
        });
        planned.map_err(unfit)
    }

    pub(super) fn new_task(
        &self,
        tenant: &Tenant,
        cause: Option<&str>,
        request: &TaskRequest,
        now: Timestamp,
    ) -> Result<NewTask, Problem> {
        let planned = self.plan(request, now)?;
        let task_id = match cause {
            Some(cause) => TaskId::with_key(tenant, cause),
            None => fresh_id(tenant, now),
        };
        let hold = planned.price;
        let mut relay = self.relay_state(&planned, request, now)?;
        relay.reuse.key = reuse_key(tenant, &planned.call);
        relay.reuse.asked = request.reuse;
        let task = Task {
            task_id,
            tenant: tenant.clone(),
            kling_task_id: None,
            product: request.product,
            model: planned.model,
            status: Status::Requested,
            labels: request.labels.clone(),
            occurred_at: now,
            retry_of: None,
            reused_from: None,
            mode: planned.mode,
            duration: planned.duration,
            audio: planned.audio,
            purpose: request.purpose,
            estimate: hold,
            error: None,
            billing: None,
            assets: Vec::new(),
            held: None,
            deduction: Vec::new(),
            overrun: Vec::new(),
            saved: None,
            relay,
            newer: Newer::new(),
        };
        let event = TaskEvent {
            task,
            call: Some(planned.call),
            outputs: Vec::new(),
        };
        Ok(NewTask {
            event,
            hold,
            commit_id: new_commit_id(),
            traceparent: self
                .trace
                .as_ref()
                .map(|trace| trace.traceparent(rand::random())),
        })
    }

    fn relay_state(
        &self,
        planned: &Planned,
        request: &TaskRequest,
        now: Timestamp,
    ) -> Result<RelayState, Problem> {
        let ready_at = self.ready_at(request, now)?;
        Ok(RelayState {
            requested_at: now,
            requested_seq: 0,
            expires_at: now + SignedDuration::try_from(self.rules.retention).unwrap_or_default(),
            day: self.day(ready_at),
            account_held: false,
            price_book: self.rules.book.name().to_owned(),
            request_digest: planned.request_digest.clone(),
            submitted_with: 1,
            reuse: Reuse::default(),
            generation: planned.generation,
            path: planned.call.path.clone(),
            slots: planned.slots.clone(),
            not_before: (ready_at > now).then_some(ready_at),
            off_peak: request.off_peak,
            attempts: 0,
            claim: None,
            may_exist: false,
            dispatching: 0,
            lookups: 0,
            changed_at: now,
            stalled: 0,
            stalled_at: None,
            rebuilt: false,
            retries: 0,
            submitted_at: None,
            outputs: 0,
            stored_at: None,
            settled_at: None,
            newer: Newer::new(),
        })
    }
}

fn fresh_id(tenant: &Tenant, now: Timestamp) -> TaskId {
    let ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    TaskId::from_bits(tenant, ulid::Ulid::from_parts(ms, rand::random()).into())
}
