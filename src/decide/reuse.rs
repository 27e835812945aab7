//! One result for several requests: which task is made, which waits, which is answered.
//!
//! Tasks of one tenant share a result when what Kling would be asked is the same and the request
//! allows it. Of those that wait, the first in the log is made and the others wait for it. Should
//! two be claimed at once all the same (a task that waited for its `not_before` meets a younger
//! one), the first claim in the log stands and the others give theirs back before Kling is called:
//! the order of the log decides, so it is the same for every replica.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::pricing::digest::{hex, sorted};
use crate::model::amount::Amount;
use crate::model::event::{EventKind, NewEvent};
use crate::model::ids::Tenant;
use crate::model::request::{KlingCall, Product};
use crate::model::task::{Status, Task, TaskError};

/// Returns what is equal for tasks whose results can stand for one another: sha256 over the tenant
/// and the call, as 64 hexadecimal digits.
///
/// The order of keys and the blanks of a prompt make no difference. An input that is given by its
/// address counts as that address, whatever stands there.
#[must_use]
pub fn reuse_key(tenant: &Tenant, call: &KlingCall) -> String {
    let body = plain_prompts(&sorted(&Value::Object(call.body.clone())), None);
    let text = json!([tenant.as_str(), call.path, body]).to_string();
    hex(&Sha256::digest(text.as_bytes()))
}

/// Writes each prompt with single blanks, wherever Kling's bodies have one: under its own name, or
/// as the text of an entry of that type.
fn plain_prompts(value: &Value, name: Option<&str>) -> Value {
    match value {
        Value::Object(fields) => {
            let is_entry = fields.get("type").and_then(Value::as_str) == Some("prompt");
            let plain = fields.iter().map(|(name, value)| {
                let prompt = match name.as_str() {
                    "prompt" | "negative_prompt" => true,
                    name => is_entry && name == "text",
                };
                let value = plain_prompts(value, prompt.then_some(name));
                (name.clone(), value)
            });
            Value::Object(plain.collect())
        }
        Value::Array(entries) => {
            let plain = entries.iter().map(|entry| plain_prompts(entry, None));
            Value::Array(plain.collect())
        }
        Value::String(text) if name.is_some() => {
            let words: Vec<&str> = text.split_whitespace().collect();
            Value::String(words.join(" "))
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Tells whether a product's result is a file that can stand for another's. Elements and voices are
/// used by their ids at Kling.
#[must_use]
pub fn has_files(product: Product) -> bool {
    match product {
        Product::Element | Product::CustomVoice => false,
        Product::TextToVideo
        | Product::ImageToVideo
        | Product::OmniVideo
        | Product::MotionControl
        | Product::MultiElements
        | Product::LipSync
        | Product::Avatar
        | Product::Effects
        | Product::TextToAudio
        | Product::VideoToAudio
        | Product::ImageGeneration
        | Product::OmniImage
        | Product::MultiImageToImage
        | Product::ImageExpansion
        | Product::VirtualTryOn
        | Product::AiMultiShot => true,
    }
}

/// How long results are reused and waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    max_age: SignedDuration,
    wait_max: SignedDuration,
}

impl Rules {
    /// Makes the rules: a stored result answers for `max_age`; a task at Kling, or one that is not
    /// stored yet, is waited for until `wait_max` after its claim or end.
    #[must_use]
    pub fn new(max_age: Duration, wait_max: Duration) -> Self {
        let signed = |wait| SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        Self {
            max_age: signed(max_age),
            wait_max: signed(wait_max),
        }
    }
}

/// How far a task has come that could give its result to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It will be made, from that time on.
    Waiting(Option<Timestamp>),
    /// It was claimed, and Kling has it or may have it.
    Claimed {
        /// Sequence of the claim that has not been given back.
        seq: u64,
        /// When that was.
        at: Timestamp,
    },
    /// It succeeded at that time; its outputs are on their way.
    Made(Timestamp),
    /// Its outputs were stored at that time.
    Stored(Timestamp),
}

impl Phase {
    /// Returns the phase after an event; `before` is the one until then, and `seq` the event's
    /// place in the log. `None`: it has no result to give.
    #[must_use]
    pub fn after(task: &Task, before: Option<Phase>, seq: u64) -> Option<Phase> {
        if task.reused_from.is_some() {
            return None;
        }
        match task.status {
            Status::Requested => Some(Phase::Waiting(task.relay.not_before)),
            // A back-off: it will be tried again soon.
            Status::Dispatching if !task.relay.may_exist => Some(Phase::Waiting(None)),
            Status::Dispatching | Status::Submitted | Status::Processing => match before {
                Some(Phase::Claimed { .. }) => before,
                Some(Phase::Waiting(_) | Phase::Made(_) | Phase::Stored(_)) | None => {
                    let at = task.occurred_at;
                    Some(Phase::Claimed { seq, at })
                }
            },
            Status::Succeeded if task.relay.outputs == 0 => None,
            Status::Succeeded => Some(match task.relay.stored_at {
                Some(at) => Phase::Stored(at),
                None => Phase::Made(task.relay.changed_at),
            }),
            Status::Failed => None,
        }
    }

    /// Tells whether its result may answer now.
    #[must_use]
    pub fn answers(self, now: Timestamp, rules: &Rules) -> bool {
        match self {
            Phase::Stored(at) => now.duration_since(at) <= rules.max_age,
            Phase::Waiting(_) | Phase::Claimed { .. } | Phase::Made(_) => false,
        }
    }
}

/// What a task that allows reuse does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is made itself.
    Make,
    /// It waits for another one.
    Wait,
    /// A stored result answers it.
    Answered,
}

/// What the tasks of one key come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Whether a stored result may answer.
    stored: bool,
    /// Whether a result is on its way into the storage.
    coming: bool,
    /// The first claim that stands.
    claim: Option<u64>,
    /// The first place of those that wait and could go now.
    first: Option<u64>,
}

impl Group {
    /// Sums up the tasks of one key: their places in the order of acceptance and their phases.
    #[must_use]
    pub fn of(
        tasks: impl IntoIterator<Item = (u64, Phase)>,
        now: Timestamp,
        rules: &Rules,
    ) -> Self {
        let mut group = Self::default();
        let earlier = |known: Option<u64>, new| Some(known.map_or(new, |known| known.min(new)));
        let waited_for = |at| now.duration_since(at) <= rules.wait_max;
        for (place, phase) in tasks {
            match phase {
                Phase::Waiting(from) if from.is_some_and(|from| from > now) => {}
                Phase::Waiting(_) => group.first = earlier(group.first, place),
                Phase::Claimed { seq, at } if waited_for(at) => {
                    group.claim = earlier(group.claim, seq);
                }
                Phase::Made(at) => group.coming |= waited_for(at),
                Phase::Stored(_) => group.stored |= phase.answers(now, rules),
                Phase::Claimed { .. } => {}
            }
        }
        group
    }

    /// Decides about a task of the group that waits at that place.
    #[must_use]
    pub fn turn(&self, place: u64) -> Turn {
        let another_first = self.first.is_some_and(|first| first < place);
        if self.stored {
            Turn::Answered
        } else if self.coming || self.claim.is_some() || another_first {
            Turn::Wait
        } else {
            Turn::Make
        }
    }

    /// Tells whether a task of the group whose claim stands at `seq` may be made: nothing answers
    /// it, and no other claim came before.
    #[must_use]
    pub fn may_make(&self, seq: u64) -> bool {
        let first = self.claim.is_none_or(|claim| seq <= claim);
        first && !self.coming && !self.stored
    }
}

/// Tells whether a task may be answered by an earlier result now: it waits, and no create of it may
/// have reached Kling.
#[must_use]
pub fn may_be_answered(task: &Task) -> bool {
    let waits = matches!(task.status, Status::Requested | Status::Dispatching);
    let allowed = task.relay.reuse.asked || task.reused_from.is_some();
    waits && allowed && !task.relay.may_exist
}

/// Tells whether a task's stored result can stand for another's: made by itself for the same tenant
/// from the same call.
#[must_use]
pub fn can_answer(source: &Task, tenant: &Tenant, key: &str) -> bool {
    let same = source.tenant == *tenant && source.relay.reuse.key == key && !key.is_empty();
    let made = source.status == Status::Succeeded && source.reused_from.is_none();
    same && made && source.relay.stored_at.is_some() && !source.assets.is_empty()
}

/// Marks a task that is to be accepted as answered by a stored result: nothing will be spent, so
/// nothing is held.
pub fn answer_at_acceptance(task: &mut Task, source: &Task) {
    task.reused_from = Some(source.task_id.clone());
    task.relay.reuse.price = Some(task.estimate);
    task.estimate = Amount::zero(task.estimate.unit);
}

/// An earlier result answers the task: it has succeeded, and Kling deducted nothing for it.
#[must_use]
pub fn answered(task: &Task, source: &Task, now: Timestamp) -> NewEvent {
    let mut after = ended(task, now);
    after.status = Status::Succeeded;
    after.reused_from = Some(source.task_id.clone());
    after.saved = Some(task.relay.reuse.price.unwrap_or(task.estimate));
    after.assets.clone_from(&source.assets);
    after.relay.outputs = source.relay.outputs;
    NewEvent::plain(EventKind::Succeeded, 1, after)
}

/// The result that was to answer the task has gone, and no money is held to make it.
#[must_use]
pub fn result_gone(task: &Task, now: Timestamp) -> NewEvent {
    let mut after = ended(task, now);
    after.status = Status::Failed;
    after.error = Some(TaskError {
        code: "reused-result-gone".to_owned(),
        message: "the earlier result that answered it has expired from the log; submit it again"
            .to_owned(),
        retryable: true,
    });
    NewEvent::plain(EventKind::Failed, 1, after)
}

fn ended(task: &Task, now: Timestamp) -> Task {
    let mut after = task.clone();
    after.occurred_at = now;
    after.relay.changed_at = now;
    after.relay.claim = None;
    after.relay.not_before = None;
    // Kling was never asked: evidence, not an assumption.
    after.billing = Some(Vec::new());
    after
}
