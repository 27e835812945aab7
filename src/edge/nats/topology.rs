//! Every stream, consumer, filter, subject and broker-side bound; nothing about them stands
//! anywhere else.
//!
//! Source: broker reference 9, 11, 12.

use std::time::Duration;

use serde_json::{Value, json};

use crate::config;
use crate::model::event::EventKind;
use crate::model::ids::{ACCOUNT, Day, TaskId, Tenant};
use crate::model::ledger::{LedgerKey, LedgerOwner};

mod consumers;

pub use self::consumers::{Consumer, ack_pending_max, consumer};
pub(super) use super::ensure::ensure_consumer;
pub use super::ensure::{TopologyError, compare, ensure, open};

/// The stream that is the truth.
pub const LOG: &str = "KLING";
/// Raw callbacks and our own observations.
pub const CALLBACKS: &str = "KLING_CALLBACKS";
/// Messages set aside.
pub const DEAD: &str = "KLING_DEAD";
/// Events delivered again to one consumer.
pub const REPLAY: &str = "KLING_REPLAY";

/// Everything that a consumer of ours may see.
pub const PUBLIC: &str = "kling.v1.>";
/// Every event of every task.
pub const TASK_EVENTS: &str = "kling.v1.*.task.>";
/// Every money entry.
pub const LEDGER_ENTRIES: &str = "kling.v1.*.ledger.>";
/// Every budget alert.
pub const BUDGET_ALERTS: &str = "kling.v1.*.budget.>";
/// Every record of what an operator did.
pub const AUDITS: &str = "kling.v1.*.audit.>";
/// Every page of usage: internal, made of the ledger and no truth of its own.
pub const USAGE_PAGES: &str = "kling.usage.v1.>";
/// The NATS micro service's name.
pub const SERVICE: &str = "kling-relay";
/// Every submission over request/reply.
pub const SUBMISSIONS: &str = "kling.v1.*.submit";
/// Every question for a price over request/reply.
pub const ESTIMATES: &str = "kling.v1.*.estimate";
/// Every cancellation over request/reply.
pub const CANCELLATIONS: &str = "kling.v1.*.cancel";
/// Every question for a list of tasks over request/reply.
pub const LISTINGS: &str = "kling.v1.*.list";
/// Operators' changes of a day's limit over request/reply. Internal, so that neither a stream keeps
/// it nor a consumer's account may use it.
pub const SET_LIMIT: &str = "kling.operator.v1.set-limit";
/// Operators' corrections of deductions over request/reply, internal likewise.
pub const ADJUST: &str = "kling.operator.v1.adjust";
/// Operators' wishes to begin lost histories anew over request/reply, internal likewise.
pub const REBUILD: &str = "kling.operator.v1.rebuild";
/// Every stored callback; probes stand beside them, not among them.
pub const STORED_CALLBACKS: &str = "kling.callback.v1.>";

/// Messages that one atomic batch may hold; the server refuses more.
pub const BATCH_MESSAGES_MAX: usize = 1_000;
/// Tasks of one submission: with both ledgers three messages each, and some room for `limit`
/// entries and alerts.
pub const ACCEPT_TASKS_MAX: usize = 300;
/// How far back the repair of a torn batch looks, in messages.
pub const REPAIR_WINDOW: u64 = 1_000;
/// Life of a readiness probe's message, in seconds.
pub const PROBE_TTL_SECONDS: u64 = 60;

/// Returns the room below which a stream of so many bytes counts as full: that of the largest
/// message, headers included, or an eighth of a stream that is small.
#[must_use]
pub fn room_min_bytes(stream_max_bytes: u64) -> u64 {
    (stream_max_bytes / 8).min(2 << 20)
}

const DAY_LENGTH: Duration = Duration::from_secs(86_400);
const CALLBACKS_AGE: Duration = DAY_LENGTH.saturating_mul(7);
const DEAD_AGE: Duration = DAY_LENGTH.saturating_mul(30);
const REPLAY_AGE: Duration = DAY_LENGTH;
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);
/// Returns the prefix of a task, always in this one text: a second spelling of it would silently
/// end the guarantee on a cluster.
///
/// Source: broker reference 3.
#[must_use]
pub fn task_prefix(task: &TaskId) -> String {
    format!("kling.v1.{}.task.{task}.>", task.tenant())
}

/// Returns the subject of one kind of event of a task.
#[must_use]
pub fn task_subject(task: &TaskId, kind: EventKind) -> String {
    format!("kling.v1.{}.task.{task}.{}", task.tenant(), kind.as_str())
}

/// Returns the filter of every task event of a tenant.
#[must_use]
pub fn tenant_tasks(tenant: &Tenant) -> String {
    format!("kling.v1.{tenant}.task.>")
}

/// Returns the filter of one kind of event, of a tenant or of everybody.
#[must_use]
pub fn events_of_kind(tenant: Option<&Tenant>, kind: EventKind) -> String {
    let tenant = tenant.map_or("*", Tenant::as_str);
    format!("kling.v1.{tenant}.task.*.{}", kind.as_str())
}

/// Returns the subject of a day's money entries.
#[must_use]
pub fn ledger_subject(key: &LedgerKey) -> String {
    format!("kling.v1.{}.ledger.{}", key.owner.as_str(), key.day)
}

/// Returns the filter of every ledger, of a tenant or of everybody.
#[must_use]
pub fn ledgers(tenant: Option<&Tenant>) -> String {
    let tenant = tenant.map_or("*", Tenant::as_str);
    format!("kling.v1.{tenant}.ledger.*")
}

/// Returns the subject of a day's pages of usage.
#[must_use]
pub fn usage_subject(key: &LedgerKey) -> String {
    format!("kling.usage.v1.{}.{}", key.owner.as_str(), key.day)
}

/// Returns the filter of a day's money entries of every owner, the account among them.
#[must_use]
pub fn ledgers_of(day: Day) -> String {
    format!("kling.v1.*.ledger.{day}")
}

/// Returns the subject of a day's budget alerts.
#[must_use]
pub fn alert_subject(key: &LedgerKey) -> String {
    format!("kling.v1.{}.budget.{}.alert", key.owner.as_str(), key.day)
}

/// Returns the subject of a stored callback; `tenant` is `_account` for those of no task of ours.
#[must_use]
pub fn callback_subject(tenant: &str, task: &str) -> String {
    format!("kling.callback.v1.{tenant}.{task}")
}

/// Returns the subject of a message that a stage set aside.
#[must_use]
pub fn dead_subject(stage: &str, tenant: &str, task: &str) -> String {
    format!("kling.dead.v1.{stage}.{tenant}.{task}")
}

/// Returns the filter of set-aside messages of a stage, tenant and task, each of them or any.
#[must_use]
pub fn dead_filter(stage: Option<&str>, tenant: Option<&str>, task: Option<&str>) -> String {
    let any = |token: Option<&str>| token.unwrap_or("*").to_owned();
    dead_subject(&any(stage), &any(tenant), &any(task))
}

/// Returns the subject of an event that is delivered again to one consumer.
#[must_use]
pub fn replay_subject(consumer: &str, original: &str) -> String {
    format!("kling.replay.v1.{consumer}.{original}")
}

/// Returns the filter of everything that is delivered again to one consumer.
#[must_use]
pub fn replays_of(consumer: &str) -> String {
    format!("kling.replay.v1.{consumer}.>")
}

/// Returns the consumer and the original subject of an event that is delivered again.
#[must_use]
pub fn parse_replay_subject(subject: &str) -> Option<(&str, &str)> {
    subject.strip_prefix("kling.replay.v1.")?.split_once('.')
}

/// Returns the subject of a day's records of what operators did.
#[must_use]
pub fn audit_subject(day: Day) -> String {
    format!("kling.v1.{ACCOUNT}.audit.{day}")
}

/// Returns the subject of submissions of a tenant.
#[must_use]
pub fn submit_subject(tenant: &Tenant) -> String {
    format!("kling.v1.{tenant}.submit")
}

/// Returns the subject of a tenant's questions for a price.
#[must_use]
pub fn estimate_subject(tenant: &Tenant) -> String {
    format!("kling.v1.{tenant}.estimate")
}

/// Returns the subject of a tenant's cancellations.
#[must_use]
pub fn cancel_subject(tenant: &Tenant) -> String {
    format!("kling.v1.{tenant}.cancel")
}

/// Returns the subject of a tenant's questions for a list of tasks.
#[must_use]
pub fn list_subject(tenant: &Tenant) -> String {
    format!("kling.v1.{tenant}.list")
}

/// Returns the tenant of a request's subject: a submission, an estimate, a cancellation or a
/// list.
#[must_use]
pub fn parse_request_subject(subject: &str) -> Option<Tenant> {
    let (tenant, what) = subject.strip_prefix("kling.v1.")?.split_once('.')?;
    matches!(what, "submit" | "estimate" | "cancel" | "list").then(|| Tenant::parse(tenant).ok())?
}

/// Returns the readiness probe's subject in [`LOG`].
#[must_use]
pub fn log_probe_subject(instance: &str) -> String {
    format!("kling.probe.v1.log.{instance}")
}

/// Returns the readiness probe's subject in [`CALLBACKS`].
#[must_use]
pub fn callbacks_probe_subject(instance: &str) -> String {
    format!("kling.probe.v1.callbacks.{instance}")
}

/// Returns the task and kind of a task event's subject, if the kind is one that we know.
#[must_use]
pub fn parse_task_subject(subject: &str) -> Option<(TaskId, EventKind)> {
    let (task, kind) = split_task_subject(subject)?;
    Some((task, EventKind::from_name(kind)?))
}

/// Returns the task and the kind's name of a task event's subject; a newer version may write kinds
/// that we do not know.
#[must_use]
pub fn split_task_subject(subject: &str) -> Option<(TaskId, &str)> {
    let rest = subject.strip_prefix("kling.v1.")?;
    let mut tokens = rest.split('.');
    let (tenant, noun) = (tokens.next()?, tokens.next()?);
    let (task, kind) = (tokens.next()?, tokens.next()?);
    let task = TaskId::parse(task).ok()?;
    let ours = noun == "task" && tokens.next().is_none() && task.tenant().as_str() == tenant;
    ours.then_some((task, kind))
}

/// Returns the ledger of a money entry's subject.
#[must_use]
pub fn parse_ledger_subject(subject: &str) -> Option<LedgerKey> {
    let rest = subject.strip_prefix("kling.v1.")?;
    let (owner, day) = rest.split_once(".ledger.")?;
    Some(LedgerKey {
        owner: LedgerOwner::parse(owner).ok()?,
        day: day.parse::<Day>().ok()?,
    })
}

/// Returns the tenant and task of a stored callback's subject; both are free text for `_account`.
#[must_use]
pub fn parse_callback_subject(subject: &str) -> Option<(&str, &str)> {
    let (tenant, task) = subject
        .strip_prefix("kling.callback.v1.")?
        .split_once('.')?;
    (!task.contains('.')).then_some((tenant, task))
}

/// Tells whether a text can stand as one token of a subject.
#[must_use]
pub fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Returns what the four streams must be, in the broker's own words; each field is compared with
/// what the server echoes.
#[must_use]
pub fn streams(nats: &config::Nats) -> [Value; 4] {
    let log = json!({
        "name": LOG,
        "description": "What happened to tasks and money: the truth",
        "subjects": [
            TASK_EVENTS, LEDGER_ENTRIES, BUDGET_ALERTS, AUDITS, USAGE_PAGES, "kling.probe.v1.log.>",
        ],
        "max_bytes": nats.log_max_bytes,
        "max_age": 0,
        "discard": "new",
        "duplicate_window": nanos(Duration::from_secs(120)),
        "allow_atomic": true,
        "allow_msg_ttl": true,
        "deny_delete": true,
        "deny_purge": true,
    });
    let callbacks = json!({
        "name": CALLBACKS,
        "description": "Raw callbacks and our own observations of tasks at Kling",
        "subjects": [STORED_CALLBACKS, "kling.probe.v1.callbacks.>"],
        "max_bytes": nats.callbacks_max_bytes,
        "max_age": nanos(CALLBACKS_AGE),
        "discard": "new",
        "duplicate_window": nanos(DUPLICATE_WINDOW),
        "allow_atomic": false,
        // For the probes only: without it a week of them would pile up.
        "allow_msg_ttl": true,
        "deny_delete": false,
        "deny_purge": false,
    });
    let dead = json!({
        "name": DEAD,
        "description": "Messages that a stage set aside, with the reason in the headers",
        "subjects": ["kling.dead.v1.>"],
        "max_bytes": nats.dead_max_bytes,
        "max_age": nanos(DEAD_AGE),
        "discard": "new",
        "duplicate_window": nanos(DUPLICATE_WINDOW),
        "allow_atomic": false,
        "allow_msg_ttl": false,
        "deny_delete": false,
        "deny_purge": false,
    });
    let replay = json!({
        "name": REPLAY,
        "description": "Events delivered again, to one consumer each",
        "subjects": ["kling.replay.v1.>"],
        "max_bytes": nats.replay_max_bytes,
        "max_age": nanos(REPLAY_AGE),
        // An event that a slow consumer has not read is never pushed out: the replay stops.
        "discard": "new",
        "duplicate_window": nanos(DUPLICATE_WINDOW),
        "allow_atomic": false,
        "allow_msg_ttl": false,
        "deny_delete": false,
        "deny_purge": false,
    });
    [log, callbacks, dead, replay].map(|own| with_common(own, nats.replicas))
}

/// Adds what all streams share. Everything that could move, drop or rewrite a message behind the
/// log's back is named and off.
fn with_common(mut own: Value, replicas: usize) -> Value {
    let common = json!({
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_consumers": -1,
        "discard_new_per_subject": false,
        "no_ack": false,
        "sealed": false,
        "allow_direct": true,
        "mirror_direct": false,
        "allow_rollup_hdrs": false,
        "allow_msg_schedules": false,
        "allow_msg_counter": false,
        "allow_batched": false,
        "subject_delete_marker_ttl": 0,
        "republish": null,
        "subject_transform": null,
        "mirror": null,
        "sources": null,
    });
    if let (Some(own), Value::Object(common)) = (own.as_object_mut(), common) {
        own.extend(common);
    }
    own
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
