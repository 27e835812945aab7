//! The rules across keys: each broken alone is named, with its key.

use kling_relay::config::{Config, Role};
use kling_relay::model::request::Purpose;

use super::{SERVE, load, merge, refuses};

/// Checks that exactly one problem is found, with this key, beside what `serve` needs.
#[track_caller]
fn breaks(toml: &str, key: &str) {
    let config = load(&merge(SERVE, toml), &[]).expect("the file can be read");
    let error = config
        .check_serve(&Role::ALL)
        .expect_err("a rule is broken");
    let keys: Vec<&str> = error.problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(keys, [key], "{error}");
}

#[test]
fn what_serve_needs_is_named_at_once() {
    let needed = [
        "receiver.public_url",
        "receiver.tls.cert_file",
        "receiver.tls.key_file",
        "receiver.capability_keys",
        "api.keys",
        "kling.api_key",
    ];
    refuses("", &[], &needed, &[]);
    load(SERVE, &[]).unwrap().check_serve(&Role::ALL).unwrap();
    // A receiver alone needs neither callers' keys nor Kling's.
    let error = Config::default()
        .check_serve(&[Role::Receiver])
        .unwrap_err();
    let keys: Vec<_> = error.problems.iter().map(|p| p.key.as_str()).collect();
    assert!(
        keys.iter().all(|key| key.starts_with("receiver.")),
        "{keys:?}"
    );
    Config::default().check_serve(&[Role::Downloader]).unwrap();
}

#[test]
fn windows_and_purposes_are_read_with_the_file() {
    let window = "[dispatcher]\noff_peak = '22:00'";
    refuses(window, &[], &["dispatcher.off_peak", "22:00-06:00"], &[]);
    let purpose = "[intake]\ndefault_purpose = 'quick'";
    refuses(purpose, &[], &["intake.default_purpose", "draft"], &[]);
    let good = "[dispatcher]\noff_peak = '22:00-06:00'\n[intake]\ndefault_purpose = 'draft'";
    let config = load(good, &[]).unwrap();
    assert_eq!(config.intake.default_purpose, Purpose::Draft);
    assert!(
        config
            .effective_redacted()
            .contains("off_peak = \"22:00-06:00\"")
    );
}

/// A setting, and the key that is named for it.
const BROKEN: &[(&str, &str)] = &[
    ("environment = 'a b'", "environment"),
    (
        "nats = { replicas = 2, url = 'nats://h:4222' }",
        "nats.replicas",
    ),
    ("nats = { replicas = 3 }", "nats.replicas"),
    (
        "budget = { alert_hook = 'http://hooks.example.com/a-canary' }\n\
         storage = { allow_private = true }",
        "budget.alert_hook",
    ),
    (
        "budget = { alert_hook = 'http://127.0.0.1/a-canary' }",
        "budget.alert_hook",
    ),
    (
        "budget = { alert_hook = 'https://me:pw@hooks.example.com/' }",
        "budget.alert_hook",
    ),
    (
        "budget = { alert_hook_timeout = '0s' }",
        "budget.alert_hook_timeout",
    ),
    (
        "budget = { writer = { queue_max = 0 } }",
        "budget.writer.queue_max",
    ),
    (
        "budget = { writer = { fold_messages_max = 1001 } }",
        "budget.writer.fold_messages_max",
    ),
    (
        "budget = { writer = { closing_timeout = '1s' } }",
        "budget.writer.closing_timeout",
    ),
    ("nats = { url = 'host:4222' }", "nats.url"),
    ("nats = { log_max_bytes = 0 }", "nats.log_max_bytes"),
    ("nats = { commit_timeout = '0s' }", "nats.commit_timeout"),
    ("nats = { credentials_file = 'x' }", "nats.credentials_file"),
    (
        "kling = { base_url = 'http://api.example.com' }",
        "kling.base_url",
    ),
    (
        "kling = { base_url = 'http://127.0.0.1:9' }",
        "kling.base_url",
    ),
    (
        "kling = { base_url = 'http://10.0.0.1' }\nstorage = { allow_private = true }",
        "kling.base_url",
    ),
    (
        "kling = { base_url = 'https://api.example.com/v1' }",
        "kling.base_url",
    ),
    ("reuse = { max_age = '0s' }", "reuse.max_age"),
    ("reuse = { max_age = '34d 1h' }", "reuse.max_age"),
    ("reuse = { wait_max = '0s' }", "reuse.wait_max"),
    ("kling = { access_key = 'a' }", "kling.secret_key"),
    ("kling = { api_key = '' }", "kling.api_key"),
    ("kling = { max_concurrent = 0 }", "kling.max_concurrent"),
    (
        "kling = { concurrency = { 'kling-v2-6' = 0 } }",
        "kling.concurrency.kling-v2-6",
    ),
    (
        "receiver = { public_url = 'http://relay.example.com' }",
        "receiver.public_url",
    ),
    (
        "receiver = { public_url = 'https://r.example.com/?a=b' }",
        "receiver.public_url",
    ),
    ("receiver = { unsigned = 'reject' }", "receiver.unsigned"),
    (
        "receiver = { bodies_max_bytes = 1 }",
        "receiver.bodies_max_bytes",
    ),
    (
        "receiver = { body_max_bytes = 1048577 }",
        "receiver.body_max_bytes",
    ),
    (
        "receiver = { store_timeout = '30s' }",
        "receiver.store_timeout",
    ),
    (
        "receiver = { limits = { headers_max_bytes = 100 } }",
        "receiver.limits.headers_max_bytes",
    ),
    (
        "receiver = { limits = { connections_max = 0 } }",
        "receiver.limits.connections_max",
    ),
    (
        "receiver = { limits = { backlog = 0 } }",
        "receiver.limits.backlog",
    ),
    (
        "receiver = { limits = { header_timeout = '31d' } }",
        "receiver.limits.header_timeout",
    ),
    (
        "receiver = { unsigned_body_max_bytes = 1 }",
        "receiver.unsigned_body_max_bytes",
    ),
    (
        "api = { bodies_max_bytes = 67108863 }",
        "api.bodies_max_bytes",
    ),
    ("receiver = { listen = '0.0.0.0:8080' }", "api.listen"),
    ("api = { listen = '0.0.0.0:8080' }", "api.listen"),
    ("api = { tls = { cert_file = 'c' } }", "api.tls.key_file"),
    (
        "admin = { tls = { key_file = 'c' } }",
        "admin.tls.cert_file",
    ),
    ("api = { rate_limit = 0 }", "api.rate_limit"),
    (
        "api = { batch_body_max_bytes = 10 }",
        "api.batch_body_max_bytes",
    ),
    ("storage = { url = 'ftp://x' }", "storage.url"),
    (
        "storage = { url = 's3://key:secret@bucket' }",
        "storage.url",
    ),
    (
        "storage = { allowed_hosts = ['https://x'] }",
        "storage.allowed_hosts",
    ),
    (
        "storage = { spool_max_bytes = 1 }",
        "storage.spool_max_bytes",
    ),
    ("storage = { concurrency = 0 }", "storage.concurrency"),
    (
        "storage = { total_timeout = '1s' }",
        "storage.total_timeout",
    ),
    ("budget = { daily_limit = -1 }", "budget.daily_limit"),
    (
        "budget = { account_daily_limit = \"0.0000000000000000000000000001\" }",
        "budget.account_daily_limit",
    ),
    (
        "budget = { tenants = { acme = 10000000000 } }",
        "budget.tenants.acme",
    ),
    (
        "budget = { daily_limit = { bananas = 1 } }",
        "budget.daily_limit",
    ),
    ("budget = { tenants = { Acme = 1 } }", "budget.tenants.Acme"),
    (
        "budget = { alert_threshold = 80 }",
        "budget.alert_threshold",
    ),
    ("budget = { time_zone = 'Mars/Base' }", "budget.time_zone"),
    ("budget = { day_starts = '25:00' }", "budget.day_starts"),
    ("budget = { day_starts = '7:00' }", "budget.day_starts"),
    (
        "prompt = { negative_prompt = \"a\\nb\" }",
        "prompt.negative_prompt",
    ),
    (
        "prompt = { moderation = { url = 'http://m.example.com' } }",
        "prompt.moderation.url",
    ),
    (
        "prompt = { moderation = { url = 'http://127.0.0.1:9' } }",
        "prompt.moderation.url",
    ),
    (
        "prompt = { moderation = { url = 'https://user:S3CRET@m.example.com' } }",
        "prompt.moderation.url",
    ),
    (
        "prompt = { moderation = { url = 'https://m.example.com/?key=S3CRET' } }",
        "prompt.moderation.url",
    ),
    (
        "prompt = { moderation = { key = 'a b' } }",
        "prompt.moderation.key",
    ),
    (
        "prompt = { moderation = { timeout = '0s' } }",
        "prompt.moderation.timeout",
    ),
    (
        "prompt = { moderation = { url = 'https://m.example.com', timeout = '20s' } }",
        "prompt.moderation.timeout",
    ),
    (
        "prompt = { moderation = { response_max_bytes = 10 } }",
        "prompt.moderation.response_max_bytes",
    ),
    (
        "prompt = { moderation = { concurrency = 0 } }",
        "prompt.moderation.concurrency",
    ),
    (
        "dispatcher = { claim_lease = '33s' }",
        "dispatcher.claim_lease",
    ),
    (
        "dispatcher = { backoff_cap = '10ms' }",
        "dispatcher.backoff_cap",
    ),
    ("runner = { ack_wait = '4s' }", "runner.ack_wait"),
    ("runner = { attempts_max = 0 }", "runner.attempts_max"),
    (
        "reconciler = { stalled_after = '8d' }",
        "reconciler.stalled_after",
    ),
    (
        "reconciler = { queries_per_second = 0 }",
        "reconciler.queries_per_second",
    ),
    ("retention = { tasks = '30d' }", "retention.tasks"),
    ("retention = { ledger = '32d' }", "retention.ledger"),
];

#[test]
fn rules_across_keys() {
    for (setting, key) in BROKEN {
        breaks(setting, key);
    }
}

#[test]
fn rules_for_secrets() {
    let long = "0123456789abcdef0123456789abcdef";
    let keys = |entries: &str| format!("receiver = {{ capability_keys = [{entries}] }}");
    breaks(&keys("'no-colon'"), "receiver.capability_keys");
    breaks(&keys("'a:short'"), "receiver.capability_keys");
    breaks(&keys(&format!("'A:{long}'")), "receiver.capability_keys");
    breaks(
        &keys(&format!("'a:{long}', 'a:{long}x'")),
        "receiver.capability_keys",
    );
    breaks(
        "receiver = { webhook_secrets = ['nope'] }",
        "receiver.webhook_secrets",
    );
    breaks(
        "receiver = { webhook_secrets = ['whsec_%'] }",
        "receiver.webhook_secrets",
    );
    breaks("api = { keys = ['acme'] }", "api.keys");
    breaks("api = { keys = ['_account:k'] }", "api.keys");
    breaks("api = { keys = ['acme:'] }", "api.keys");
    breaks("api = { keys = ['acme:a b'] }", "api.keys");
    breaks("api = { keys = ['acme:k', 'beta:k'] }", "api.keys");
    breaks("api = { operator_keys = ['k-acme'] }", "api.operator_keys");
    let fine = "receiver = { webhook_secrets = ['whsec_dGVzdHNlY3JldA=='], unsigned = 'reject' }\n\
                api = { keys = ['acme:k1', 'acme:k2', 'beta:a:b'] }";
    load(&merge(SERVE, fine), &[])
        .unwrap()
        .check_serve(&Role::ALL)
        .unwrap();
}
