//! Ten thousand tasks end at once: each callback one to five times, in any order, at two receivers
//! and two completers. Each task completes once, and its money is closed once.
//!
//! The tasks are put where a dispatcher would have left them, through the money writer and the log;
//! the test then says what Kling would say, signed, to both receivers over TLS. Receivers,
//! completers and accountants are real programs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::kling::callback_url::CapabilityKeys;
use kling_relay::edge::nats::topology;
use kling_relay::model::event::EventKind;
use kling_relay::model::ids::{KlingTaskId, TaskId};
use kling_relay::model::ledger::{EntryKind, LedgerOwner};
use kling_relay::telemetry;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rust_decimal::Decimal;
use serde_json::json;
use url::Url;

use super::open_tasks::{accept, submit};
use super::stand::{Parts, Stand};
use super::{announce, seeds, tell};
use crate::broker::until;
use crate::kit::{audit_chain, everything, key};
use crate::world::{SECRET, client_trusting};

const TASKS: usize = 10_000;
const POSTS_AT_ONCE: usize = 64;

/// One callback to be posted, as often as it stands in the storm.
#[derive(Clone)]
struct Post {
    url: String,
    body: String,
}

/// What Kling would say of a task: that it works on it, and that it is done.
fn said(id: &TaskId, kling_id: &str) -> [String; 2] {
    let at = |status: &str| {
        let done = status == "succeeded";
        let billing = json!([{ "charge_type": "unit", "amount": "3", "package_type": "video" }]);
        let output = json!([{ "type": "video", "id": "1",
            "url": "https://v15-kling-fdl.klingai.com/a.mp4", "duration": "5.0" }]);
        let body = json!({ "id": kling_id, "status": status, "message": "",
            "create_time": 1_781_080_778_802_i64, "update_time": 1_781_080_794_151_i64,
            "external_id": id.as_str(), "outputs": if done { output } else { json!(null) },
            "billing": if done { billing } else { json!(null) } });
        body.to_string()
    };
    ["processing", "succeeded"].map(at)
}

async fn post(
    client: &reqwest::Client,
    webhook: &standardwebhooks::Webhook,
    post: &Post,
    n: usize,
) {
    let at = Clock::system().now().as_second();
    let id = format!("storm-{n}");
    let signature = webhook
        .sign(&id, at, post.body.as_bytes())
        .expect("a signature");
    loop {
        let request = client
            .post(&post.url)
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", &signature)
            .body(post.body.clone());
        match request.send().await.map(|answer| answer.status().as_u16()) {
            Ok(200) => return,
            // Kling's own repeat: the receiver had no room at that moment.
            Ok(429 | 503) | Err(_) => Clock::system().sleep(Duration::from_millis(50)).await,
            Ok(status) => panic!("{status} for a good callback"),
        }
    }
}

fn storm(stand: &Stand, tasks: &[(TaskId, KlingTaskId)], dice: &mut StdRng) -> Vec<Post> {
    let config = &stand.programs[0].config;
    let keys = CapabilityKeys::parse(&config.receiver.capability_keys).expect("keys");
    let receivers: Vec<Url> = stand
        .programs
        .iter()
        .map(|program| program.config.receiver.listen.port())
        .map(|port| Url::parse(&format!("https://localhost:{port}")).expect("a URL"))
        .collect();
    let mut posts = Vec::new();
    for (id, kling_id) in tasks {
        for body in said(id, kling_id.as_str()) {
            for _ in 0..dice.random_range(1..=5) {
                let receiver = &receivers[dice.random_range(0..receivers.len())];
                let url = keys.mint(receiver, id).expose().to_owned();
                let body = body.clone();
                posts.push(Post { url, body });
            }
        }
    }
    posts.shuffle(dice);
    posts
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make faults"]
async fn ten_thousand_tasks_complete_once_each_in_a_storm() {
    let seed = seeds()[0];
    announce("storm", seed);
    let parts = Parts {
        programs: 2,
        roles: Some("receiver,completer,accountant"),
        ..Parts::default()
    };
    let mut stand = Stand::prepare(parts).await;
    let now = Clock::system().now();
    let ids = accept(&stand.log, TASKS, now).await;
    let tasks: Vec<_> = ids
        .into_iter()
        .zip(893_605_946_402_811_985_u64..)
        .map(|(id, n)| (id, KlingTaskId::parse(&n.to_string()).expect("an id")))
        .collect();
    submit(&stand.log, tasks.clone(), now).await;
    stand
        .programs
        .iter_mut()
        .for_each(crate::process::Program::start);
    for program in &stand.programs {
        program.serves(program.config.receiver.listen).await;
    }
    let mut dice = StdRng::seed_from_u64(seed);
    let posts = storm(&stand, &tasks, &mut dice);
    let ca_file = stand.programs[0]
        .config
        .kling
        .ca_file
        .as_ref()
        .expect("a CA");
    let client = client_trusting(ca_file);
    let webhook = standardwebhooks::Webhook::new(SECRET).expect("a secret");
    let started = Instant::now();
    futures::stream::iter(posts.iter().enumerate())
        .for_each_concurrent(POSTS_AT_ONCE, async |(n, one)| {
            post(&client, &webhook, one, n).await;
        })
        .await;
    let posted = started.elapsed();
    settled(&stand).await;
    tell(&format!(
        "{} callbacks for {TASKS} tasks: posted in {:.0} s, all settled after {:.0} s",
        posts.len(),
        posted.as_secs_f64(),
        started.elapsed().as_secs_f64()
    ));
    check(&stand).await;
}

async fn settled(stand: &Stand) {
    let video = kling_relay::model::amount::Unit::Video;
    let within = Duration::from_secs(300);
    until("every hold is closed", within, async || {
        let balance = stand.log.balance(&key()).await.ok().flatten();
        balance.is_some_and(|balance| balance[&video].held.is_zero())
    })
    .await;
    // Nobody downloads here, so that consumer keeps what it has.
    for consumer in [
        topology::Consumer::Completer,
        topology::Consumer::Accountant,
    ] {
        until("everything is acknowledged", within, async || {
            stand.log.lag(consumer).await.is_ok_and(|lag| lag == 0)
        })
        .await;
    }
}

async fn check(stand: &Stand) {
    let messages = everything(&stand.log).await;
    assert_eq!(audit_chain(&messages).torn, 0);
    let mut counts: HashMap<EventKind, usize> = HashMap::new();
    let mut of_tasks: HashMap<(TaskId, EventKind), usize> = HashMap::new();
    for (id, kind) in messages.iter().filter_map(|message| message.task_subject()) {
        *counts.entry(kind).or_default() += 1;
        *of_tasks.entry((id, kind)).or_default() += 1;
    }
    assert_eq!(counts[&EventKind::Succeeded], TASKS, "{counts:?}");
    assert_eq!(counts[&EventKind::Settled], TASKS, "{counts:?}");
    assert_eq!(counts.get(&EventKind::Failed), None);
    let repeated: Vec<_> = of_tasks.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "more than once: {repeated:?}");
    assert_eq!(stand.log.letter_count().await.ok(), Some(0), "set aside");
    for program in &stand.programs {
        let share = program.counted(telemetry::TASKS_ENDED).await;
        tell(&format!("one completer completed {share} tasks"));
        assert!(share > 0.0, "a completer did nothing");
    }
    let settlements = messages.iter().filter_map(|message| {
        let key = message.ledger_key()?;
        let entry = message.ledger_entry().ok()?;
        let ours = matches!(key.owner, LedgerOwner::Tenant(_));
        (ours && entry.kind == EntryKind::Settlement).then_some(entry.deducted_change)
    });
    let settlements: Vec<Decimal> = settlements.collect();
    assert_eq!(settlements.len(), TASKS);
    assert_eq!(
        settlements.iter().sum::<Decimal>(),
        Decimal::from(3 * TASKS)
    );
}
