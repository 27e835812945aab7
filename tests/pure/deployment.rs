//! The examples in `deploy/` against what they must fit.

use std::collections::BTreeSet;

use kling_relay::edge::nats::topology::{Consumer, LOG};

const SERVER: &str = include_str!("../../deploy/nats/nats-server.conf");
const PYTHON: &str = include_str!("../../deploy/examples/replays.py");
const JAVASCRIPT: &str = include_str!("../../deploy/examples/replays.mjs");

/// Returns the subjects of the first list of that name, which is what services may publish.
fn subjects(name: &str) -> BTreeSet<&'static str> {
    let list = SERVER.split(&format!("{name}: [")).nth(1).unwrap();
    let list = list.split(']').next().unwrap();
    list.split('"').skip(1).step_by(2).collect()
}

#[test]
fn services_may_not_touch_the_consumers_of_stages() {
    let stages = Consumer::ALL.iter().filter(|own| own.stream() == LOG);
    let wanted: BTreeSet<String> = stages
        .flat_map(|stage| {
            let stage = stage.name();
            [
                format!("$JS.API.CONSUMER.CREATE.KLING.{stage}"),
                format!("$JS.API.CONSUMER.CREATE.KLING.{stage}.>"),
                format!("$JS.API.CONSUMER.DURABLE.CREATE.KLING.{stage}"),
                format!("$JS.API.CONSUMER.MSG.NEXT.KLING.{stage}"),
                format!("$JS.ACK.KLING.{stage}.>"),
            ]
        })
        .collect();
    let denied: BTreeSet<String> = subjects("deny").iter().map(ToString::to_string).collect();
    assert_eq!(denied, wanted);
    // The other streams are closed to them altogether.
    for subject in subjects("allow") {
        let of_stream = subject.starts_with("$JS.") && subject != "$JS.API.INFO";
        let names = subject == "$JS.API.STREAM.NAMES";
        let log_only = subject.split('.').any(|token| token == LOG);
        assert!(!of_stream || names || log_only, "{subject}");
    }
}

#[test]
fn the_examples_read_replays_under_the_name_that_is_permitted() {
    for call in ["CREATE", "INFO", "MSG.NEXT"] {
        let permitted = format!("$JS.API.CONSUMER.{call}.KLING_REPLAY.billing-replays");
        assert!(SERVER.contains(&permitted), "{call}");
    }
    assert!(PYTHON.contains(r#"durable=f"{name}-replays""#));
    assert!(JAVASCRIPT.contains("const durable = `${name}-replays`;"));
}
