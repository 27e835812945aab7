//! Credentials: an API key for everything, or a JWT signed from an access and secret key for the
//! legacy standard, cached until it is old or Kling refuses it.
//!
//! Source: platform reference 1.2.

use std::fmt;
use std::sync::{Mutex, Once, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::Sha256;

use crate::config;
use crate::edge::clock::Clock;
use crate::model::task::Generation;

/// How long a token is valid, in seconds.
const LIFETIME_S: i64 = 1_800;
/// How far before now a token becomes valid: Kling's clock may be behind ours. Seconds.
const LEEWAY_S: i64 = 5;
/// When a token is signed anew, 5 minutes before its end.
const RENEW_AFTER: SignedDuration = SignedDuration::from_secs(25 * 60);

/// Credentials that cannot be used. Never holds their values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// None is configured.
    #[error("set kling.api_key, or kling.access_key and kling.secret_key")]
    Missing,
    /// One of a pair is configured.
    #[error("kling.access_key and kling.secret_key belong together: {missing} is not set")]
    Half {
        /// The other key's name.
        missing: &'static str,
    },
    /// The value cannot stand in a header.
    #[error("{name} holds characters that a header cannot carry")]
    Characters {
        /// The key's name.
        name: &'static str,
    },
}

/// What proves to Kling who calls.
pub struct Credentials {
    kind: Kind,
    clock: Clock,
}

enum Kind {
    ApiKey(HeaderValue),
    Pair {
        access_key: SecretString,
        key: EncodingKey,
        cached: Mutex<Option<Token>>,
    },
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    signed_at: Timestamp,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    exp: i64,
    nbf: i64,
}

impl Credentials {
    /// Takes the API key if there is one, else the key pair.
    ///
    /// # Errors
    /// [`InvalidCredentials`] when neither is complete.
    pub fn from_config(kling: &config::Kling, clock: Clock) -> Result<Self, InvalidCredentials> {
        let set = |key: &Option<SecretString>| {
            let trimmed = key
                .as_ref()
                .map(|key| key.expose_secret().trim().to_owned());
            trimmed
                .filter(|key| !key.is_empty())
                .map(SecretString::from)
        };
        let pair = (set(&kling.access_key), set(&kling.secret_key));
        let kind = match (set(&kling.api_key), pair) {
            (Some(key), _) => {
                let name = "kling.api_key";
                let header = bearer(key.expose_secret());
                Kind::ApiKey(header.ok_or(InvalidCredentials::Characters { name })?)
            }
            (None, (Some(access_key), Some(secret_key))) => {
                install_provider();
                Kind::Pair {
                    access_key,
                    // The key's own bytes: it is not base64, whatever it looks like.
                    key: EncodingKey::from_secret(secret_key.expose_secret().as_bytes()),
                    cached: Mutex::new(None),
                }
            }
            (None, (Some(_), None)) => {
                let missing = "kling.secret_key";
                return Err(InvalidCredentials::Half { missing });
            }
            (None, (None, Some(_))) => {
                let missing = "kling.access_key";
                return Err(InvalidCredentials::Half { missing });
            }
            (None, (None, None)) => return Err(InvalidCredentials::Missing),
        };
        Ok(Self { kind, clock })
    }

    /// Tells whether the credential is valid on endpoints of that standard.
    #[must_use]
    pub fn serve(&self, generation: Generation) -> bool {
        match (&self.kind, generation) {
            (Kind::ApiKey(_), _) | (Kind::Pair { .. }, Generation::Legacy) => true,
            (Kind::Pair { .. }, Generation::New) => false,
        }
    }

    /// Tells whether signing again can mend a refusal.
    #[must_use]
    pub fn can_renew(&self) -> bool {
        matches!(self.kind, Kind::Pair { .. })
    }

    /// Returns the `Authorization` header for a call now; `None` if no token could be signed.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        let (access_key, key, cached) = match &self.kind {
            Kind::ApiKey(header) => return Some(header.clone()),
            Kind::Pair {
                access_key,
                key,
                cached,
            } => (access_key, key, cached),
        };
        let now = self.clock.now();
        let mut cached = cached.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |token: &&Token| {
            let age = now.duration_since(token.signed_at);
            !age.is_negative() && age < RENEW_AFTER
        };
        if let Some(token) = cached.as_ref().filter(fresh) {
            return Some(token.header.clone());
        }
        let seconds = now.as_second();
        let claims = Claims {
            iss: access_key.expose_secret(),
            exp: seconds + LIFETIME_S,
            nbf: seconds - LEEWAY_S,
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, key).ok()?;
        let header = bearer(&token)?;
        *cached = Some(Token {
            header: header.clone(),
            signed_at: now,
        });
        Some(header)
    }

    /// Forgets the token of a refused call, so that the next call signs anew. A token that another
    /// call has already replaced stays.
    pub fn renew(&self, refused: &HeaderValue) {
        if let Kind::Pair { cached, .. } = &self.kind {
            let mut cached = cached.lock().unwrap_or_else(PoisonError::into_inner);
            if cached.as_ref().is_some_and(|token| token.header == refused) {
                *cached = None;
            }
        }
    }
}

/// Shows the kind and nothing else.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::ApiKey(_) => "Credentials(API key)",
            Kind::Pair { .. } => "Credentials(access and secret key)",
        })
    }
}

fn bearer(secret: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {secret}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Gives `jsonwebtoken` its cryptography, once per process: HMAC-SHA256 and nothing else.
fn install_provider() {
    static ONCE: Once = Once::new();
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| {
            hs256(*algorithm)?;
            Ok(Box::new(Hs256(key.as_bytes().to_vec().into())))
        },
        verifier_factory: |algorithm, key: &DecodingKey| {
            hs256(*algorithm)?;
            Ok(Box::new(Hs256(key.try_get_as_bytes()?.to_vec().into())))
        },
        key_utils: KeyUtils::new_unimplemented(),
    };
    // An error says that a provider is installed already, and any provider signs HS256 the same.
    ONCE.call_once(|| PROVIDER.install_default().unwrap_or_default());
}

fn hs256(algorithm: Algorithm) -> Result<(), JwtError> {
    match algorithm {
        Algorithm::HS256 => Ok(()),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct Hs256(secrecy::SecretSlice<u8>);

impl Hs256 {
    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        Hmac::new_from_slice(self.0.expose_secret())
            .expect("HMAC takes a key of any length")
            .chain_update(message)
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(self.mac(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let verified = self.mac(message).verify_slice(signature);
        verified.map_err(|_| SignatureError::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}
