//! Capability paths: a callback address per task that only this deployment can mint.
//!
//! `<public url>/callbacks/<tenant>/<task>/<key id>.<mac>`, the mac being base64url without padding
//! of HMAC-SHA256 over `v1\n<tenant>\n<task>`. It proves that we made the address, not that Kling
//! called it.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use url::Url;

use crate::model::ids::TaskId;

/// The shortest secret that is accepted, in bytes.
pub const SECRET_MIN_BYTES: usize = 32;

/// A configured capability key that cannot be used. Never holds the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCapabilityKeys {
    /// No key at all: nothing could be minted.
    #[error("there is no capability key")]
    Empty,
    /// One is not `id:secret`.
    #[error("capability key number {number} is not id:secret with an id of [a-z0-9]{{1,16}}")]
    Form {
        /// Its place in the list, from 1.
        number: usize,
    },
    /// One has a secret that could be guessed.
    #[error("capability key number {number} has a secret of fewer than {SECRET_MIN_BYTES} bytes")]
    Short {
        /// Its place in the list, from 1.
        number: usize,
    },
    /// Two have the same id.
    #[error("capability key number {number} repeats the id of an earlier one")]
    Repeated {
        /// Its place in the list, from 1.
        number: usize,
    },
}

/// The keys of a deployment: the first mints, all verify.
#[derive(Clone)]
pub struct CapabilityKeys(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: String,
    secret: SecretString,
}

/// A minted address: whoever knows it can post to it, so it prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct CallbackUrl(String);

impl CallbackUrl {
    /// Returns the address itself, for the body of a create and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the part that proves, to strike it out of what Kling says.
    #[must_use]
    pub(super) fn proof(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Debug for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackUrl(…)")
    }
}

impl CapabilityKeys {
    /// Parses keys of the form `id:secret`.
    ///
    /// # Errors
    /// [`InvalidCapabilityKeys`] for the first that cannot be used.
    pub fn parse(keys: &[SecretString]) -> Result<Self, InvalidCapabilityKeys> {
        let mut seen = BTreeSet::new();
        let mut parsed = Vec::with_capacity(keys.len());
        for (number, key) in (1..).zip(keys) {
            let (id, secret) = key
                .expose_secret()
                .trim()
                .split_once(':')
                .filter(|(id, _)| is_key_id(id))
                .ok_or(InvalidCapabilityKeys::Form { number })?;
            if secret.len() < SECRET_MIN_BYTES {
                return Err(InvalidCapabilityKeys::Short { number });
            }
            if !seen.insert(id.to_owned()) {
                return Err(InvalidCapabilityKeys::Repeated { number });
            }
            parsed.push(Key {
                id: id.to_owned(),
                secret: SecretString::from(secret),
            });
        }
        if parsed.is_empty() {
            return Err(InvalidCapabilityKeys::Empty);
        }
        Ok(Self(parsed))
    }

    /// Mints the address of a task's callbacks under the receiver's public URL.
    #[must_use]
    pub fn mint(&self, public_url: &Url, task: &TaskId) -> CallbackUrl {
        let key = self.0.first().expect("parse refuses an empty list");
        let tenant = task.tenant();
        let base = public_url.as_str().trim_end_matches('/');
        let mac = key.mac(tenant.as_str(), task.as_str());
        CallbackUrl(format!("{base}/callbacks/{tenant}/{task}/{}.{mac}", key.id))
    }

    /// Checks the last three segments of a callback's path. Every wrong input costs what a right
    /// one does: an unknown key id and a task that cannot be still cost a MAC.
    #[must_use]
    pub fn verify(&self, tenant: &str, task: &str, proof: &str) -> Option<TaskId> {
        let (id, mac) = proof.split_once('.').unwrap_or_default();
        let named = self.0.iter().find(|key| key.id == id);
        let key = named
            .or(self.0.first())
            .expect("parse refuses an empty list");
        let equal = key.mac(tenant, task).as_bytes().ct_eq(mac.as_bytes());
        let task = TaskId::parse(task)
            .ok()
            .filter(|task| task.tenant().as_str() == tenant);
        task.filter(|_| named.is_some() && bool::from(equal))
    }
}

/// Shows the ids of the keys and nothing else.
impl fmt::Debug for CapabilityKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.id))
            .finish()
    }
}

impl Key {
    fn mac(&self, tenant: &str, task: &str) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(self.secret.expose_secret().as_bytes())
            .expect("HMAC takes a key of any length")
            .chain_update(b"v1\n")
            .chain_update(tenant)
            .chain_update(b"\n")
            .chain_update(task)
            .finalize();
        URL_SAFE_NO_PAD.encode(mac.into_bytes())
    }
}

fn is_key_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=16).contains(&id.len()) && id.bytes().all(plain)
}
