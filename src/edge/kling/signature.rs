//! Standard-Webhooks signatures of callbacks: whether Kling sent exactly these bytes, just now.
//!
//! What an unsigned callback is worth is not decided here (`decide::trust`).
//!
//! Source: platform reference 3.3.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// The request's own id.
pub const HEADER_ID: &str = "webhook-id";
/// Unix seconds.
pub const HEADER_TIMESTAMP: &str = "webhook-timestamp";
/// `v1,<base64>` items between spaces.
pub const HEADER_SIGNATURE: &str = "webhook-signature";

/// How far the signed time may be from ours, in seconds, this much included.
pub const TOLERANCE_S: i64 = 300;

/// Signatures of one request that are looked at; a rotation needs two.
const ITEMS_MAX: usize = 16;

/// A configured secret that cannot be used. Never holds the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("webhook secret number {number} is not whsec_ followed by base64")]
pub struct InvalidWebhookSecret {
    /// Its place in the list, from 1.
    pub number: usize,
}

/// What the headers and bytes of a callback prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureVerdict {
    /// Kling sent exactly these bytes, within the tolerance.
    Signed,
    /// There is no signature, or nothing to check one with.
    Unsigned,
    /// There is one, and it does not hold.
    Bad(BadSignature),
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSignature {
    /// Some of the three headers are missing, empty or there twice.
    Headers,
    /// The time is no count of seconds.
    Timestamp,
    /// The signed time is too far from ours: an old request sent again, or a wrong clock.
    Stale,
    /// No signature fits any secret.
    Mismatch,
}

impl BadSignature {
    /// Returns the reason as a word for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            BadSignature::Headers => "headers",
            BadSignature::Timestamp => "timestamp",
            BadSignature::Stale => "stale",
            BadSignature::Mismatch => "mismatch",
        }
    }
}

/// The secrets that sign the account's callbacks: several while one replaces another.
#[derive(Clone, Default)]
pub struct WebhookSecrets(Vec<SecretSlice<u8>>);

impl WebhookSecrets {
    /// Parses secrets as the console shows them, `whsec_<base64>`.
    ///
    /// # Errors
    /// [`InvalidWebhookSecret`] names the first that has another form.
    pub fn parse(secrets: &[SecretString]) -> Result<Self, InvalidWebhookSecret> {
        let parse = |(index, secret): (usize, &SecretString)| {
            let encoded = secret.expose_secret().trim().strip_prefix("whsec_");
            let key = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
            key.filter(|key| !key.is_empty())
                .map(SecretSlice::from)
                .ok_or(InvalidWebhookSecret { number: index + 1 })
        };
        let keys: Result<Vec<_>, _> = secrets.iter().enumerate().map(parse).collect();
        keys.map(Self)
    }

    /// Tells whether signatures cannot be checked at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether a callback's headers ask for a check at all.
    #[must_use]
    pub fn are_asked(&self, headers: &HeaderMap) -> bool {
        let names = [HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE];
        !self.is_empty() && names.iter().any(|name| headers.contains_key(*name))
    }

    /// Checks a callback's headers against its exact bytes. Without secrets everything is unsigned.
    ///
    /// Every signature is compared with every secret, so the time taken says nothing about which
    /// fits.
    #[must_use]
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> SignatureVerdict {
        if !self.are_asked(headers) {
            return SignatureVerdict::Unsigned;
        }
        let names = [HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE];
        let [Some(id), Some(timestamp), Some(signatures)] = names.map(|name| only(headers, name))
        else {
            return SignatureVerdict::Bad(BadSignature::Headers);
        };
        let matches = self.matches(id, timestamp, body, signatures);
        let Some(seconds) = parse_seconds(timestamp) else {
            return SignatureVerdict::Bad(BadSignature::Timestamp);
        };
        if !matches {
            return SignatureVerdict::Bad(BadSignature::Mismatch);
        }
        if (now.as_second() - seconds).abs() > TOLERANCE_S {
            return SignatureVerdict::Bad(BadSignature::Stale);
        }
        SignatureVerdict::Signed
    }

    fn matches(&self, id: &[u8], timestamp: &[u8], body: &[u8], signatures: &[u8]) -> bool {
        let items: Vec<Vec<u8>> = signatures
            .split(|byte| *byte == b' ')
            .filter_map(|item| item.strip_prefix(b"v1,"))
            .take(ITEMS_MAX)
            .filter_map(|item| STANDARD.decode(item).ok())
            .collect();
        let mut found = Choice::from(0);
        for key in &self.0 {
            let expected = Hmac::<Sha256>::new_from_slice(key.expose_secret())
                .expect("HMAC takes a key of any length")
                .chain_update(id)
                .chain_update(b".")
                .chain_update(timestamp)
                .chain_update(b".")
                .chain_update(body)
                .finalize()
                .into_bytes();
            for item in &items {
                found |= item.as_slice().ct_eq(expected.as_slice());
            }
        }
        found.into()
    }
}

/// Shows how many there are and nothing else.
impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookSecrets({})", self.0.len())
    }
}

/// The value of a header that is there once and not empty. Two values could be read differently by
/// two readers, so they count as none.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.as_bytes();
    (values.next().is_none() && !value.is_empty()).then_some(value)
}

/// Digits only, and few enough that milliseconds fit.
fn parse_seconds(value: &[u8]) -> Option<i64> {
    let ok = (1..=12).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    ok.then(|| std::str::from_utf8(value).ok()?.parse().ok())?
}
