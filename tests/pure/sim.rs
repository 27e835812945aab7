//! The simulator's own rules that need no listener.

use kling_relay::sim::{FaultPlan, SimConfig, sign};

const SECRET: &str = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=";

#[test]
fn signatures_match_the_vendors_vector() {
    let body = concat!(
        r#"{"id":"1234567890","status":"succeeded","message":"","#,
        r#""create_time":1781080778802,"update_time":1781080794151}"#
    )
    .as_bytes();
    assert_eq!(
        sign(SECRET, "9876543210", 1_781_080_794, body).as_deref(),
        Some("v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=")
    );
    assert_eq!(sign("not a secret", "1", 1, body), None);
    assert_eq!(sign("whsec_", "1", 1, body), None);
}

#[test]
fn signatures_match_the_vendors_library() {
    let library = standardwebhooks::Webhook::new(SECRET).unwrap();
    for (id, timestamp, body) in [("1", 1, ""), ("42", 1_800_000_000, "{\"a\":\"ä\"}")] {
        let theirs = library.sign(id, timestamp, body.as_bytes()).unwrap();
        assert_eq!(sign(SECRET, id, timestamp, body.as_bytes()), Some(theirs));
    }
}

fn check(tags: &str, understood: bool) {
    let plan = FaultPlan {
        always: vec![tags.to_owned()],
        ..FaultPlan::default()
    };
    assert_eq!(plan.check().is_ok(), understood, "{tags}");
}

#[test]
fn every_documented_tag_is_understood() {
    let source = include_str!("../../src/sim/faults.rs");
    let rows = source.lines().filter(|line| line.starts_with("//! | `"));
    let tags: Vec<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .collect();
    assert!(tags.len() > 40, "the table was found");
    for tag in tags {
        check(tag, true);
    }
}

#[test]
fn misspelt_tags_are_not() {
    for tags in [
        "callback=dorp",
        "callback=drop@end",
        "callback=delay",
        "callback=delay:soon",
        "create=504-aftr",
        "create=99",
        "create=",
        "cdn=200",
        "outputs=21",
        "slow=3",
        "billing=over",
        "billing=over:much",
        "lookup=lag",
        "unknown=1",
        "unknown",
    ] {
        check(tags, false);
    }
    check("stuck,callback=dorp", false);
}

#[test]
fn a_configuration_is_text_with_units_and_no_unknown_keys() {
    let text = r#"
        listen = "127.0.0.1:9443"
        access_keys = [["ak", "sk"]]
        webhook_secrets = ["whsec_YQ=="]

        [timing]
        queue_time = "2s"

        [callbacks]
        redeliver = ["1s", "5s"]

        [slots]
        video = 20
        pools = { "video:kling-2.6" = 3 }

        [packs]
        video = "12.5"

        [faults]
        hold_callbacks = true
        script = [{ create = 3, tags = "stuck" }]
        random = [{ probability = 0.1, tags = "callback=drop,slow=2s" }]
    "#;
    let config: SimConfig = toml::from_str(text).unwrap();
    assert_eq!(config.timing.queue_time.as_secs(), 2);
    assert_eq!(config.timing.process_time.as_millis(), 300);
    assert_eq!(config.callbacks.redeliver[1].0.as_secs(), 5);
    assert_eq!(config.packs.video.to_string(), "12.5");
    assert_eq!(
        (config.slots.image, config.slots.pools["video:kling-2.6"]),
        (9, 3)
    );
    assert!(config.faults.check().is_ok());
    for wrong in [
        "listne = 1",
        "[timing]\nqueue_time = 2",
        "[faults]\ndrop = true",
    ] {
        assert!(toml::from_str::<SimConfig>(wrong).is_err(), "{wrong}");
    }
}
