//! Requests that ask the platform for faults, chosen by a seed: every kind that it knows.

use std::collections::HashMap;

use kling_relay::model::ids::TaskId;
use kling_relay::model::task::{Status, Task};
use kling_relay::sim::SimStats;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::world::{legacy_video, video};

const CREATES: &[&str] = &[
    "create=504-after",
    "create=504-before",
    "create=504-beforex3",
    "create=500",
    "create=502",
    "create=503-before",
    "create=reset",
    "create=reset-before",
    "create=garbage",
    "create=garbage-before",
    "create=badgateway",
    "create=badgateway-before",
    "create=timeout",
    "create=timeout-before",
    "create=5000x1",
    "create=1302x2",
    "create=1303x2",
    "create=1303x1,create=504-after",
    "create=1304x1",
    "create=1101x1",
    "create=1102x1",
    "create=504-after,lookup=lag:200ms",
    "create=reset,lookup=lag:1500ms,slow=3s,callback=drop@processing",
    "create=504-after,lookup=5000x1",
    "create=504-after,callback=early-terminal",
];

const CALLBACKS: &[&str] = &[
    "callback=drop",
    "callback=drop@terminal",
    "callback=drop@processing",
    "callback=duplicate:3",
    "callback=duplicate-new-id:3",
    "callback=reorder",
    "callback=delay:2s",
    "callback=delay:3s@processing",
    "callback=truncate",
    "callback=bad-signature",
    "callback=stale",
    "callback=unsigned",
    "callback=unsigned@terminal",
    "callback=early",
    "callback=early-terminal",
    "callback=wrapped",
    "callback=submitted",
    "callback=nulls",
    "callback=early-terminal,callback=duplicate-new-id,callback=wrapped",
    "callback=submitted,callback=reorder,callback=duplicate:5",
];

const BILLS: &[&str] = &[
    "billing=none",
    "billing=never",
    "billing=over:2.5",
    "billing=over:0.01",
    "billing=split",
    "billing=amount:7",
    "billing=amount:0.125",
    "billing=cash",
    "billing=mixed:0.5",
];

const DOWNLOADS: &[&str] = &[
    "cdn=500x2",
    "cdn=truncatex1",
    "cdn=slow:300ms",
    "outputs=3",
    "outputs=3,cdn=503x1",
];

const ENDS: &[&str] = &["fail=moderation", "fail=input", "slow=1s"];

/// Each list, and for how many of a hundred requests it is.
const LISTS: [(&[&str], usize); 5] = [
    (CREATES, 25),
    (CALLBACKS, 40),
    (BILLS, 15),
    (DOWNLOADS, 15),
    (ENDS, 10),
];

/// As many requests, each with none to several faults. Of each list every kind comes before any
/// comes again.
pub(super) fn faulty(seed: u64, count: usize) -> Vec<Value> {
    let mut dice = StdRng::seed_from_u64(seed ^ 0x0072_6571_7565_7374);
    let mut tags: Vec<Vec<&str>> = vec![Vec::new(); count];
    for (kinds, share) in LISTS {
        let mut places: Vec<usize> = (0..count).collect();
        places.shuffle(&mut dice);
        places.truncate(count * share / 100);
        for hands in places.chunks(kinds.len()) {
            let mut deck = kinds.to_vec();
            deck.shuffle(&mut dice);
            for (place, kind) in hands.iter().zip(deck) {
                tags[*place].push(kind);
            }
        }
    }
    let requests = tags.iter().enumerate();
    let request = |(n, tags): (usize, &Vec<&str>)| request(&mut dice, n, &tags.join(","));
    requests.map(request).collect()
}

fn request(dice: &mut StdRng, n: usize, tags: &str) -> Value {
    match n % 5 {
        0 | 2 => video(tags),
        4 => image(tags, dice.random_range(1..=4)),
        _ => legacy_video(tags),
    }
}

/// Every kind of every list.
pub(super) fn kinds() -> impl Iterator<Item = &'static str> {
    LISTS.into_iter().flat_map(|(kinds, _)| kinds).copied()
}

/// Everything above is tried until Kling has made it, once; only a `fail` keeps it from success.
pub(super) fn not_as_asked(
    asked: &[(TaskId, Value)],
    ended: &HashMap<TaskId, Task>,
    stats: &SimStats,
) -> Vec<String> {
    let mut breaches = Vec::new();
    if stats.creates.accepted != asked.len() as u64 {
        let (made, asked) = (stats.creates.accepted, asked.len());
        breaches.push(format!(
            "{asked} were asked for, and the platform made {made}"
        ));
    }
    for (id, request) in asked {
        let prompt = request["prompt"].as_str().expect("a prompt");
        let wanted = match prompt.contains("fail=") {
            true => Status::Failed,
            false => Status::Succeeded,
        };
        let (status, error) = (ended[id].status, &ended[id].error);
        if status != wanted {
            breaches.push(format!("{id} is {status:?}, {error:?}: {prompt}"));
        }
    }
    breaches
}

fn image(tags: &str, n: u32) -> Value {
    // The number of outputs is the request's own here.
    let tags: Vec<&str> = tags
        .split(',')
        .filter(|tag| !tag.starts_with("outputs"))
        .collect();
    let prompt = match tags.join(",").as_str() {
        "" => "A folding chair".to_owned(),
        tags => format!("A folding chair [sim:{tags}]"),
    };
    json!({ "product": "image-generation", "model": "kling-v3", "prompt": prompt,
        "parameters": { "n": n } })
}
