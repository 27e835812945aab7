//! The configuration: layers, secrets from files, every problem told at once, nothing leaked.

mod prompt;
mod rules;

use std::collections::BTreeSet;
use std::path::Path;

use kling_relay::config::{Config, ConfigError, Role, Unsigned};
use secrecy::ExposeSecret;
use serde_json::Value;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kling-relay.toml");

fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().expect("a folder can be made");
    let file = dir.path().join("relay.toml");
    std::fs::write(&file, toml).expect("the file can be written");
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(&file), environment)
}

fn from_env(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    load("", environment)
}

/// Everything that `serve` needs, in the least form.
const SERVE: &str = r#"
    [kling]
    api_key = "k-1"
    [receiver]
    public_url = "https://relay.example.com"
    capability_keys = ["a:0123456789abcdef0123456789abcdef"]
    [receiver.tls]
    cert_file = "cert.pem"
    key_file = "key.pem"
    [api]
    keys = ["acme:k-acme"]
"#;

fn as_json(config: &Config) -> Value {
    serde_json::to_value(config).expect("it can be written")
}

/// Checks that loading and checking such a file names each of these, and nothing of `hidden`.
#[track_caller]
fn refuses(toml: &str, environment: &[(&str, &str)], named: &[&str], hidden: &[&str]) {
    let error = load(toml, environment)
        .and_then(|config| config.check_serve(&Role::ALL))
        .expect_err("this configuration has a problem");
    let text = format!("{error} {error:?}");
    for part in named {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    for part in hidden {
        assert!(!text.contains(part), "{part:?} leaks in: {text}");
    }
}

fn merge(base: &str, over: &str) -> String {
    let mut base: toml::Table = toml::from_str(base).expect("the test wrote TOML");
    merge_tables(
        &mut base,
        toml::from_str(over).expect("the test wrote TOML"),
    );
    base.to_string()
}

fn merge_tables(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(over)) => {
                merge_tables(below, over)
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[test]
fn the_example_is_the_default() {
    let example = Config::load(Some(Path::new(EXAMPLE)), std::iter::empty()).unwrap();
    assert_eq!(as_json(&example), as_json(&Config::default()));
    example.check().unwrap();
}

#[test]
fn the_example_has_every_key_and_its_optional_ones_are_valid() {
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| {
            let key = line
                .strip_prefix('#')
                .filter(|rest| rest.starts_with(char::is_alphabetic));
            key.unwrap_or(line).to_owned() + "\n"
        })
        .collect();
    let tree: Value =
        serde_json::to_value(toml::from_str::<toml::Table>(&uncommented).unwrap()).unwrap();
    let (mut wanted, mut found) = (BTreeSet::new(), BTreeSet::new());
    keys_of(&as_json(&Config::default()), "", &mut wanted);
    keys_of(&tree, "", &mut found);
    let missing: Vec<_> = wanted.difference(&found).collect();
    assert!(missing.is_empty(), "not in the example: {missing:?}");
    load(&uncommented, &[]).unwrap();
}

fn keys_of(value: &Value, above: &str, keys: &mut BTreeSet<String>) {
    if let Value::Object(table) = value {
        for (name, value) in table {
            let key = format!("{above}.{name}");
            keys_of(value, &key, keys);
            keys.insert(key);
        }
    }
}

#[test]
fn no_file_is_the_default() {
    let config = Config::load(None, std::iter::empty()).unwrap();
    assert_eq!(as_json(&config), as_json(&Config::default()));
}

#[test]
fn environment_goes_over_the_file() {
    let file = "data_dir = \"/file\"\n[kling]\nmax_concurrent = 3\nconcurrency = { a = 1, b = 2 }";
    let config = load(
        file,
        &[
            ("KLING_RELAY_DATA_DIR", "/env"),
            ("KLING_RELAY_ENVIRONMENT", "staging"),
            ("KLING_RELAY_KLING__MAX_CONCURRENT", "9"),
            ("KLING_RELAY_KLING__CONCURRENCY", "{ \"kling-v2-6\" = 4 }"),
            ("KLING_RELAY_KLING__CONCURRENCY__X", "7"),
            ("KLING_RELAY_STORAGE__ALLOW_PRIVATE", "true"),
            ("KLING_RELAY_RECEIVER__LIMITS__HEADER_TIMEOUT", "3s"),
            ("KLING_RELAY_RECEIVER__UNSIGNED", "accept"),
            ("KLING_RELAY_BUDGET__DAILY_LIMIT", "12.50"),
            ("KLING_RELAY_BUDGET__ALERT_THRESHOLD", "[0.5, 0.9]"),
        ],
    )
    .unwrap();
    assert_eq!(config.data_dir, Path::new("/env"));
    assert_eq!(config.environment, "staging");
    assert_eq!(config.kling.max_concurrent, 9);
    let slots: Vec<_> = config.kling.concurrency.iter().collect();
    assert_eq!(
        slots,
        [(&"kling-v2-6".to_owned(), &4), (&"x".to_owned(), &7)]
    );
    assert!(config.storage.allow_private);
    assert_eq!(config.receiver.limits.header_timeout.as_secs(), 3);
    assert_eq!(config.receiver.unsigned, Unsigned::Accept);
    let budget = as_json(&config)["budget"].clone();
    assert_eq!(budget["daily_limit"], "12.50");
    assert_eq!(budget["alert_threshold"], serde_json::json!(["0.5", "0.9"]));
}

#[test]
fn names_that_are_not_ours_mean_nothing() {
    let foreign = [
        ("KLING_RELAY_SERVICE_HOST", "10.0.0.1"),
        ("KLING_RELAY_PORT_8443_TCP_ADDR", "10.0.0.1"),
        ("KLING_RELAY_PORT", "tcp://10.0.0.1:8443"),
        ("KLING_RELAYS__X", "1"),
        ("OTHER__KLING", "[broken"),
    ];
    let config = from_env(&foreign).unwrap();
    assert_eq!(as_json(&config), as_json(&Config::default()));
}

#[test]
fn a_key_made_of_digits_stays_text() {
    let config = from_env(&[
        ("KLING_RELAY_KLING__API_KEY", "0012345678901234567890"),
        ("KLING_RELAY_API__KEYS", "[\"acme:007\", \"acme:true\"]"),
    ])
    .unwrap();
    assert_eq!(
        config.kling.api_key.unwrap().expose_secret(),
        "0012345678901234567890"
    );
    let keys: Vec<_> = config
        .api
        .keys
        .iter()
        .map(|key| key.expose_secret())
        .collect();
    assert_eq!(keys, ["acme:007", "acme:true"]);
}

#[test]
fn secrets_come_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let api_key = path("api-key", "k-from-file\n");
    let keys = path("keys", "acme:one\r\n\n  beta:two  \n");
    let option = path("option", "{\n \"json\": 1\n}\n");
    let file = format!(
        "[kling]\napi_key_file = {api_key:?}\n[storage.options]\nservice_account_key_file = \
         {option:?}\nweb_identity_token_file = \"/var/run/token\""
    );
    let config = load(&file, &[("KLING_RELAY_API__KEYS_FILE", &keys)]).unwrap();
    assert_eq!(config.kling.api_key.unwrap().expose_secret(), "k-from-file");
    let keys: Vec<_> = config
        .api
        .keys
        .iter()
        .map(|key| key.expose_secret())
        .collect();
    assert_eq!(keys, ["acme:one", "beta:two"]);
    let options = &config.storage.options;
    assert_eq!(
        options["service_account_key"].expose_secret(),
        "{\n \"json\": 1\n}"
    );
    assert_eq!(
        options["web_identity_token_file"].expose_secret(),
        "/var/run/token"
    );
    // The environment's key replaces the file's key file.
    let config = load(&file, &[("KLING_RELAY_KLING__API_KEY", "k-env")]).unwrap();
    assert_eq!(config.kling.api_key.unwrap().expose_secret(), "k-env");
    // Both at one level is a question, not an order.
    refuses(
        "[kling]\napi_key = \"S3CRET\"\napi_key_file = \"x\"",
        &[],
        &["not both"],
        &["S3CRET"],
    );
    let both = [
        ("KLING_RELAY_KLING__API_KEY", "S3CRET"),
        ("KLING_RELAY_KLING__API_KEY_FILE", &api_key),
    ];
    refuses(
        "",
        &both,
        &["KLING_RELAY_KLING__API_KEY_FILE", "not both"],
        &["S3CRET"],
    );
    refuses(
        "[kling]\napi_key_file = \"/no/such\"",
        &[],
        &["kling.api_key_file", "/no/such"],
        &[],
    );
    let two = path("two", "a\nb\n");
    refuses(
        "",
        &[("KLING_RELAY_KLING__API_KEY_FILE", &two)],
        &["more than one line"],
        &[],
    );
}

#[test]
fn unknown_keys_are_named_and_their_values_are_not() {
    refuses(
        "[kling]\napi_kye = \"S3CRET\"",
        &[],
        &["kling.api_kye", "api_key"],
        &["S3CRET"],
    );
    refuses("S3 = 1", &[], &["S3", "no such key"], &[]);
    refuses("[receiver.tsl]\nx = 1", &[], &["receiver.tsl"], &[]);
    refuses(
        "[receiver.tls]\ncert = \"a\"",
        &[],
        &["receiver.tls.cert"],
        &[],
    );
    refuses(
        "",
        &[("KLING_RELAY_KLING__APIKEY", "S3CRET")],
        &["kling.apikey"],
        &["S3CRET"],
    );
    let named = ["KLING_RELAY_KLING__APIKEY"];
    refuses(
        "",
        &[("KLING_RELAY_KLING__APIKEY", "S3CRET")],
        &named,
        &["S3CRET"],
    );
    refuses("", &[("KLING_RELAY_DATA_DIR__X", "1")], &["data_dir"], &[]);
}

#[test]
fn every_wrong_value_is_named_at_once_and_no_secret_is_shown() {
    let file = r#"
        data_dir = 5
        [nats]
        listen = "here"
        replicas = "many"
        commit_timeout = "30"
        url = "nats://me:S3CRET@host:4222"
        [kling]
        base_url = "//me:S3CRET@nowhere"
        api_key = 9182736455
        concurrency = { a = "x" }
        [receiver]
        unsigned = "maybe"
        capability_keys = "a:S3CRET"
        [receiver.limits]
        connections_max = -1
        [api]
        keys = ["acme:S3CRET", 9182736455]
        tls = "none"
        [storage]
        allow_private = "perhaps"
        options = "S3CRET"
        [budget]
        daily_limit = "lots"
    "#;
    let named = [
        "data_dir",
        "nats.listen",
        "nats.replicas",
        "nats.commit_timeout",
        "kling.base_url",
        "kling.api_key",
        "kling.concurrency.a",
        "receiver.unsigned",
        "receiver.capability_keys",
        "receiver.limits.connections_max",
        "api.keys",
        "api.tls",
        "storage.allow_private",
        "storage.options",
        "budget.daily_limit",
        "KLING_RELAY_RUNNER__ACK_WAIT",
        "\"many\"",
        "\"confirm\", \"accept\" or \"reject\"",
    ];
    let environment = [("KLING_RELAY_RUNNER__ACK_WAIT", "soon")];
    refuses(file, &environment, &named, &["S3CRET", "9182736455"]);
}

#[test]
fn a_broken_file_is_named_with_its_line_and_without_its_text() {
    let file = "[kling]\nmax_concurrent = 5\napi_key = \"S3CRET\n";
    refuses(file, &[], &["relay.toml, line 3"], &["S3CRET"]);
    refuses(
        "",
        &[("KLING_RELAY_API__KEYS", "[\"acme:S3CRET")],
        &["API__KEYS"],
        &["S3CRET"],
    );
    let error = Config::load(Some(Path::new("/no/such.toml")), std::iter::empty()).unwrap_err();
    assert!(
        error.to_string().contains("/no/such.toml: cannot be read"),
        "{error}"
    );
}

#[test]
fn effective_configuration_reads_back_without_secrets() {
    let secrets = r#"
        [nats]
        url = "nats://me:S3CRET@one:4222,nats://two:4222"
        [receiver]
        webhook_secrets = ["whsec_S3CRETS3"]
        [api]
        operator_keys = ["S3CRET"]
        [storage.options]
        token = "S3CRET"
        [budget]
        daily_limit = { video-unit = 10.5 }
        [retention]
        tasks = "36h"
    "#;
    let config = load(&merge(SERVE, secrets), &[]).unwrap();
    let text = config.effective_redacted();
    let debug = format!("{config:?}");
    for secret in ["S3CRET", "k-1", "k-acme", "0123456789abcdef"] {
        assert!(!text.contains(secret), "{secret:?} leaks in {text}");
        assert!(!debug.contains(secret), "{secret:?} leaks in {debug}");
    }
    for shown in [
        "acme:[redacted]",
        "a:[redacted]",
        "nats://[redacted]@one:4222",
        "\"36h\"",
    ] {
        assert!(text.contains(shown), "{shown:?} is not in {text}");
    }
    let again = load(&text, &[]).unwrap();
    assert_eq!(as_json(&again), as_json(&config));
    assert_eq!(again.effective_redacted(), text);
}
