//! Rules for secrets: their forms and their being distinct. No value is ever shown.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use super::Findings;
use crate::config::{Api, Kling, Receiver, Unsigned};
use crate::model::ids::Tenant;

/// Shorter capability secrets could be guessed, bytes.
const CAPABILITY_SECRET_MIN_BYTES: usize = 32;

pub(super) fn credentials(kling: &Kling, found: &mut Findings) {
    found.require_hidden(
        kling.access_key.is_some() == kling.secret_key.is_some(),
        "kling.secret_key",
        "kling.access_key and kling.secret_key belong together: set both or none",
    );
    for (key, secret) in [
        ("kling.api_key", &kling.api_key),
        ("kling.access_key", &kling.access_key),
        ("kling.secret_key", &kling.secret_key),
    ] {
        let fits = secret.as_ref().is_none_or(fits_header);
        found.require_hidden(fits, key, "expected printable characters without spaces");
    }
}

pub(super) fn capability_keys(receiver: &Receiver, found: &mut Findings) {
    let key = "receiver.capability_keys";
    let mut ids = BTreeSet::new();
    for (n, secret) in (1..).zip(&receiver.capability_keys) {
        let Some((id, secret)) = secret.expose_secret().split_once(':') else {
            found.require_hidden(false, key, format!("entry {n}: expected id:secret"));
            continue;
        };
        let id_fits = (1..=16).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let fix = format!("entry {n}: the id takes 1 to 16 characters of a-z and 0-9");
        found.require_hidden(id_fits, key, fix);
        let fix = format!(
            "entry {n}: the secret takes at least {CAPABILITY_SECRET_MIN_BYTES} bytes; \
             `openssl rand -hex 32` makes one"
        );
        found.require_hidden(secret.len() >= CAPABILITY_SECRET_MIN_BYTES, key, fix);
        let fix = format!("entry {n}: the id is used twice; each key needs its own");
        found.require_hidden(ids.insert(id.to_owned()), key, fix);
    }
}

pub(super) fn webhook_secrets(receiver: &Receiver, found: &mut Findings) {
    for (n, secret) in (1..).zip(&receiver.webhook_secrets) {
        let key = secret.expose_secret().strip_prefix("whsec_");
        let fits = key.is_some_and(|key| STANDARD.decode(key).is_ok_and(|key| !key.is_empty()));
        let fix = format!("entry {n}: expected whsec_ and base64, as Kling's console shows it");
        found.require_hidden(fits, "receiver.webhook_secrets", fix);
    }
    found.require(
        receiver.unsigned != Unsigned::Reject || !receiver.webhook_secrets.is_empty(),
        "receiver.unsigned",
        "\"reject\"",
        "without receiver.webhook_secrets every callback would be refused: set them, or \
         \"confirm\"",
    );
}

pub(super) fn api_keys(api: &Api, found: &mut Findings) {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (n, entry) in (1..).zip(&api.keys) {
        let Some((tenant, key)) = entry.expose_secret().split_once(':') else {
            found.require_hidden(false, "api.keys", format!("entry {n}: expected tenant:key"));
            continue;
        };
        let fix = format!("entry {n}: the tenant takes 1 to 24 characters of a-z, 0-9 and '-'");
        found.require_hidden(Tenant::parse(tenant).is_ok(), "api.keys", fix);
        let fix = format!("entry {n}: the key takes printable characters without spaces");
        found.require_hidden(is_token(key), "api.keys", fix);
        let other = owners.insert(key, tenant);
        let fix = format!("entry {n}: this key stands in the list already; it names one tenant");
        found.require_hidden(other.is_none(), "api.keys", fix);
    }
    for (n, key) in (1..).zip(&api.operator_keys) {
        let fix = format!("entry {n}: expected printable characters without spaces");
        found.require_hidden(fits_header(key), "api.operator_keys", fix);
        let fix =
            format!("entry {n}: this key is a tenant's in api.keys; operators need their own");
        let distinct = !owners.contains_key(key.expose_secret());
        found.require_hidden(distinct, "api.operator_keys", fix);
    }
}

pub(super) fn fits_header(secret: &SecretString) -> bool {
    is_token(secret.expose_secret())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}
