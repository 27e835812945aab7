//! `reconcile` as a person or a script uses it: the real binary beside a running service.

use std::process::Command;

use kling_relay::model::ids::Day;
use kling_relay::model::task::Task;
use serde_json::{Value, json};

use super::image;
use crate::cli::{Place, Said, WITHIN};
use crate::world::{Expected, Options, World, legacy_video, video};

/// The program, pointed at this world.
fn command(world: &World, place: &Place, arguments: &[&str]) -> Command {
    let config = &world.config;
    let mut command = place.command(arguments);
    command
        .env("KLING_RELAY_NATS__URL", config.nats.url.as_ref().unwrap())
        .env(
            "KLING_RELAY_KLING__BASE_URL",
            config.kling.base_url.as_str(),
        )
        .env(
            "KLING_RELAY_KLING__CA_FILE",
            config.kling.ca_file.as_ref().unwrap(),
        )
        .env("KLING_RELAY_KLING__API_KEY", "api-key-kling-simulator")
        .env("KLING_RELAY_RECONCILER__QUERIES_PER_SECOND", "100");
    command
}

async fn said(world: &World, place: &Place, arguments: &[&str]) -> Said {
    let mut command = tokio::process::Command::from(command(world, place, arguments));
    let output = tokio::time::timeout(WITHIN, command.output()).await;
    output.expect("it ends").unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_exits_with_one_until_the_books_agree() {
    let world = World::start(Options::default()).await;
    let requests = [
        video(""),
        legacy_video("billing=mixed:0.5"),
        image(),
        video("record=amount:7"),
        video("record=cash"),
    ];
    let ids = world.submit_all(&requests).await;
    let tasks: Vec<Task> = world.finished(&ids).await.into_values().collect();
    let days: std::collections::BTreeSet<Day> = tasks.iter().map(|task| task.relay.day).collect();
    let [from, to] = [days.first(), days.last()].map(|day| day.unwrap().to_string());
    let place = Place::new();
    let range = ["reconcile", "--from", &from, "--to", &to, "--lag", "0s"];
    let run = async |more: &[&str]| said(&world, &place, &[&range[..], more].concat()).await;

    let text = run(&[]).await;
    text.is(1, "2 tasks DIFFER");
    for words in [
        ids[3].as_str(),
        "TASK BILLING",
        "different",
        "--post --reason",
    ] {
        text.is(1, words);
    }
    let dry = run(&["--json"]).await;
    assert_eq!(dry.code, 1, "{dry:?}");
    let dry = dry.json();
    assert_eq!(dry["counts"], json!({ "match": 3, "different": 2 }));
    assert_eq!(dry["totals"]["USD"]["records"], "0.35");
    let of = |report: &Value, id: &str| {
        let findings = report["findings"].as_array().unwrap().clone();
        findings
            .into_iter()
            .find(|finding| finding["task_id"] == id)
    };
    let found = of(&dry, ids[3].as_str()).unwrap();
    assert_eq!(
        found["changes"],
        json!([{ "unit": "video-unit", "from": "1.5", "to": "7" }])
    );
    run(&["--tenant", "zeta"]).await.is(0, "the books agree");

    let post = ["--post", "--who", "ada", "--reason", "Kling's records"];
    let posted = run(&[&post[..], &["--json"]].concat()).await;
    assert_eq!(posted.code, 0, "{posted:?}");
    assert_eq!(
        posted.json()["adjusted"],
        json!({ "posted": 2, "already": 0 })
    );
    run(&post).await.is(0, "the books agree");
    let clean = run(&["--json"]).await;
    assert_eq!(clean.code, 0, "{clean:?}");
    assert_eq!(clean.json()["counts"], json!({ "match": 5 }));
    usage(&world, &place).await;
    world.stop(Expected::default()).await;
}

/// Slips are told before anybody is asked.
async fn usage(world: &World, place: &Place) {
    let wrong: [(&[&str], &str); 7] = [
        (&["--from", "yesterday"], "--from"),
        (
            &["--from", "2026-11-21", "--to", "2026-11-20"],
            "lies before",
        ),
        (&["--from", "2020-01-01", "--to", "2026-11-20"], "400 days"),
        (&["--to", "2026-11-20"], "--from"),
        (&["--tenant", "A B"], "tenant"),
        (&["--lag", "soon"], "--lag"),
        (&["--post", "--who", "ada"], "--reason"),
    ];
    for (arguments, words) in wrong {
        let arguments = [&["reconcile"], arguments].concat();
        said(world, place, &arguments).await.is(2, words);
    }
    let nobody = place.run(&["reconcile", "--from", "2026-11-21"]);
    nobody.is(2, "kling.api_key");
}
