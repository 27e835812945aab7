//! Credentials: which one is used, what a token says, when it is signed anew.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use kling_relay::config;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::kling::auth::{Credentials, InvalidCredentials};
use kling_relay::model::task::Generation;
use reqwest::header::HeaderValue;
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::Sha256;

/// Valid base64, to show that it is used as it stands.
const SECRET_KEY: &str = "c2VjcmV0IGtleSBmb3IgdGVzdHM=";

fn configured(api: Option<&str>, access: Option<&str>, secret: Option<&str>) -> config::Kling {
    config::Kling {
        api_key: api.map(SecretString::from),
        access_key: access.map(SecretString::from),
        secret_key: secret.map(SecretString::from),
        ..config::Kling::default()
    }
}

fn pair(clock: &Clock) -> Credentials {
    let kling = configured(None, Some("access"), Some(SECRET_KEY));
    Credentials::from_config(&kling, clock.clone()).unwrap()
}

fn token(header: &HeaderValue) -> String {
    header
        .to_str()
        .unwrap()
        .strip_prefix("Bearer ")
        .unwrap()
        .to_owned()
}

fn claims(header: &HeaderValue) -> Value {
    let token = token(header);
    let decoded = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).unwrap())
        .unwrap();
    serde_json::from_slice(&decoded).unwrap()
}

#[test]
fn an_api_key_is_used_everywhere_and_before_a_pair() {
    let kling = configured(Some(" api-key\n"), Some("access"), Some(SECRET_KEY));
    let credentials = Credentials::from_config(&kling, Clock::system()).unwrap();
    assert_eq!(token(&credentials.header().unwrap()), "api-key");
    assert!(credentials.serve(Generation::New) && credentials.serve(Generation::Legacy));
    assert!(!credentials.can_renew());
}

#[test]
fn a_pair_signs_a_token_for_the_legacy_standard() {
    let clock = Clock::system();
    let credentials = pair(&clock);
    assert!(!credentials.serve(Generation::New) && credentials.serve(Generation::Legacy));
    let before = clock.now().as_second();
    let header = credentials.header().unwrap();
    let token = token(&header);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(SECRET_KEY.as_bytes()).unwrap();
    mac.chain_update(signed)
        .verify_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap())
        .unwrap();
    let decoded = URL_SAFE_NO_PAD
        .decode(signed.split('.').next().unwrap())
        .unwrap();
    let head: Value = serde_json::from_slice(&decoded).unwrap();
    assert_eq!(head, json!({ "typ": "JWT", "alg": "HS256" }));
    let claims = claims(&header);
    let exp = claims["exp"].as_i64().unwrap();
    assert!((before + 1_800..=before + 1_810).contains(&exp));
    assert_eq!(
        claims,
        json!({ "iss": "access", "exp": exp, "nbf": exp - 1_805 })
    );
}

#[test]
fn a_token_is_kept_for_25_minutes() {
    let clock = Clock::system();
    let credentials = pair(&clock);
    let first = credentials.header().unwrap();
    clock.set_offset_ms(24 * 60 * 1_000);
    assert_eq!(credentials.header().unwrap(), first);
    clock.set_offset_ms(26 * 60 * 1_000);
    let second = credentials.header().unwrap();
    assert_ne!(second, first);
    // A clock that was set back makes the token one from the future.
    clock.set_offset_ms(0);
    assert_ne!(credentials.header().unwrap(), second);
}

#[test]
fn a_refused_token_is_signed_anew_once_for_all_who_were_refused() {
    let clock = Clock::system();
    let credentials = pair(&clock);
    let first = credentials.header().unwrap();
    clock.set_offset_ms(60_000);
    credentials.renew(&first);
    let second = credentials.header().unwrap();
    assert_ne!(second, first);
    clock.set_offset_ms(120_000);
    credentials.renew(&first);
    assert_eq!(credentials.header().unwrap(), second);
}

#[test]
fn incomplete_credentials_are_named() {
    let check = |kling: config::Kling, expected: InvalidCredentials| {
        let error = Credentials::from_config(&kling, Clock::system()).unwrap_err();
        assert_eq!(error, expected);
    };
    check(configured(None, None, None), InvalidCredentials::Missing);
    check(
        configured(Some("  "), None, None),
        InvalidCredentials::Missing,
    );
    let missing = "kling.secret_key";
    check(
        configured(None, Some("a"), None),
        InvalidCredentials::Half { missing },
    );
    let missing = "kling.access_key";
    check(
        configured(None, None, Some("s")),
        InvalidCredentials::Half { missing },
    );
    let name = "kling.api_key";
    check(
        configured(Some("a\nb"), None, None),
        InvalidCredentials::Characters { name },
    );
}

#[test]
fn nothing_of_a_credential_is_printed() {
    let clock = Clock::system();
    let credentials = pair(&clock);
    assert_eq!(
        format!("{credentials:?}"),
        "Credentials(access and secret key)"
    );
    assert_eq!(format!("{:?}", credentials.header().unwrap()), "Sensitive");
}
