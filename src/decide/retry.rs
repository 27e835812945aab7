//! A failed call: try again, look first, give up, or stop calling at all.
//!
//! The dangerous failure is a create whose outcome is unknown: the task may exist and will be
//! billed. It is looked up by our id before anything is sent again, and then with the same id. A
//! create that certainly made nothing is simply tried later. There is no last attempt for either:
//! the money stays held until there is evidence, and the waits bound the rate.

use std::time::Duration;

use jiff::SignedDuration;

use crate::model::observation::Observation;
use crate::model::reply::{CallFailure, Reply};
use crate::model::task::{Task, TaskError};

/// Longest wait that an answer may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// Look-ups in vain, with growing waits, before a refusal after an earlier create is believed.
const LOOKUPS_MIN: u32 = 4;

/// Found tasks that Kling created this much before our request are not ours: the id was used
/// before.
///
/// An earlier use is as old as `retention.tasks` at least, 31 days. A clock of ours that is ahead
/// by hours makes our own tasks look early: calling one of them foreign would void what is billed.
const CREATED_BEFORE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Waits that grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub base: Duration,
    /// The longest wait, before jitter.
    pub cap: Duration,
    /// Tries of one thing, the first included.
    pub attempts_max: u32,
}

/// Returns the wait after an attempt (from 1): base, doubled each time up to the cap, plus up to
/// half of itself by `jitter` (0 to 1), so that those who failed together do not come back
/// together.
///
/// Source: platform reference 10, rate-limits.
#[must_use]
pub fn backoff(attempt: u32, base: Duration, cap: Duration, jitter: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    let wait = base.saturating_mul(1 << doublings).min(cap);
    let jitter = if jitter.is_finite() {
        jitter.clamp(0.0, 1.0)
    } else {
        0.0
    };
    wait.saturating_add(wait.mul_f64(jitter / 2.0))
}

/// Returns the wait before a create is tried again: a growing one, or what Kling asked for if
/// longer.
#[must_use]
pub fn wait(
    attempt: u32,
    retry_after: Option<Duration>,
    backoff_of: Backoff,
    jitter: f64,
) -> Duration {
    let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    backoff(attempt, backoff_of.base, backoff_of.cap, jitter).max(asked)
}

/// Decides whether a failed query is tried again, and after which wait. `attempt` counts from 1.
#[must_use]
pub fn after_read(
    failure: &CallFailure,
    attempt: u32,
    backoff_of: Backoff,
    jitter: f64,
) -> Option<Duration> {
    let (again, retry_after) = match failure {
        CallFailure::NotSent(_) | CallFailure::OutcomeUnknown(_) => (true, None),
        CallFailure::Impossible(_) => (false, None),
        CallFailure::Answered(reply) => {
            let again = match class(reply) {
                Class::Passing(_) | Class::Ambiguous => true,
                Class::Final | Class::Invalid | Class::Account | Class::Pack => false,
            };
            (again, reply.retry_after)
        }
    };
    let again = again && attempt < backoff_of.attempts_max;
    again.then(|| wait(attempt, retry_after, backoff_of, jitter))
}

/// What a task waits for before it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitClass {
    /// A free slot of its model and pack (1303).
    Slot,
    /// A slower rate of calls (1302).
    Rate,
    /// A way to Kling: nothing was sent.
    Reach,
}

/// What a failed create means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateVerdict {
    /// Kling will never make this: the task fails and its hold is voided.
    Refused(TaskError),
    /// Kling made nothing; the same again later is sane.
    NotCreated {
        /// What it waits for.
        class: WaitClass,
        /// What Kling asked for.
        retry_after: Option<Duration>,
    },
    /// Kling made nothing and will make nothing for this account: stop every create, tell a person.
    AccountStop(TaskError),
    /// Kling made nothing: the packs of this type are used up. Stop creates that need one, tell a
    /// person.
    PackEmpty(TaskError),
    /// Kling knows a task by our id already: look it up. The error is what to say if it is not
    /// found.
    DuplicateId(TaskError),
    /// Kling may have made it: look it up before anything is sent again.
    MayExist,
}

/// Decides what a failed create means. `sent_before` tells whether an earlier create of the same
/// task may have reached Kling; then every 1201 is looked into, since its words are no contract.
///
/// Source: platform reference 4.
#[must_use]
pub fn classify_create(failure: &CallFailure, sent_before: bool) -> CreateVerdict {
    let reply = match failure {
        CallFailure::NotSent(_) => {
            let class = WaitClass::Reach;
            return CreateVerdict::NotCreated {
                class,
                retry_after: None,
            };
        }
        CallFailure::OutcomeUnknown(_) => return CreateVerdict::MayExist,
        CallFailure::Impossible(words) => {
            return CreateVerdict::Refused(TaskError {
                code: "invalid-request".to_owned(),
                message: words.clone(),
                retryable: false,
            });
        }
        CallFailure::Answered(reply) => reply,
    };
    match class(reply) {
        Class::Passing(class) => {
            let retry_after = reply.retry_after;
            CreateVerdict::NotCreated { class, retry_after }
        }
        Class::Ambiguous => CreateVerdict::MayExist,
        Class::Account => CreateVerdict::AccountStop(error(reply, true)),
        Class::Pack => CreateVerdict::PackEmpty(error(reply, true)),
        Class::Invalid if sent_before || may_say_duplicate(&reply.message) => {
            CreateVerdict::DuplicateId(error(reply, false))
        }
        // What came before is not disproved by a refusal now: that create may run and be billed.
        Class::Final if sent_before => CreateVerdict::DuplicateId(error(reply, false)),
        Class::Final | Class::Invalid => CreateVerdict::Refused(error(reply, false)),
    }
}

enum Class {
    /// Nothing happened, and it passes.
    Passing(WaitClass),
    /// Something may have happened.
    Ambiguous,
    /// Nothing happened, and this request never will.
    Final,
    /// 1201: final, or the id is taken.
    Invalid,
    /// Nothing happens for this account.
    Account,
    /// Nothing happens on this type of pack.
    Pack,
}

/// The error table. The code decides, whatever HTTP status it came with: 429 in particular is as
/// often an empty account as a rate limit.
///
/// Source: platform reference 4.
fn class(reply: &Reply) -> Class {
    match (reply.code, reply.http) {
        // Credential, arrears, a closed account or our address: no request will do better. The
        // client has signed a refused token again before it says so.
        (Some(1000..=1004 | 1100 | 1101 | 1304), _) => Class::Account,
        (Some(1102), _) => Class::Pack,
        (Some(1302), _) => Class::Passing(WaitClass::Rate),
        (Some(1303), _) => Class::Passing(WaitClass::Slot),
        (Some(1201), _) => Class::Invalid,
        (Some(1103 | 1200 | 1202 | 1203 | 1300 | 1301), _) => Class::Final,
        (Some(5000..=5002), _) => Class::Ambiguous,
        (_, 429) => Class::Passing(WaitClass::Rate),
        // A gateway gave up waiting for the request, or for Kling.
        (_, 408 | 500..) => Class::Ambiguous,
        // No code: something before Kling's own API refuses the credential.
        (None, 401 | 403 | 407) => Class::Account,
        (_, 300..=499) => Class::Final,
        // Success with a code that nobody knows, or with nothing readable.
        (_, _) => Class::Ambiguous,
    }
}

fn error(reply: &Reply, retryable: bool) -> TaskError {
    let code = match reply.code {
        Some(code) => format!("kling-{code}"),
        None => format!("kling-http-{}", reply.http),
    };
    let message = if reply.message.is_empty() {
        format!("Kling answered {reply}")
    } else {
        reply.message.clone()
    };
    TaskError {
        code,
        message,
        retryable,
    }
}

/// Missing the words would fail a task that runs and is billed, so they are matched loosely; a
/// false match costs one look-up.
fn may_say_duplicate(message: &str) -> bool {
    let message = message.to_lowercase();
    [
        "external",
        "already",
        "duplicate",
        "repeated",
        "已存在",
        "重复",
    ]
    .iter()
    .any(|word| message.contains(word))
}

/// Why a task is looked up by our id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A create whose outcome is unknown, or a claim that ran out.
    OutcomeUnknown,
    /// A create was refused because the id is taken, in these words.
    DuplicateId(TaskError),
}

/// When a look-up was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once after the create: Kling may not show the task yet.
    AtOnce,
    /// After `dispatcher.lookup_delay`, or after the lease of whoever sent the create.
    Later,
}

/// What to do after a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterLookUp {
    /// It is ours: go on with what was found (`decide::progress`).
    Adopt,
    /// Kling has no such task: create it with the same id.
    Recreate,
    /// Too early to say: look again after `dispatcher.lookup_delay`.
    LookAgain,
    /// It can never be made under this id: the task fails and its hold is voided.
    Fail(TaskError),
}

/// Decides what a look-up by our id means.
///
/// A task that Kling created more than a week before we were asked for ours belongs to an earlier
/// use of the id (an idempotency key used again after its task had expired). A taken id without a
/// task is the same: Kling keeps ids for ever and tasks for 30 days. Unless an earlier create of
/// ours may have taken it (`sent_before`): that task may run and be billed, so nothing is
/// concluded.
///
/// Source: platform reference 4, write-retry rule.
#[must_use]
pub fn after_lookup(
    task: &Task,
    sent_before: bool,
    cause: &Cause,
    when: When,
    found: Option<&Observation>,
) -> AfterLookUp {
    match (found, cause, when) {
        (Some(found), _, _) => {
            let foreign = found.created_at.is_some_and(|created_at| {
                task.relay.requested_at.duration_since(created_at) > CREATED_BEFORE_MAX
            });
            if foreign {
                AfterLookUp::Fail(key_reused())
            } else {
                AfterLookUp::Adopt
            }
        }
        (None, _, When::AtOnce) => AfterLookUp::LookAgain,
        (None, Cause::OutcomeUnknown, When::Later) => AfterLookUp::Recreate,
        (None, Cause::DuplicateId(error), When::Later) => {
            let taken = may_say_duplicate(&error.message);
            if sent_before && (taken || task.relay.lookups < LOOKUPS_MIN) {
                AfterLookUp::LookAgain
            } else if may_say_duplicate(&error.message) {
                AfterLookUp::Fail(key_reused())
            } else {
                AfterLookUp::Fail(error.clone())
            }
        }
    }
}

fn key_reused() -> TaskError {
    TaskError {
        code: "idempotency-key-reused".to_owned(),
        message: "Kling has made another task under this id before; use a fresh Idempotency-Key"
            .to_owned(),
        retryable: false,
    }
}
