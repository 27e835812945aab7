//! A task's life after it was created: queue, generation, end, deduction, callbacks.

use std::sync::Arc;

use super::callbacks::{self, Outgoing};
use super::catalogue::Yield;
use super::cdn::{self, Place};
use super::deduct::deduct;
use super::faults::chance;
use super::server::Sim;
use super::tags::{CallbackFault, CdnFault, Moment};
use super::task::{Output, Status, Task};
use super::{clock, media};

/// Lets a new task run its course in the background.
pub(super) fn start(sim: &Arc<Sim>, id: u64) {
    let sim = sim.clone();
    let stopping = sim.stopping.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = live(&sim, id) => {}
        }
    });
}

async fn live(sim: &Arc<Sim>, id: u64) {
    let timing = &sim.config.timing;
    let faults = sim.state().tasks[&id].faults.clone();
    let told = faults.has(&CallbackFault::Submitted, Moment::Submitted)
        || sim.config.callbacks.send_submitted;
    if told {
        let outgoing = callbacks::due(&mut sim.state(), id);
        callbacks::dispatch(sim, outgoing);
    }
    clock::sleep(timing.queue_time).await;
    callbacks::dispatch(sim, begin(sim, id));
    if faults.stuck {
        return;
    }
    let spread = timing.spread.mul_f64(chance(sim.config.seed, id, 0));
    clock::sleep(faults.slow.unwrap_or(timing.process_time + spread)).await;
    callbacks::dispatch(sim, end(sim, id));
}

/// Moves a task to `processing`; answers the callbacks to send.
pub(super) fn begin(sim: &Sim, id: u64) -> Vec<Outgoing> {
    let mut state = sim.state();
    let Some(task) = state.tasks.get_mut(&id) else {
        return Vec::new();
    };
    if task.status != Status::Submitted {
        return Vec::new();
    }
    advance(task, Status::Processing);
    callbacks::due(&mut state, id)
}

/// Ends a task: outputs or a reason, slots freed, units deducted; answers the callbacks to send.
pub(super) fn end(sim: &Sim, id: u64) -> Vec<Outgoing> {
    let mut guard = sim.state();
    let state = &mut *guard;
    let ids = (0..20)
        .map(|_| state.mint_id(clock::now_ms()))
        .collect::<Vec<_>>();
    let Some(task) = state.tasks.get_mut(&id) else {
        return Vec::new();
    };
    if task.status.is_terminal() {
        return Vec::new();
    }
    match failure(task) {
        Some(reason) => {
            advance(task, Status::Failed);
            task.message = reason.to_owned();
        }
        None => {
            advance(task, Status::Succeeded);
            task.outputs = outputs(sim, task, &ids);
        }
    }
    let (pool, slots) = (task.pool.clone(), task.slots);
    if let Some(pool) = state.pools.get_mut(&pool) {
        pool.used = pool.used.saturating_sub(slots);
    }
    deduct(state, id);
    callbacks::due(state, id)
}

fn advance(task: &mut Task, status: Status) {
    task.status = status;
    task.updated_ms = clock::now_ms().max(task.updated_ms + 1);
}

/// Source: platform reference 4 (messages of failed tasks), 2.3 (480p fails at generation).
fn failure(task: &Task) -> Option<&'static str> {
    match task.faults.fail.as_deref() {
        None if task.ask.resolution == "480p" => Some("The resolution is not supported."),
        None => None,
        Some("moderation") => Some("Failure to pass the risk control system"),
        Some("input") => {
            Some("Something went wrong when we tried to get the contents of the file.")
        }
        Some("size") => {
            Some("The image resolution or aspect ratio does not meet the requirements.")
        }
        Some(_) => Some("Generation failed"),
    }
}

fn outputs(sim: &Sim, task: &Task, ids: &[u64]) -> Vec<Output> {
    let wanted = match task.product.yields {
        Yield::Image => task.ask.count,
        _ => 1,
    };
    let wanted = task.faults.outputs.unwrap_or(wanted) as usize;
    let expired = task
        .faults
        .cdn
        .iter()
        .any(|counted| counted.fault == CdnFault::Expired);
    let life_s = i64::try_from(sim.config.outputs.url_life.as_secs()).unwrap_or(i64::MAX / 2);
    let expires_s = if expired {
        task.updated_ms / 1000 - 60
    } else {
        task.updated_ms / 1000 + life_s
    };
    let files = media::files(task.product.yields);
    ids.iter()
        .take(wanted)
        .enumerate()
        .map(|(index, &id)| {
            let url = |at: usize| {
                let place = Place {
                    task: task.id,
                    output: index,
                    index: at,
                    file: files[at],
                };
                cdn::url(sim, place, expires_s)
            };
            let watermark_url = if task.watermark {
                url(0)
            } else {
                String::new()
            };
            Output {
                id,
                urls: (0..files.len()).map(url).collect(),
                watermark_url,
                duration: format!("{}.041", task.ask.seconds),
            }
        })
        .collect()
}
