//! Requests that ask the platform for faults, chosen by a seed: every kind that it knows.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
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
];

const DOWNLOADS: &[&str] = &[
    "cdn=500x2",
    "cdn=truncatex1",
    "cdn=slow:300ms",
    "outputs=3",
    "outputs=3,cdn=503x1",
];

const ENDS: &[&str] = &["fail=moderation", "fail=input", "slow=1s"];

/// As many requests, each with none to several faults.
pub(super) fn faulty(seed: u64, count: usize) -> Vec<Value> {
    let mut dice = StdRng::seed_from_u64(seed ^ 0x0072_6571_7565_7374);
    (0..count).map(|n| request(&mut dice, n)).collect()
}

fn request(dice: &mut StdRng, n: usize) -> Value {
    let mut tags: Vec<&str> = Vec::new();
    for (kinds, chance) in [
        (CREATES, 0.25),
        (CALLBACKS, 0.4),
        (BILLS, 0.15),
        (DOWNLOADS, 0.15),
        (ENDS, 0.1),
    ] {
        if dice.random_bool(chance) {
            tags.extend(kinds.choose(dice));
        }
    }
    let tags = tags.join(",");
    match n % 5 {
        0 | 2 => video(&tags),
        4 => image(&tags, dice.random_range(1..=4)),
        _ => legacy_video(&tags),
    }
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
