//! Commands without a service: configuration, schemas, help, and helpful failures.

use std::process::Stdio;

use tokio::net::TcpListener;

use super::{Place, Said, WITHIN};
use crate::broker::signal;

const LATER: &[&[&str]] = &[&["doctor"], &["smoke"]];

#[test]
fn what_comes_later_says_so() {
    let place = Place::new();
    for arguments in LATER {
        let said = place.run(arguments);
        said.is(2, "not-implemented");
        assert_eq!(said.stdout, "");
    }
    assert!(!place.data_dir().exists(), "nothing was begun");
}

#[test]
fn wrong_usage_and_configuration_exit_with_two() {
    let place = Place::new();
    place.run(&["submitt"]).is(2, "submit");
    place.run(&["submit", "--prompt"]).is(2, "--prompt");
    place.run(&[]).is(2, "Usage");
    let typo = place.file("typo.toml", "[kling]\napi_keyy = \"x\"\n");
    place.run(&["config", "--config", &typo]).is(2, "api_keyy");
    place
        .run(&["--config", "nowhere.toml", "config"])
        .is(2, "nowhere.toml");
    let bad = place.file("bad.toml", "[reconciler]\nsweep_every = \"soon\"\n");
    place
        .run(&["config", "--config", &bad])
        .is(2, "sweep_every");
    let said: Said = place
        .command(&["config"])
        .env("KLING_RELAY_NATS__URLL", "nats://x")
        .output()
        .unwrap()
        .into();
    said.is(2, "urll");
    place.run(&["serve"]).is(2, "receiver.public_url");
}

#[test]
fn config_is_printed_without_secrets() {
    let place = Place::new();
    let file = place.file(
        "relay.toml",
        "[kling]\napi_key = \"very-secret\"\n[api]\nkeys = [\"acme:another-secret-0123456789\"]\n",
    );
    let text = place.run(&["config", "--config", &file]);
    text.is(0, "[kling]");
    let json = place.run(&["config", "--config", &file, "--json"]);
    assert_eq!(json.json()["reconciler"]["sweep_every"], "30s", "{json:?}");
    for said in [text, json] {
        assert!(!said.stdout.contains("very-secret"), "{said:?}");
        assert!(!said.stdout.contains("another-secret"), "{said:?}");
        assert_eq!(said.stderr, "");
    }
}

#[test]
fn schemas_are_written() {
    let place = Place::new();
    let said = place.run(&["schemas", "out", "--json"]);
    let names = said.json();
    let names = names.as_array().unwrap();
    assert!(names.iter().any(|name| name == "event.requested.json"));
    for name in names {
        let path = place.dir.path().join("out").join(name.as_str().unwrap());
        let schema: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
    }
}

/// A command that needs the service says what to start; none leaves a broker behind.
#[test]
fn without_a_service_commands_say_what_to_start() {
    let place = Place::new();
    let task = "dev_0000000000000000000000000a";
    let commands: [&[&str]; 5] = [
        &["submit", "--prompt", "a fox"],
        &["estimate", "--prompt", "a fox", "--json"],
        &["tasks", "list"],
        &["tasks", "list", "--json"],
        &["tasks", "cancel", task],
    ];
    for arguments in commands {
        let said = place.run(arguments);
        said.is(1, "kling-relay dev");
        assert_eq!(said.stdout, "", "{said:?}");
        assert!(!place.has_broker());
    }
    for arguments in [["tasks", "show", task], ["tasks", "watch", task]] {
        place.run(&arguments).is(1, "there is no task");
        assert!(!place.has_broker());
    }
    let nobody = "x".repeat(65);
    let bad: [(&[&str], &str); 10] = [
        (&["submit", "--label", "x", "--prompt", "a"], "key=value"),
        (&["submit", "--product", "text-to-vid"], "text-to-video"),
        (&["tasks", "show", "nonsense"], "nonsense"),
        (
            &["events", "tail", "--event", "done"],
            "requested, dispatching",
        ),
        (
            &["events", "tail", "--from", "yesterday"],
            "2026-11-21T08:00:00Z",
        ),
        (&["budget", "show", "--day", "monday"], "2026-11-21"),
        (&["budget", "show", "--tenant", "A B"], "a-z"),
        (&["events", "tail", "--label", "x"], "key=value"),
        (
            &["replay", "--consumer", "alerter", "--from-sequence", "1"],
            "takes no replay",
        ),
        (
            &["recover", "--who", &nobody, "--reason", "x"],
            "--who must be one line",
        ),
    ];
    for (arguments, words) in bad {
        place.run(arguments).is(2, words);
    }
    assert!(!place.has_broker());
}

/// An untouched day shows what it will open with; only the running service changes a limit.
#[test]
fn budgets_are_shown_and_not_changed_without_a_service() {
    let place = Place::new();
    let budget = place.run(&["budget", "show", "--json"]);
    assert_eq!(budget.code, 0, "{budget:?}");
    let budget = budget.json();
    assert_eq!(budget["tenant"], "dev");
    assert_eq!(budget["untouched"], true);
    assert_eq!(budget["balance"]["video-unit"]["limit"], "100");
    assert_eq!(budget["used"]["video-unit"], "0");
    place.run(&["budget", "show"]).is(0, "the configuration's");
    let set = |unit, who: &[&str]| {
        let start = ["budget", "set", "--tenant", "dev", "--limit", "1"];
        let rest = ["--reason", "a test", "--unit", unit];
        place.run(&[&start[..], &rest[..], who].concat())
    };
    let who = ["--who", "ada"];
    set("video-unit", &who).is(1, "kling-relay dev");
    set("video", &who).is(2, "video-unit, image-unit");
    set("video-unit", &[]).is(2, "--who");
    assert!(!place.has_broker());
}

/// The help is what a newcomer reads first: each change of it is looked at as a change.
#[test]
fn help_is_as_reviewed() {
    let place = Place::new();
    let mut text = String::new();
    let pages: [&[&str]; 18] = [
        &[],
        &["demo"],
        &["dev"],
        &["serve"],
        &["submit"],
        &["batch"],
        &["estimate"],
        &["tasks"],
        &["tasks", "list"],
        &["events", "tail"],
        &["budget", "show"],
        &["budget", "set"],
        &["usage"],
        &["usage", "report"],
        &["usage", "export"],
        &["usage", "drift"],
        &["reconcile"],
        &["schemas"],
    ];
    for page in pages {
        let mut arguments = page.to_vec();
        arguments.push("--help");
        let said: Said = place
            .command(&arguments)
            .env("COLUMNS", "100")
            .output()
            .unwrap()
            .into();
        assert_eq!(said.code, 0, "{said:?}");
        text.push_str(&format!(
            "$ kling-relay {}\n{}\n",
            arguments.join(" "),
            said.stdout
        ));
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let path = folder.join("help.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        reviewed == text,
        "the help has changed: run with UPDATE_SNAPSHOTS=1, and look at {}",
        path.display()
    );
}

#[tokio::test]
async fn a_stop_before_it_has_started_is_a_clean_end() {
    // A broker that takes the connection and says nothing.
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", broker.local_addr().unwrap());
    let place = Place::new();
    let mut command = place.command(&["serve", "--role", "intake"]);
    command
        .env("KLING_RELAY_NATS__URL", url)
        .env(
            "KLING_RELAY_API__KEYS",
            r#"["acme:a-key-of-acme-0123456789"]"#,
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let child = command.kill_on_drop(true).spawn().unwrap();
    let connected = tokio::time::timeout(WITHIN, broker.accept()).await;
    let _connection = connected.expect("it connects").unwrap();
    signal("-TERM", child.id().expect("it runs"));
    let ended = tokio::time::timeout(WITHIN, child.wait_with_output()).await;
    Said::from(ended.expect("it ends").unwrap()).is(0, "");
}
