//! A platform and a service that know each other, before either starts.

use std::collections::BTreeMap;
use std::time::Duration;

use kling_relay::config::{Config, LimitSetting};
use kling_relay::edge::clock::Clock;
use kling_relay::edge::development::Development;
use kling_relay::sim::config::SimTls;
use kling_relay::sim::{SimConfig, Simulator};
use rust_decimal::Decimal;
use secrecy::SecretString;
use url::Url;

use super::{Change, SECRET, TENANTS};
use crate::broker::{self, free_port};

/// Makes a platform and a configuration that know each other; the broker is left to the caller.
pub(crate) async fn stage(
    data_dir: &std::path::Path,
    change: Option<Change<SimConfig>>,
) -> (Simulator, Config) {
    let development = Development::ensure(data_dir, Clock::system().now()).expect("certificates");
    let read = |path| std::fs::read_to_string(path).expect("development files can be read");
    let mut platform = SimConfig {
        tls: Some(SimTls {
            cert_pem: read(&development.cert_file),
            key_pem: read(&development.key_file),
        }),
        webhook_secrets: vec![SECRET.to_owned()],
        callback_ca_pem: Some(read(&development.ca_file)),
        ..SimConfig::default()
    };
    platform.timing.queue_time = Duration::from_millis(20);
    platform.timing.process_time = Duration::from_millis(60);
    platform.timing.spread = Duration::from_millis(60);
    if let Some(change) = change {
        change(&mut platform);
    }
    let api_key = platform.api_keys[0].clone();
    let sim = Simulator::start(platform)
        .await
        .expect("the platform starts");
    let config = service(data_dir, &development, &sim, api_key);
    (sim, config)
}

fn service(
    data_dir: &std::path::Path,
    development: &Development,
    sim: &Simulator,
    api_key: String,
) -> Config {
    let mut config = Config {
        data_dir: data_dir.to_owned(),
        environment: "test".to_owned(),
        nats: broker::config(1),
        ..Config::default()
    };
    let ms = Duration::from_millis;
    config.kling.base_url = Url::parse(&sim.base_url()).expect("a URL");
    config.kling.ca_file = Some(development.ca_file.clone());
    config.kling.api_key = Some(SecretString::from(api_key));
    (config.kling.connect_timeout, config.kling.request_timeout) = (ms(5_000), ms(10_000));
    (
        config.kling.read_backoff_base,
        config.kling.read_backoff_cap,
    ) = (ms(50), ms(500));
    let port = free_port();
    config.receiver.listen = ([127, 0, 0, 1], port).into();
    let public_url = format!("https://localhost:{port}");
    config.receiver.public_url = Some(Url::parse(&public_url).expect("a URL"));
    config.receiver.tls.cert_file = Some(development.cert_file.clone());
    config.receiver.tls.key_file = Some(development.key_file.clone());
    config.receiver.capability_keys = vec![development.capability_key.clone()];
    config.receiver.webhook_secrets = vec![SecretString::from(SECRET)];
    config.api.listen = ([127, 0, 0, 1], 0).into();
    config.admin.listen = ([127, 0, 0, 1], 0).into();
    let keys = TENANTS.map(|name| SecretString::from(format!("{name}:{}", secret_of(name))));
    config.api.keys = keys.to_vec();
    (config.api.rate_limit, config.api.rate_burst) = (1_000, 1_000);
    config.storage.ca_file = Some(development.ca_file.clone());
    config.storage.allow_private = true;
    config.storage.allowed_hosts.push("localhost".to_owned());
    (config.storage.backoff_base, config.storage.backoff_cap) = (ms(50), ms(500));
    let ample = ["video-unit", "image-unit", "try-on-unit"].map(|unit| (unit, 1_000_000));
    let ample = ample.map(|(unit, amount)| (unit.to_owned(), Decimal::from(amount)));
    config.budget.daily_limit = Some(LimitSetting::ByUnit(BTreeMap::from(ample)));
    (
        config.dispatcher.backoff_base,
        config.dispatcher.backoff_cap,
    ) = (ms(50), ms(500));
    config.dispatcher.lookup_delay = ms(300);
    config.dispatcher.circuit_open = ms(500);
    config.reconciler.sweep_every = ms(100);
    config.reconciler.queries_per_second = 100;
    (config.runner.backoff_base, config.runner.backoff_cap) = (ms(50), ms(1_000));
    config.runner.drain_timeout = ms(10_000);
    config
}

/// Shortens the waits that a program under attack would spend its test with.
pub(crate) fn hurry(config: &mut Config) {
    let ms = Duration::from_millis;
    config.nats.commit_timeout = ms(1_000);
    config.kling.max_concurrent = 20;
    (config.kling.connect_timeout, config.kling.request_timeout) = (ms(2_000), ms(2_000));
    config.dispatcher.claim_lease = ms(4_000);
    config.runner.ack_wait = ms(4_000);
    config.reconciler.quiet_after = ms(1_000);
}

/// The secret half of a tenant's API key.
pub(crate) fn secret_of(tenant: &str) -> String {
    format!("{tenant}-0123456789abcdef0123456789abcdef")
}
