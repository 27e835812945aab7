//! Every command against a running `dev`: what a person sees, what a program reads.

use serde_json::{Value, json};

use super::{Dev, Said, WITHIN};
use crate::broker::until;

fn task_of(said: &Said) -> String {
    said.json()["task_id"].as_str().unwrap().to_owned()
}

/// A day of 40 video units.
async fn dev() -> Dev {
    Dev::start(&[("KLING_RELAY_BUDGET__DAILY_LIMIT", "{ video-unit = \"40\" }")]).await
}

#[tokio::test]
async fn tasks_are_submitted_followed_shown_and_cancelled() {
    let dev = dev().await;
    let good = [
        "submit",
        "--prompt",
        "a fox",
        "--label",
        "colour=red",
        "--wait",
        "--json",
    ];
    let bad = [
        "submit",
        "--prompt",
        "a fox [sim:fail=moderation]",
        "--wait",
    ];
    let (good, bad) = tokio::join!(dev.run(&good), dev.run(&bad));
    good.is(0, "succeeded");
    let task = good.json();
    assert_eq!(
        (&task["status"], &task["labels"]["colour"]),
        (&json!("succeeded"), &json!("red"))
    );
    assert!(task["assets"][0]["sha256"].is_string(), "{task}");
    assert_eq!(good.stderr, "", "nothing but the result");
    let task = task_of(&good);
    bad.is(1, "failed");
    assert!(
        !bad.stdout.contains('\u{1b}'),
        "no colours without a terminal"
    );

    refusals(&dev).await;
    shows(&dev, &task).await;
    filters(&dev, &task).await;
    reuses(&dev, &task).await;
    let budget = dev.run(&["budget", "show", "--json"]).await.json();
    assert_eq!(budget["balance"]["video-unit"]["limit"], "40");
    dev.run(&["budget", "show"]).await.is(0, "REMAINING");
    limits(&dev).await;
    dev.stop().await;
}

/// A limit is changed for a day, and the ledger says by whom and why.
async fn limits(dev: &Dev) {
    let set = async |limit: &str| {
        let arguments = ["budget", "set", "--tenant", "dev", "--unit", "video-unit"];
        let why = [
            "--limit", limit, "--reason", "a launch", "--who", "ada", "--json",
        ];
        dev.run(&[&arguments[..], &why[..]].concat()).await
    };
    let day = set("55.5").await.json();
    assert_eq!(day["balance"]["video-unit"]["limit"], "55.5", "{day}");
    set("-1").await.is(1, "not -1");
    let show = ["budget", "show", "--history", "--json"];
    let shown = dev.run(&show).await.json();
    assert_eq!(shown["remaining"], day["remaining"]);
    let last = shown["history"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["who"], &last["reason"]),
        (&json!("ada"), &json!("a launch"))
    );
    assert_eq!(last["limits"], json!({"video-unit": "55.5"}));
    dev.run(&show[..3]).await.is(0, "55.5 video-unit");
}

/// What the service refuses is told in its words; a repeated key is the same task.
async fn refusals(dev: &Dev) {
    let key = [
        "submit",
        "--prompt",
        "a hare",
        "--not-before",
        "2126-01-01T00:00:00Z",
    ];
    dev.run(&key).await.is(1, "not_before");
    let refused = dev
        .run(&["submit", "--prompt", "a canary", "--duration", "7"])
        .await;
    refused.is(1, "5 or 10");
    assert!(!refused.stderr.contains("canary"));
    let twice = [
        "submit",
        "--prompt",
        "a hare",
        "--idempotency-key",
        "k",
        "--json",
    ];
    let (first, second) = (dev.run(&twice).await, dev.run(&twice).await);
    assert_eq!(task_of(&first), task_of(&second));
}

/// One task in lists and by itself.
async fn shows(dev: &Dev, task: &str) {
    let listed = dev
        .run(&["tasks", "list", "--label", "colour=red", "--json"])
        .await
        .json();
    assert_eq!(listed["tasks"][0]["task_id"], task);
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 1);
    dev.run(&["tasks", "list", "--status", "failed"])
        .await
        .is(0, "STATUS");
    dev.run(&["tasks", "list", "--status", "gone"])
        .await
        .is(2, "requested, dispatching");
    let shown = dev.run(&["tasks", "show", task, "--json"]).await.json();
    let kinds: Vec<&str> = shown["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    for kind in ["requested", "submitted", "succeeded", "stored", "settled"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    dev.run(&["tasks", "show", task]).await.is(0, "settled");
    dev.run(&["tasks", "watch", task]).await.is(0, "succeeded");
    dev.run(&["tasks", "cancel", task])
        .await
        .is(1, "Kling has no cancel");
}

/// The same request again is answered by the first one's result, and everybody says so.
async fn reuses(dev: &Dev, task: &str) {
    let again = ["submit", "--prompt", "a  fox", "--reuse"];
    let said = dev.run(&again).await;
    said.is(0, &format!("answered by {task}, holds nothing"));
    let again = dev.run(&[&again[..], &["--wait"]].concat()).await;
    again.is(0, "(saved ");
    let listed = dev.run(&["tasks", "list", "--limit", "2"]).await;
    listed.is(0, "REUSED FROM");
    listed.is(0, task);
    let estimate = ["estimate", "--prompt", "a fox", "--reuse", "--json"];
    let estimate = dev.run(&estimate).await.json();
    assert_eq!(estimate["total"][0]["amount"], "0", "{estimate}");
}

/// Filters by kind, label, task and time; JSON Lines, and an end.
async fn filters(dev: &Dev, task: &str) {
    let tail = ["events", "tail", "--from", "2026-01-01T00:00:00Z", "--json"];
    let until = now();
    let all = dev
        .run(&[&tail[..], &["--to", &until]].concat())
        .await
        .lines();
    assert!(all.len() > 8, "{}", all.len());
    let stored = [
        &tail[..],
        &["--to", &until, "--event", "stored", "--label", "colour=red"],
    ];
    let stored = dev.run(&stored.concat()).await.lines();
    let of: Vec<&Value> = stored
        .iter()
        .map(|event| &event["data"]["task_id"])
        .collect();
    assert_eq!(of, [&json!(task)]);
    let one = [&tail[..], &["--to", &until, "--task", task]];
    let one = dev.run(&one.concat()).await.lines();
    assert!(one.iter().all(|event| event["data"]["task_id"] == task));
    let other = [&tail[..], &["--to", &until, "--tenant", "nobody"]];
    assert_eq!(dev.run(&other.concat()).await.stdout, "");
}

/// Returns the machine's time, as `date` tells it.
fn now() -> String {
    kling_relay::edge::clock::Clock::system().now().to_string()
}

#[tokio::test]
async fn batches_are_priced_first_and_refused_over_budget() {
    let dev = dev().await;
    let soon = "\"not_before\":\"NOW\"".replace("NOW", &in_an_hour());
    let line = format!("{{\"product\":\"text-to-video\",\"prompt\":\"a fox\",{soon}}}\n");
    let two = dev.place.file("two.jsonl", &line.repeat(2));
    let estimate = dev.run(&["estimate", &two, "--json"]).await.json();
    assert_eq!(estimate["estimates"].as_array().unwrap().len(), 2);
    assert_eq!(estimate["allowed"], true);
    dev.run(&["estimate", "--prompt", "a fox"])
        .await
        .is(0, "1 task: ");

    let only = dev.run(&["batch", &two, "--estimate-only", "--json"]).await;
    assert_eq!((only.code, only.json()), (0, estimate));
    assert_eq!(count(&dev).await, 0, "an estimate submits nothing");
    let many = dev.place.file("many.jsonl", &line.repeat(50));
    over_budget(&dev, &many).await;
    assert_eq!(count(&dev).await, 0);

    let submitted = dev
        .run(&["batch", &two, "--idempotency-key", "k", "--json"])
        .await;
    submitted.is(0, "task_ids");
    assert_eq!(submitted.json()["task_ids"].as_array().unwrap().len(), 2);
    let again = dev
        .run(&["batch", &two, "--idempotency-key", "k", "--json"])
        .await;
    assert_eq!(again.json(), submitted.json());
    let cells = format!(
        "product,prompt,duration,audio,not_before,label:series\n\
         text-to-video,\"a fox, running\",5,false,{0},red\n\
         text-to-video,a hare,10,,{0},blue\n",
        in_an_hour()
    );
    let table = dev.place.file("two.csv", &cells);
    let csv = dev.run(&["batch", &table]).await;
    csv.is(0, "Batch estimate: 2 videos = 4.5 video-unit");
    lists(&dev, &["--label", "series=red"], 1).await;
    let cancelled = csv.stdout.lines().last().unwrap();
    dev.run(&["tasks", "cancel", cancelled])
        .await
        .is(0, "given back");

    // Nothing is dispatched before its time.
    lists(&dev, &["--status", "failed"], 1).await;
    lists(&dev, &["--status", "requested"], 3).await;
    broken(&dev, &line).await;
    dev.stop().await;
}

/// The refusal has the document's three figures, for a person and for a program.
async fn over_budget(dev: &Dev, many: &str) {
    let refused = dev.run(&["batch", many]).await;
    let figures = "Batch estimate: 50 videos x 1.5 video-unit = 75 video-unit\n\
                   Budget remaining: 40 video-unit\n";
    let verdict = "Batch needs 75 video-unit but only 40 video-unit remaining. Reduce to 26 \
                   videos or lower mode.";
    assert_eq!((refused.code, refused.stdout.as_str()), (1, figures));
    assert!(
        refused
            .stderr
            .contains(&format!("{verdict} Nothing was submitted.")),
        "{refused:?}"
    );
    let refused = dev.run(&["batch", many, "--json"]).await;
    let problem = refused.json();
    assert_eq!(
        (refused.code, &problem["code"]),
        (1, &"budget-exceeded".into())
    );
    assert_eq!(
        (&problem["detail"], &problem["fits"]),
        (&verdict.into(), &26.into())
    );
    assert_eq!(problem["needed"][0]["amount"], "75");
    assert_eq!(problem["remaining"][0]["amount"], "40");
    let only = dev.run(&["batch", many, "--estimate-only"]).await;
    assert_eq!(
        (only.code, only.stdout),
        (1, format!("{figures}{verdict}\n"))
    );
    let only = dev.run(&["batch", many, "--estimate-only", "--json"]).await;
    assert_eq!((only.code, &only.json()["fits"]), (1, &26.into()));
    // An estimate tells the same and is no failure.
    dev.run(&["estimate", many])
        .await
        .is(0, "Reduce to 26 videos");
}

#[tokio::test]
async fn advice_is_a_table_and_the_same_as_json() {
    let window = [("KLING_RELAY_DISPATCHER__OFF_PEAK", "22:00-06:00")];
    let dev = Dev::start(&window).await;
    let dear = [
        "--model",
        "kling-3.0",
        "--mode",
        "professional",
        "--duration",
        "10",
    ];
    let one = [&["estimate", "--advise", "--prompt", "a fox"][..], &dear].concat();
    let said = dev.run(&one).await;
    assert_eq!(said.code, 0, "{said:?}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = said.stdout.lines().map(words).collect();
    for line in [
        "1 task: 8 video-unit (kling-3.0, 1080p, 10 s)",
        "STRATEGY CHANGE PRICE SAVING",
        "standard for drafts mode: standard 6 video-unit 2 video-unit (1.33x cheaper, 25 %)",
        "off-peak off_peak: true 8 video-unit none, but faster",
    ] {
        assert!(
            lines.iter().any(|said| said == line),
            "{line:?} is not in {said:?}"
        );
    }
    let json = dev.run(&[&one[..], &["--json"]].concat()).await.json();
    let rows = json["advice"].as_array().unwrap();
    // The two lines of the estimate, its verdict, an empty line and the heading.
    assert_eq!(rows.len(), lines.len() - 5);
    assert_eq!(rows[0]["saving"][0]["times"], "1.33");

    // A file that is asked about in two parts is one file.
    let line = "{\"product\":\"text-to-video\",\"prompt\":\"a fox\",\"mode\":\"pro\"}\n";
    let file = dev.place.file("large.jsonl", &line.repeat(301));
    let said = dev.run(&["estimate", "--advise", &file]).await;
    said.is(0, "301 videos x 2.5 video-unit = 752.5 video-unit");
    said.is(0, "mode: standard (301 of 301 tasks)");
    said.is(0, "the same again (300 of 301 tasks)");
    said.is(0, "Reduce to 40 videos");
    let refused = dev.run(&["batch", &file, "--json"]).await;
    assert_eq!((refused.code, &refused.json()["fits"]), (1, &40.into()));
    let night = dev
        .run(&["estimate", &file, "--off-peak", "--json"])
        .await
        .json();
    assert_eq!(night["estimates"].as_array().unwrap().len(), 301);
    dev.stop().await;
}

/// Files that cannot be read name the line, and quote nothing.
async fn broken(dev: &Dev, line: &str) {
    let broken = dev
        .place
        .file("broken.jsonl", &format!("{line}{{\"product\": 5}}\n"));
    dev.run(&["batch", &broken]).await.is(2, "line 2");
    let typo = dev
        .place
        .file("typo.csv", "product,promt\ntext-to-video,a canary\n");
    let typo = dev.run(&["batch", &typo]).await;
    typo.is(2, "promt");
    assert!(!typo.stderr.contains("canary"));
    dev.run(&["batch", "nowhere.jsonl"])
        .await
        .is(2, "nowhere.jsonl");
    let empty = dev.place.file("empty.jsonl", "\n");
    dev.run(&["batch", &empty]).await.is(2, "no request");
}

/// Waits until the list, which is a moment late, shows so many tasks.
async fn lists(dev: &Dev, flags: &[&str], count: usize) {
    let arguments = [&["tasks", "list", "--json"], flags].concat();
    until("the list shows them", WITHIN, async || {
        let listed = dev.run(&arguments).await.json();
        listed["tasks"].as_array().unwrap().len() == count
    })
    .await;
}

async fn count(dev: &Dev) -> usize {
    let listed = dev.run(&["tasks", "list", "--json"]).await.json();
    listed["tasks"].as_array().unwrap().len()
}

fn in_an_hour() -> String {
    let now = kling_relay::edge::clock::Clock::system().now();
    (now + jiff::SignedDuration::from_hours(1)).to_string()
}

#[tokio::test]
async fn a_large_file_goes_in_several_commits() {
    let limit = [(
        "KLING_RELAY_BUDGET__DAILY_LIMIT",
        // The file costs 451.5: enough once.
        "{ video-unit = \"500\" }",
    )];
    let dev = Dev::start(&limit).await;
    let line = format!(
        "{{\"product\":\"text-to-video\",\"prompt\":\"a fox\",\"not_before\":\"{}\"}}\n",
        in_an_hour()
    );
    let file = dev.place.file("large.jsonl", &line.repeat(301));
    let said = dev.run(&["batch", &file, "--idempotency-key", "k"]).await;
    said.is(0, "301 tasks go in 2 commits of at most 300");
    let ids = |said: &Said| -> Vec<String> {
        let lines = said.stdout.lines().filter(|line| line.starts_with("dev_"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(ids(&said).len(), 301);
    // The same again is paid for already.
    let again = ["batch", &file, "--idempotency-key", "k", "--quiet"];
    let quiet = dev.run(&again).await;
    assert_eq!(quiet.stdout.lines().count(), 301, "{quiet:?}");
    assert_eq!(ids(&quiet), ids(&said));
    let another = dev.run(&["batch", &file, "--idempotency-key", "l"]).await;
    another.is(1, "Nothing was submitted");
    dev.stop().await;
}
