//! One try to create one task: claim, look up if an earlier try may have reached Kling, call,
//! record.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Dispatcher, lock};
use crate::decide::circuit::Scope;
use crate::decide::dispatch::{self, Expired};
use crate::decide::off_peak::ready_at;
use crate::decide::retry::{
    self, AfterLookUp, Backoff, Cause, CreateVerdict, When, after_lookup, classify_create,
};
use crate::edge::kling::client::{Answer, QueryReason};
use crate::edge::nats::log::{Committed, Loaded, LogError};
use crate::model::event::NewEvent;
use crate::model::ids::{KlingTaskId, TaskId};
use crate::model::observation::Observation;
use crate::model::task::{Task, TaskError};
use crate::stage::look_up::look_up;
use crate::telemetry;

/// Tries of a commit that the broker does not answer, before the claim is left to run out.
const COMMIT_TRIES: u32 = 10;

/// What a try found out.
#[derive(Clone)]
pub(super) enum Found {
    Created(KlingTaskId),
    Refused(TaskError),
    /// Again later; whether Kling may have it, and how many look-ups since the last create.
    Later {
        may_exist: bool,
        lookups: u32,
        wait: Duration,
    },
    /// Nothing can be said; the claim runs out, and whoever takes over looks first.
    Nothing,
}

impl Dispatcher {
    /// Tries one task; returns the sequence of the last event that it committed.
    pub(super) async fn attempt(&self, task_id: &TaskId) -> Option<u64> {
        let (claimed, sent_before) = match self.claim(task_id).await {
            Ok(Some(claimed)) => claimed,
            Ok(None) => return None,
            Err(error) => {
                tracing::warn!(task.id = %task_id, error = %telemetry::chain(&error),
                    "could not be claimed");
                return None;
            }
        };
        let found = self.find_out(&claimed, sent_before).await;
        self.record(claimed, found).await
    }

    /// Takes the task, if it is still there to take. Tells whether a create was sent before.
    async fn claim(&self, task_id: &TaskId) -> Result<Option<(Loaded, bool)>, LogError> {
        let Some(loaded) = self.log.load(task_id).await? else {
            return Ok(None);
        };
        let now = self.clock.now();
        if !dispatch::may_take(&loaded.task, now) || self.must_wait(&loaded.task, now) {
            return Ok(None);
        }
        let sent_before = loaded.task.relay.may_exist;
        let claim_id = uuid::Uuid::new_v4().to_string();
        let lease = self.shared.rules.claim_lease;
        let event = dispatch::claimed(&loaded.task, claim_id, lease, now);
        let seq = match self.log.commit(&loaded, event).await? {
            Committed::Stored { seq } => seq,
            Committed::MovedOn => return Ok(None),
        };
        // What follows is committed on the claim itself, so a lost claim cannot write. A callback
        // may have moved the task since: then there is nothing left to dispatch.
        let claimed = self.log.load(task_id).await?;
        Ok(claimed
            .filter(|claimed| claimed.seq == seq)
            .map(|claimed| (claimed, sent_before)))
    }

    /// Tells whether it waits for the off-peak window. The view has said no, a moment ago.
    fn must_wait(&self, task: &Task, now: Timestamp) -> bool {
        let (relay, window) = (&task.relay, self.shared.off_peak.as_ref());
        let ready_at = ready_at(window, relay.off_peak, relay.may_exist, None, now);
        ready_at.is_some_and(|at| at > now)
    }

    async fn find_out(&self, claimed: &Loaded, sent_before: bool) -> Found {
        if let Some(found) = self.gives_way(claimed, sent_before).await {
            return found;
        }
        let task = &claimed.task;
        if sent_before {
            let when = if task.relay.lookups == 0 {
                When::AtOnce
            } else {
                When::Later
            };
            match self
                .looked_up(task, true, &Cause::OutcomeUnknown, when)
                .await
            {
                Some(found) => return found,
                None => tracing::info!(task.id = %task.task_id,
                    "Kling does not have it; creating it again under the same id"),
            }
        }
        self.create(task, sent_before).await
    }

    async fn create(&self, task: &Task, sent_before: bool) -> Found {
        let call = match self.log.requested(&task.task_id).await {
            Ok(Some((event, _))) => event.call,
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(task.id = %task.task_id, error = %telemetry::chain(&error),
                    "its request cannot be read");
                return self.later(task, sent_before, None);
            }
        };
        let Some(call) = call else {
            return self.without_its_request(task, sent_before);
        };
        // A claim that is about to run out must not be used: somebody else may call at the same
        // time.
        let lease_left = task
            .relay
            .claim
            .as_ref()
            .map_or(SignedDuration::ZERO, |claim| {
                claim.until.duration_since(self.clock.now())
            });
        if lease_left.unsigned_abs() < self.shared.request_timeout || lease_left.is_negative() {
            return self.later(task, sent_before, None);
        }
        let callback_url = self
            .shared
            .keys
            .mint(&self.shared.public_url, &task.task_id);
        let failure = match self.kling.create(&call, &task.task_id, &callback_url).await {
            Ok(created) => {
                lock(&self.shared.circuit).accepted(&task.relay.slots.pool);
                return Found::Created(created.kling_task_id);
            }
            Err(failure) => failure,
        };
        match classify_create(&failure, sent_before) {
            CreateVerdict::Refused(error) => Found::Refused(error),
            CreateVerdict::NotCreated { retry_after, class } => {
                tracing::info!(task.id = %task.task_id, ?class, "not created; trying again later");
                self.pause(task, retry_after);
                // What came before is not disproved by a refusal now.
                self.later(task, sent_before, retry_after)
            }
            CreateVerdict::AccountStop(error) => {
                self.stop(task, sent_before, Scope::Account, &error)
            }
            CreateVerdict::PackEmpty(error) => {
                let pack = task.relay.slots.pool.rsplit('/').next().unwrap_or_default();
                self.stop(task, sent_before, Scope::Pack(pack.to_owned()), &error)
            }
            CreateVerdict::DuplicateId(error) => self.duplicate(task, sent_before, error).await,
            CreateVerdict::MayExist => {
                tracing::warn!(task.id = %task.task_id, failure = %failure,
                    "Kling may have created it; looking it up");
                let cause = Cause::OutcomeUnknown;
                let found = self.looked_up(task, true, &cause, When::AtOnce).await;
                found.unwrap_or(Found::Nothing)
            }
        }
    }

    /// The request, which alone says what to create, has outlived `retention.tasks`. Kling was not
    /// called, or has been asked for the task a moment ago and does not show it.
    fn without_its_request(&self, task: &Task, sent_before: bool) -> Found {
        match dispatch::request_expired(task, sent_before, self.shared.rules.lookup_delay) {
            Expired::Fails(error) => {
                tracing::error!(task.id = %task.task_id,
                    "its request has expired before it could be dispatched; it fails unspent");
                Found::Refused(error)
            }
            Expired::LooksAgain { lookups, wait } => {
                tracing::error!(task.id = %task.task_id,
                    "its request has expired and an earlier create may have reached Kling; its \
                     money stays held, and Kling is asked again");
                Found::Later {
                    may_exist: true,
                    lookups,
                    wait,
                }
            }
        }
    }

    /// Kling says that the id is taken: by an earlier create of ours, or by an earlier use of a
    /// key.
    async fn duplicate(&self, task: &Task, sent_before: bool, error: TaskError) -> Found {
        let cause = Cause::DuplicateId(error);
        for when in [When::AtOnce, When::Later] {
            match self.looked_up(task, sent_before, &cause, when).await {
                Some(Found::Later { .. }) if when == When::AtOnce => {
                    self.clock.sleep(self.shared.rules.lookup_delay).await;
                }
                Some(found) => return found,
                None => {}
            }
        }
        Found::Nothing
    }

    /// Asks Kling for the task by our id; `None` means that it may be created.
    async fn looked_up(
        &self,
        task: &Task,
        sent_before: bool,
        cause: &Cause,
        when: When,
    ) -> Option<Found> {
        let look_up = look_up(task, &self.kling);
        let answers = self
            .kling
            .query(std::slice::from_ref(&look_up), QueryReason::LookUp)
            .await;
        let seen: Option<Observation> = match answers {
            Ok(mut answers) => match answers.pop() {
                Some(Answer::Seen(sight)) => Some(sight.observation),
                Some(Answer::NotThere) => None,
                Some(Answer::Unreadable(_)) | None => {
                    return Some(self.later(task, true, None));
                }
            },
            Err(failure) => {
                tracing::warn!(task.id = %task.task_id, failure = %failure,
                    "Kling could not be asked whether it exists");
                return Some(self.later(task, true, None));
            }
        };
        match (
            after_lookup(task, sent_before, cause, when, seen.as_ref()),
            seen,
        ) {
            (AfterLookUp::Adopt, Some(seen)) => Some(Found::Created(seen.kling_task_id)),
            (AfterLookUp::Fail(error), _) => Some(Found::Refused(error)),
            (AfterLookUp::Recreate, _) => None,
            (AfterLookUp::LookAgain | AfterLookUp::Adopt, _) => {
                let base = self.shared.rules.lookup_delay;
                let lookups = task.relay.lookups + 1;
                let wait =
                    retry::backoff(lookups, base, base.max(self.shared.rules.backoff_cap), 0.0);
                Some(Found::Later {
                    may_exist: true,
                    lookups,
                    wait,
                })
            }
        }
    }

    pub(super) fn later(
        &self,
        task: &Task,
        may_exist: bool,
        retry_after: Option<Duration>,
    ) -> Found {
        let backoff = Backoff {
            base: self.shared.rules.backoff_base,
            cap: self.shared.rules.backoff_cap,
            attempts_max: u32::MAX,
        };
        let wait = retry::wait(task.relay.attempts, retry_after, backoff, rand::random());
        Found::Later {
            may_exist,
            lookups: task.relay.lookups,
            wait,
        }
    }

    /// Rests what would be refused like this task: else each of a long backlog would be tried, and
    /// written down, in turn.
    fn pause(&self, task: &Task, retry_after: Option<Duration>) {
        let scope = Scope::Pool(task.relay.slots.pool.clone());
        let wait = retry_after.unwrap_or_default().clamp(
            self.shared.rules.backoff_base,
            self.shared.rules.backoff_cap,
        );
        let stays = SignedDuration::try_from(wait).unwrap_or_default();
        lock(&self.shared.circuit).refused(scope, self.clock.now(), stays);
    }

    /// Closes the way to Kling for a while, and tells a person once.
    fn stop(&self, task: &Task, sent_before: bool, scope: Scope, error: &TaskError) -> Found {
        let wait = self.shared.rules.circuit_open;
        let stays = SignedDuration::try_from(wait).unwrap_or_default();
        let now = self.clock.now();
        let news = lock(&self.shared.circuit).refused(scope.clone(), now, stays);
        if news {
            tracing::error!(task.id = %task.task_id, ?scope, code = error.code,
                message = error.message,
                "Kling refuses the account: dispatch stops, then tries with one task");
        }
        Found::Later {
            may_exist: sent_before,
            lookups: task.relay.lookups,
            wait,
        }
    }

    /// Commits what was found out. A callback may have been faster: then there is nothing to add.
    async fn record(&self, mut claimed: Loaded, found: Found) -> Option<u64> {
        let task_id = claimed.task.task_id.clone();
        let now = self.clock.now();
        for attempt in 1..=COMMIT_TRIES {
            let Some(event) = event_of(&claimed.task, found.clone(), now) else {
                return Some(claimed.seq);
            };
            match self.log.commit(&claimed, event.clone()).await {
                Ok(Committed::Stored { seq }) => {
                    announce(&event, now);
                    return Some(seq);
                }
                Ok(Committed::MovedOn) => match self.log.load(&task_id).await {
                    // A report has come between, and the claim is still ours.
                    Ok(Some(moved)) if same_claim(&claimed.task, &moved.task) => claimed = moved,
                    // Not ours any more: a callback has moved it, or somebody has taken over.
                    Ok(Some(moved)) => return Some(moved.seq),
                    Ok(None) => return None,
                    Err(error) => tracing::debug!(error = %telemetry::chain(&error), "load"),
                },
                Err(error) => {
                    tracing::warn!(task.id = %task_id, error = %telemetry::chain(&error),
                        "what became of it at Kling cannot be recorded yet");
                    let (base, cap) = (Duration::from_millis(200), Duration::from_secs(5));
                    self.clock
                        .sleep(retry::backoff(attempt, base, cap, rand::random()))
                        .await;
                }
            }
        }
        None
    }
}

fn event_of(task: &Task, found: Found, now: Timestamp) -> Option<NewEvent> {
    match found {
        Found::Created(kling_task_id) => Some(dispatch::submitted(task, kling_task_id, now)),
        Found::Refused(error) => Some(dispatch::refused(task, error, now)),
        Found::Later {
            may_exist,
            lookups,
            wait,
        } => Some(dispatch::given_back(task, may_exist, lookups, wait, now)),
        Found::Nothing => None,
    }
}

fn same_claim(ours: &Task, now: &Task) -> bool {
    let id = |task: &Task| task.relay.claim.as_ref().map(|claim| claim.id.clone());
    id(ours).is_some() && id(ours) == id(now)
}

pub(super) fn announce(event: &NewEvent, now: Timestamp) {
    let task = &event.body.task;
    let waited = now.duration_since(task.relay.requested_at);
    tracing::info!(task.id = %task.task_id, tenant.id = %task.tenant,
        kling.task_id = task.kling_task_id.as_ref().map(tracing::field::display),
        event = event.kind.as_str(), attempt = task.relay.attempts,
        reused_from = task.reused_from.as_ref().map(tracing::field::display),
        error = task.error.as_ref().map(|error| error.code.as_str()),
        since_request_ms = waited.as_millis(), "dispatch");
    if task.status.is_terminal() {
        let (status, model) = (task.status.as_str(), task.model.clone());
        metrics::counter!(telemetry::TASKS_ENDED, "status" => status, "model" => model)
            .increment(1);
    }
}
