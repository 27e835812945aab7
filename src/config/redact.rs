//! How secrets are written: as `[redacted]`, which reads back as text. What stands before the
//! colon of `id:secret` and `tenant:key` is no secret and stays.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Serializer;

use super::sections::Nats;

/// Stands where a secret was.
pub(super) const REDACTED: &str = "[redacted]";

/// Writes one optional secret.
pub(super) fn one<S: Serializer>(secret: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(_) => to.serialize_some(REDACTED),
        None => to.serialize_none(),
    }
}

/// Writes a list of secrets.
pub(super) fn all<S: Serializer>(secrets: &[SecretString], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(secrets.iter().map(|_| REDACTED))
}

/// Writes a list of `name:secret`, with the names.
pub(super) fn named<S: Serializer>(secrets: &[SecretString], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(
        secrets
            .iter()
            .map(|s| match s.expose_secret().split_once(':') {
                Some((name, _)) => format!("{name}:{REDACTED}"),
                None => REDACTED.to_owned(),
            }),
    )
}

/// Writes the names of a table whose values may be secrets.
pub(super) fn values<S: Serializer>(
    secrets: &BTreeMap<String, SecretString>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_map(secrets.keys().map(|name| (name, REDACTED)))
}

/// Writes broker addresses without the credentials that may stand in them.
pub(super) fn address<S: Serializer>(urls: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
    match urls {
        Some(urls) => to.serialize_some(&without_credentials(urls)),
        None => to.serialize_none(),
    }
}

fn without_credentials(urls: &str) -> String {
    let one = |url: &str| match url.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            let mark = if scheme.is_empty() { "" } else { "://" };
            format!("{scheme}{mark}{REDACTED}@{host}")
        }
        None => url.to_owned(),
    };
    urls.split(',').map(one).collect::<Vec<_>>().join(",")
}

/// Prints as it is written, so that credentials in the address do not show.
impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        write!(f, "Nats({written})")
    }
}
