//! Signs callbacks by the Standard Webhooks scheme.
//!
//! Source: platform reference 3.3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// HMAC-SHA256 of the concatenated parts.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// The key inside a `whsec_` secret, or nothing when it is not one.
pub(super) fn key(secret: &str) -> Option<Vec<u8>> {
    STANDARD
        .decode(secret.strip_prefix("whsec_")?)
        .ok()
        .filter(|key| !key.is_empty())
}

/// The value of `webhook-signature` for one secret: `v1,` and the base64 of the HMAC over
/// id, timestamp and raw body. `None` when `secret` is no `whsec_` value.
pub fn sign(secret: &str, id: &str, timestamp_s: i64, body: &[u8]) -> Option<String> {
    let key = key(secret)?;
    let timestamp = timestamp_s.to_string();
    let mac = hmac(
        &key,
        &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body],
    );
    Some(format!("v1,{}", STANDARD.encode(mac)))
}
