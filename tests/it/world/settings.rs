//! A configuration as the file that the real program reads.

use kling_relay::config::Config;
use secrecy::{ExposeSecret, SecretString};

/// The configuration as a file, with the secrets that its own writer leaves out.
pub(crate) fn settings(config: &Config) -> String {
    let mut tree = toml::Table::try_from(config).unwrap();
    let expose = |secrets: &[SecretString]| {
        let texts = secrets
            .iter()
            .map(|secret| secret.expose_secret().to_owned().into());
        toml::Value::Array(texts.collect())
    };
    let mut set = |section: &str, key: &str, value: toml::Value| {
        let section = tree[section].as_table_mut().unwrap();
        section.insert(key.to_owned(), value);
    };
    let api_key = config.kling.api_key.as_ref().unwrap();
    set("kling", "api_key", api_key.expose_secret().into());
    set(
        "receiver",
        "capability_keys",
        expose(&config.receiver.capability_keys),
    );
    set(
        "receiver",
        "webhook_secrets",
        expose(&config.receiver.webhook_secrets),
    );
    set("api", "keys", expose(&config.api.keys));
    toml::to_string(&tree).unwrap()
}
