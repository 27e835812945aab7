//! Tells callback receivers about status changes, as well or as badly as asked.
//!
//! Source: platform reference 3.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use serde_json::Value;
use tokio::sync::oneshot;

use super::server::Sim;
use super::state::State;
use super::stats::count;
use super::tags::{CallbackFault, Moment};
use super::task::{Reader, Task};
use super::{clock, reply, signature};

/// A key that no receiver knows, for wrong signatures.
const WRONG_SECRET: &str = "whsec_bm90IHRoZSBzZWNyZXQgb2YgdGhpcyBhY2NvdW50";

/// A callback that is to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) url: String,
    pub(super) body: Bytes,
    pub(super) manner: Manner,
    /// Sent once this one has been answered.
    pub(super) then: Option<Box<Outgoing>>,
    pub(super) turn: Turn,
}

/// Keeps one task's callbacks in order: each begins when the one before was tried once. The
/// platform promises nothing of the kind; here disorder is a fault that is asked for, so that a
/// test means the same on a busy machine.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Ends when the callback before this one has been tried.
    after: Option<oneshot::Receiver<()>>,
    /// Dropped when this one has been tried.
    tried: Option<oneshot::Sender<()>>,
}

impl Turn {
    fn take(last: &mut Option<oneshot::Receiver<()>>) -> Self {
        let (tried, next) = oneshot::channel();
        Self {
            after: last.replace(next),
            tried: Some(tried),
        }
    }
}

impl Outgoing {
    /// How many callbacks this is, with those that wait for it.
    pub(super) fn length(&self) -> u64 {
        1 + self.then.as_ref().map_or(0, |next| next.length())
    }
}

/// How a callback is sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Manner {
    pub(super) delay: Duration,
    pub(super) copies: u32,
    pub(super) new_ids: bool,
    pub(super) unsigned: bool,
    pub(super) wrong_secret: bool,
    pub(super) age_s: i64,
}

/// The callbacks that a task's present status asks for: usually one, none without a URL.
pub(super) fn due(state: &mut State, id: u64) -> Vec<Outgoing> {
    let Some(task) = state.tasks.get_mut(&id) else {
        return Vec::new();
    };
    let Some(url) = task.callback_url.clone() else {
        return Vec::new();
    };
    let stats = &mut state.stats.callbacks;
    stats.due += 1;
    let moment = task.status.moment();
    let deferred = if moment == Moment::Terminal {
        task.deferred.take()
    } else {
        None
    };
    if state.plan.drop_callbacks || task.faults.has(&CallbackFault::Drop, moment) {
        stats.dropped += 1;
        stats.in_flight += deferred.iter().count() as u64;
        return deferred.into_iter().collect();
    }
    let mut outgoing = Outgoing {
        url,
        body: body(task, moment),
        manner: manner(task, moment),
        then: deferred.map(Box::new),
        turn: Turn::default(),
    };
    stats.duplicated += u64::from(outgoing.manner.copies - 1);
    if moment == Moment::Processing && task.faults.has(&CallbackFault::Reorder, moment) {
        stats.reordered += 1;
        task.deferred = Some(outgoing);
        return Vec::new();
    }
    if state.plan.hold_callbacks {
        state.held.push(outgoing);
        return Vec::new();
    }
    if outgoing.manner.delay.is_zero() {
        outgoing.turn = Turn::take(&mut task.last_turn);
    }
    stats.in_flight += outgoing.length();
    vec![outgoing]
}

fn body(task: &Task, moment: Moment) -> Bytes {
    let mut shape = task.shape(Reader::Callback);
    if task.faults.has(&CallbackFault::Nulls, moment) {
        loosen(&mut shape);
    }
    if task.faults.has(&CallbackFault::Wrapped, moment) {
        shape = reply::envelope(shape);
    }
    let mut text = shape.to_string().into_bytes();
    if task.faults.has(&CallbackFault::Truncate, moment) {
        text.truncate(text.len() / 2);
    }
    text.into()
}

/// Turns empty containers into nulls and amounts into numbers, as some resellers do.
///
/// Source: platform reference 3.2 (tolerate).
fn loosen(value: &mut Value) {
    match value {
        Value::Array(entries) if entries.is_empty() => *value = Value::Null,
        Value::Object(fields) if fields.is_empty() => *value = Value::Null,
        Value::Array(entries) => entries.iter_mut().for_each(loosen),
        Value::Object(fields) => {
            for (key, field) in fields {
                if key == "amount" || key == "final_unit_deduction" {
                    let number = field
                        .as_str()
                        .and_then(|text| serde_json::from_str(text).ok());
                    *field = number.unwrap_or(Value::Null);
                } else {
                    loosen(field);
                }
            }
        }
        _ => {}
    }
}

fn manner(task: &Task, moment: Moment) -> Manner {
    let mut manner = Manner {
        copies: 1,
        ..Manner::default()
    };
    for fault in task.faults.callbacks_at(moment) {
        match fault {
            CallbackFault::Delay(delay) => manner.delay = *delay,
            CallbackFault::Duplicate { copies, new_id } => {
                manner.copies = (*copies).clamp(1, 100);
                manner.new_ids = *new_id;
            }
            CallbackFault::Unsigned => manner.unsigned = true,
            CallbackFault::BadSignature => manner.wrong_secret = true,
            CallbackFault::Stale => manner.age_s = 600,
            CallbackFault::Drop
            | CallbackFault::Reorder
            | CallbackFault::Truncate
            | CallbackFault::Early
            | CallbackFault::EarlyTerminal
            | CallbackFault::Wrapped
            | CallbackFault::Submitted
            | CallbackFault::Nulls => {}
        }
    }
    manner
}

/// Sends callbacks in the background.
pub(super) fn dispatch(sim: &Arc<Sim>, outgoing: Vec<Outgoing>) {
    for one in outgoing {
        let sim = sim.clone();
        let stopping = sim.stopping.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = deliver(&sim, one) => {}
            }
        });
    }
}

/// Sends a callback, all its copies and whatever waited for it. It was counted as being in flight
/// when it fell due, so that a task is never seen ended with its callback unaccounted for.
pub(super) async fn deliver(sim: &Sim, outgoing: Outgoing) {
    let mut next = Some(Box::new(outgoing));
    while let Some(mut one) = next.take() {
        clock::sleep(one.manner.delay).await;
        if let Some(after) = one.turn.after.take() {
            // It ends in an error, since the other side is only ever dropped.
            let _ = after.await;
        }
        let first_id = sim.state().mint_webhook_id(clock::now_ms());
        let mut ids = vec![first_id; one.manner.copies as usize];
        if one.manner.new_ids {
            for id in ids.iter_mut().skip(1) {
                *id = sim.state().mint_webhook_id(clock::now_ms());
            }
        }
        let tried = join_all(ids.iter().map(|id| attempt(sim, &one, id))).await;
        drop(one.turn.tried.take());
        let refused = ids.into_iter().zip(tried).filter(|(_, success)| !success);
        join_all(refused.map(|(id, _)| redeliver(sim, &one, id))).await;
        sim.state().stats.callbacks.in_flight -= 1;
        next = one.then;
    }
}

/// Posts a callback once; answers whether it was received with 2xx.
async fn attempt(sim: &Sim, outgoing: &Outgoing, id: &str) -> bool {
    let answer = post(sim, &outgoing.url, &outgoing.body, &outgoing.manner, id).await;
    let success = answer.starts_with('2');
    let mut state = sim.state();
    if success {
        state.note_confirmed(outgoing.url.clone(), outgoing.body.clone());
    }
    let stats = &mut state.stats.callbacks;
    stats.attempts += 1;
    stats.delivered += u64::from(success);
    count(&mut stats.answers, answer);
    success
}

/// Goes through the schedule of redeliveries until one is received.
async fn redeliver(sim: &Sim, outgoing: &Outgoing, mut id: String) {
    for pause in &sim.config.callbacks.redeliver {
        clock::sleep(pause.0).await;
        {
            let mut state = sim.state();
            state.stats.callbacks.redelivered += 1;
            if sim.config.callbacks.redeliver_new_id {
                id = state.mint_webhook_id(clock::now_ms());
            }
        }
        if attempt(sim, outgoing, &id).await {
            return;
        }
    }
}

/// Posts one body; answers the status, `timeout` or `error`.
pub(super) async fn post(sim: &Sim, url: &str, body: &Bytes, manner: &Manner, id: &str) -> String {
    let Ok(_permit) = sim.posting.acquire().await else {
        return "error".to_owned();
    };
    let mut request = sim
        .poster
        .post(url)
        .header(CONTENT_TYPE, "application/json; charset=utf-8")
        .header(
            USER_AGENT,
            "Apache-HttpClient/4.5.13 (Java/11.0.14-internal)",
        )
        .header(ACCEPT_ENCODING, "gzip,deflate")
        .header("connection", "Keep-Alive")
        .body(body.clone());
    if let Some((timestamp, signatures)) = signatures(sim, manner, id, body) {
        request = request
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures);
    }
    match request.send().await {
        Ok(response) => {
            let status = response.status().as_u16().to_string();
            // Reading the answer to its end lets the connection be used again.
            let _ = response.bytes().await;
            status
        }
        Err(error) if error.is_timeout() => "timeout".to_owned(),
        Err(_) => "error".to_owned(),
    }
}

fn signatures(sim: &Sim, manner: &Manner, id: &str, body: &[u8]) -> Option<(i64, String)> {
    let secrets = match manner {
        Manner { unsigned: true, .. } => return None,
        Manner {
            wrong_secret: true, ..
        } => vec![WRONG_SECRET.to_owned()],
        _ => sim.state().secrets.clone(),
    };
    let timestamp = clock::now_s() - manner.age_s;
    let signed: Vec<String> = secrets
        .iter()
        .filter_map(|secret| signature::sign(secret, id, timestamp, body))
        .collect();
    if signed.is_empty() {
        None
    } else {
        Some((timestamp, signed.join(" ")))
    }
}

/// What the console's test button sends; answers how it was received.
///
/// Source: platform reference 3.3 (test callback).
pub(super) async fn test_callback(sim: &Sim, url: &str) -> String {
    let now_ms = clock::now_ms();
    let (task, id) = {
        let mut state = sim.state();
        (state.mint_id(now_ms), state.mint_webhook_id(now_ms))
    };
    let body = serde_json::json!({
        "id": task.to_string(), "status": "submitted", "message": "",
        "create_time": now_ms, "update_time": now_ms, "outputs": [],
    });
    let answer = post(sim, url, &body.to_string().into(), &Manner::default(), &id).await;
    count(&mut sim.state().stats.callbacks.tests, answer.clone());
    answer
}
