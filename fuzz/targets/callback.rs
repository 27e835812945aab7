//! What holds for any callback body, of either dialect.

use kling_relay::decide::trust::{Belief, UnsignedPolicy, believe};
use kling_relay::edge::kling::wire::{
    MESSAGE_MAX_CHARS, Malformed, OUTPUTS_MAX, Terms, parse_callback,
};
use kling_relay::model::ids::TaskId;
use kling_relay::model::observation::{Observation, ObservedStatus, Proof};
use serde_json::{Map, Value};

/// Fields that have to be understood.
const FIELDS: [&str; 6] = [
    "id",
    "status",
    "task_id",
    "task_status",
    "outputs",
    "task_result",
];
/// Keys and values that mean something in a callback.
pub(crate) const WORDS: [&str; 44] = [
    "id",
    "status",
    "message",
    "external_id",
    "external_task_id",
    "create_time",
    "update_time",
    "outputs",
    "billing",
    "type",
    "url",
    "watermark_url",
    "mp3_url",
    "wav_url",
    "duration",
    "charge_type",
    "amount",
    "package_type",
    "cash_type",
    "currency",
    "unit",
    "cash",
    "video",
    "image",
    "audio",
    "try_on",
    "task_id",
    "task_status",
    "task_status_msg",
    "task_info",
    "task_result",
    "videos",
    "images",
    "audios",
    "final_unit_deduction",
    "final_balance_deduction",
    "created_at",
    "data",
    "submitted",
    "processing",
    "succeed",
    "succeeded",
    "failed",
    "https://cdn.klingai.com/a.mp4?Signature=x",
];
const SOMEBODY: &str = "acme_01hx0000000000000000000000";

/// The keys by which a dialect is told.
pub(crate) struct Dialect {
    pub(crate) id: &'static str,
    pub(crate) status: &'static str,
}

/// Parses a body and holds what came out against what went in.
pub(crate) fn check(body: &[u8], dialect: &Dialect) {
    match parse_callback(body, Terms::default()) {
        Ok(seen) => accepted(body, dialect, &seen),
        Err(refusal) => refused(body, &refusal),
    }
}

fn accepted(body: &[u8], dialect: &Dialect, seen: &Observation) {
    let whole: Value = serde_json::from_slice(body).expect("what is accepted is JSON");
    let task = task_object(&whole);
    let has = |key: &str| task.get(key).is_some_and(|value| !value.is_null());
    let (new, legacy) = (
        has("id") && has("status"),
        has("task_id") && has("task_status"),
    );
    assert!(new != legacy, "one dialect and not both");
    // The other target has the other dialect.
    if has(dialect.id) && has(dialect.status) {
        says_what_the_body_says(task, dialect, seen);
    }
    binds_to_its_task_only(seen);
    is_bounded(seen);
}

/// The object that describes the task: the body, or what its envelope holds.
fn task_object(whole: &Value) -> &Map<String, Value> {
    let object = whole.as_object().expect("what is accepted is an object");
    let has = |key: &str| object.get(key).is_some_and(|value| !value.is_null());
    let bare = (has("id") && has("status")) || (has("task_id") && has("task_status"));
    match object.get("data").and_then(Value::as_object) {
        Some(inner) if !bare => inner,
        Some(_) | None => object,
    }
}

fn says_what_the_body_says(task: &Map<String, Value>, dialect: &Dialect, seen: &Observation) {
    let expected = match task[dialect.status].as_str() {
        Some("submitted") => ObservedStatus::Submitted,
        Some("processing") => ObservedStatus::Processing,
        Some("succeed" | "succeeded") => ObservedStatus::Succeeded,
        Some("failed") => ObservedStatus::Failed,
        Some(_) | None => panic!("a status that nobody knows was understood"),
    };
    assert_eq!(seen.status, expected, "never another end than the body's");
    let id = match &task[dialect.id] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    assert_eq!(seen.kling_task_id.as_str(), id, "the very id of the body");
}

/// A body is believed of the task that it names and of no other, whoever signed it.
fn binds_to_its_task_only(seen: &Observation) {
    let stranger = TaskId::parse(SOMEBODY).expect("it is a task's id");
    let named = seen.external_id.as_deref();
    for proof in [Proof::Signed, Proof::Unsigned, Proof::Read] {
        for policy in [
            UnsignedPolicy::Confirm,
            UnsignedPolicy::Accept,
            UnsignedPolicy::Reject,
        ] {
            let of_stranger = believe(proof, policy, &stranger, None, seen);
            assert!(
                !matches!(of_stranger, Belief::Believe | Belief::ReReadFirst),
                "a task without a history is never revived"
            );
            let elsewhere = "another task than the one it came for";
            let says_so = match of_stranger {
                Belief::SetAside(why) | Belief::Ignore(why) => why.contains(elsewhere),
                Belief::Believe | Belief::ReReadFirst => false,
            };
            assert_eq!(
                says_so,
                named != Some(SOMEBODY),
                "bound by its own name only"
            );
        }
    }
}

fn is_bounded(seen: &Observation) {
    assert!(seen.outputs.len() <= OUTPUTS_MAX);
    assert!(seen.message.chars().count() <= MESSAGE_MAX_CHARS);
    assert!(seen.external_id.as_ref().is_none_or(|id| id.len() <= 256));
    let ended = matches!(
        seen.status,
        ObservedStatus::Succeeded | ObservedStatus::Failed
    );
    assert!(
        ended || seen.billing.is_none(),
        "nothing is billed before the end"
    );
    for amount in seen.billing.iter().flatten() {
        assert!(!amount.amount.is_sign_negative() || amount.amount.is_zero());
    }
}

/// A refusal says what is wrong in words of ours, and nothing of what the body holds: it may be a
/// signed address.
fn refused(body: &[u8], refusal: &Malformed) {
    let is_json = serde_json::from_slice::<Value>(body).is_ok();
    assert_eq!(*refusal == Malformed::NotJson, !is_json);
    if let Malformed::Field { field, .. } = refusal {
        assert!(FIELDS.contains(field), "{field:?} is no field of Kling's");
    }
    let words = refusal.to_string();
    let ours = |c: char| c.is_ascii_alphanumeric() || " ,_\"".contains(c);
    assert!(words.len() < 120 && words.chars().all(ours), "{words}");
}
