//! Who may call: API keys everywhere, signed tokens on legacy and account endpoints.
//!
//! Source: platform reference 1.2.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::catalogue::Standard;
use super::config::SimConfig;
use super::reply::Refusal;
use super::signature::hmac;

const NO_TOKENS_HERE: &str = "Authentication error. The current API does not support AK/SK; \
    please go to the console (https://kling.ai/dev/api-key) to create API key.";

/// Checks the `Authorization` header; answers the name of the key that was used.
pub(super) fn check(
    config: &SimConfig,
    headers: &HeaderMap,
    standard: Standard,
    now_s: i64,
) -> Result<String, Refusal> {
    let header = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let credential = header.map_or("", |value| value.strip_prefix("Bearer ").unwrap_or(value));
    if credential.trim().is_empty() {
        return Err(Refusal::of(1001));
    }
    if let Some(index) = config.api_keys.iter().position(|key| key == credential) {
        return Ok(format!("key-{}", index + 1));
    }
    if credential.starts_with("api-key-kling-") {
        return Err(Refusal::new(1002, "api key not found"));
    }
    match standard {
        Standard::New => Err(Refusal::new(1002, NO_TOKENS_HERE)),
        Standard::Legacy => token(config, credential, now_s),
    }
}

fn token(config: &SimConfig, token: &str, now_s: i64) -> Result<String, Refusal> {
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts[..] else {
        let parts = if parts.len() == 1 { 0 } else { parts.len() };
        let message = format!("The token was expected to have 3 parts, but got {parts}.");
        return Err(Refusal::new(1002, message));
    };
    let decode = |part: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let invalid = || Refusal::of(1002);
    let header = decode(head).ok_or_else(invalid)?;
    let body = decode(claims).ok_or_else(invalid)?;
    let issuer = body["iss"].as_str().ok_or_else(invalid)?;
    let pair = config
        .access_keys
        .iter()
        .find(|(access, _)| access == issuer);
    let (access, secret) = pair.ok_or_else(|| Refusal::new(1002, "access key not found"))?;
    let expected = hmac(
        secret.as_bytes(),
        &[head.as_bytes(), b".", claims.as_bytes()],
    );
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| invalid())?;
    if header["alg"] != "HS256" || signature != expected {
        return Err(Refusal::new(1002, "Authorization signature is invalid"));
    }
    let (Some(expires), Some(begins)) = (body["exp"].as_i64(), body["nbf"].as_i64()) else {
        return Err(invalid());
    };
    if begins > now_s {
        return Err(Refusal::of(1003));
    }
    if expires <= now_s {
        return Err(Refusal::of(1004));
    }
    Ok(access.clone())
}
