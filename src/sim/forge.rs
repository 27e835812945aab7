//! An attacker: callbacks that look real and are not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::callbacks::{self, Manner};
use super::catalogue::Standard;
use super::server::Sim;
use super::stats::count;
use super::{SimError, clock};

/// One forged callback.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgery {
    /// What is wrong with it.
    pub kind: ForgeryKind,
    /// The task whose callback URL is attacked; the newest one with a URL if left out.
    #[serde(default)]
    pub external_id: Option<String>,
    /// Posts here instead of to the task's callback URL.
    #[serde(default)]
    pub url: Option<String>,
    /// The video that the forgery claims as the result.
    pub video_url: String,
}

/// What is wrong with a forged callback. All claim success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForgeryKind {
    /// The last characters of the path are changed; unsigned.
    BadPath,
    /// As `bad-path`, with a signature that is good.
    SignedBadPath,
    /// The path is real, the signature made with another key.
    BadSignature,
    /// The path is real and there is no signature: a leaked URL.
    Unsigned,
    /// The path is real, the signature good, but 10 minutes old.
    Stale,
    /// Signed and posted to the task's path, but about another task.
    OtherTask,
    /// The path is real, the body no JSON.
    NotJson,
    /// The path is real, the body JSON of no known shape.
    NoShape,
}

/// Posts a forgery; answers the receiver's status, `timeout` or `error`.
pub(super) async fn post(sim: &Sim, forgery: &Forgery) -> Result<String, SimError> {
    let (target, claim) = aim(sim, forgery)?;
    let mut manner = Manner {
        unsigned: true,
        ..Manner::default()
    };
    let (mut url, mut body) = (target, claim.to_string());
    match forgery.kind {
        ForgeryKind::BadPath => url = spoil(&url),
        ForgeryKind::SignedBadPath => {
            url = spoil(&url);
            manner.unsigned = false;
        }
        ForgeryKind::BadSignature => {
            manner = Manner {
                wrong_secret: true,
                ..Manner::default()
            };
        }
        ForgeryKind::Unsigned => {}
        ForgeryKind::Stale => {
            manner = Manner {
                age_s: 600,
                ..Manner::default()
            }
        }
        ForgeryKind::OtherTask => manner.unsigned = false,
        ForgeryKind::NotJson => body = "}{ not json".to_owned(),
        ForgeryKind::NoShape => body = json!({ "event": "video.completed" }).to_string(),
    }
    let id = sim.state().mint_webhook_id(clock::now_ms());
    let answer = callbacks::post(sim, &url, &body.into(), &manner, &id).await;
    let kind = serde_json::to_value(forgery.kind).unwrap_or_default();
    let forged: &mut BTreeMap<_, _> = &mut sim.state().stats.callbacks.forged;
    let by_answer = forged
        .entry(kind.as_str().unwrap_or_default().to_owned())
        .or_default();
    count(by_answer, answer.clone());
    Ok(answer)
}

/// Where to post, and a body that claims success for the task.
fn aim(sim: &Sim, forgery: &Forgery) -> Result<(String, Value), SimError> {
    let mut state = sim.state();
    let fresh = state.mint_id(clock::now_ms()).to_string();
    let named = forgery
        .external_id
        .as_ref()
        .and_then(|id| state.external.get(id));
    let task = match (&forgery.external_id, named) {
        (Some(_), named) => named.and_then(|id| state.tasks.get(id)),
        (None, _) => state
            .tasks
            .values()
            .rev()
            .find(|task| task.callback_url.is_some()),
    };
    let url = forgery.url.clone().or_else(|| task?.callback_url.clone());
    let url = url.ok_or(SimError::NoTarget)?;
    let other = forgery.kind == ForgeryKind::OtherTask;
    let (id, external_id) = match task.filter(|_| !other) {
        Some(task) => (task.id.to_string(), task.external_id.clone()),
        None => (fresh.clone(), Some(format!("forged_{fresh}"))),
    };
    let now_ms = clock::now_ms();
    let legacy = task.is_some_and(|task| task.standard == Standard::Legacy);
    let claim = if legacy {
        json!({
            "task_id": id, "task_status": "succeed",
            "task_info": { "external_task_id": external_id },
            "task_result": { "images": [], "audios": [],
                "videos": [{ "id": fresh, "url": forgery.video_url, "duration": "5.041" }] },
            "task_status_msg": "", "final_unit_deduction": "0",
            "created_at": now_ms, "updated_at": now_ms,
        })
    } else {
        json!({
            "id": id, "status": "succeeded", "message": "", "create_time": now_ms,
            "update_time": now_ms, "external_id": external_id,
            "outputs": [{ "type": "video", "id": fresh, "url": forgery.video_url,
                "watermark_url": "", "duration": "5.041" }],
            "billing": [{ "charge_type": "unit", "amount": "0", "package_type": "video" }],
        })
    };
    Ok((url, claim))
}

/// Changes the end of a URL's path to another text of the same length.
fn spoil(url: &str) -> String {
    let (path, query) = url
        .split_once('?')
        .map_or((url, None), |(path, query)| (path, Some(query)));
    let keep = path.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
    let spoilt: String = path[keep..]
        .chars()
        .map(|c| if c == 'A' { 'B' } else { 'A' })
        .collect();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{spoilt}{query}", &path[..keep])
}
