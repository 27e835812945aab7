//! Signature headers: any set of them, over any body, at any time. The verdict is `Signed` only for
//! what a holder of the secret signed, within five minutes.
#![no_main]

use std::sync::LazyLock;

use jiff::Timestamp;
use kling_relay::edge::kling::signature::{
    HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, SignatureVerdict, TOLERANCE_S, WebhookSecrets,
};
use libfuzzer_sys::fuzz_target;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use standardwebhooks::Webhook;

const SECRETS: [&str; 2] = [
    "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=",
    "whsec_b3RoZXJzZWNyZXRvdGhlcnNlY3JldG90aGVyc2VjcmV0",
];
/// Of the official test vector.
const AT: i64 = 1_781_080_794;

static CONFIGURED: LazyLock<WebhookSecrets> = LazyLock::new(|| {
    let secrets = SECRETS.map(SecretString::from);
    WebhookSecrets::parse(&secrets).expect("both are of the documented form")
});

/// What one input stands for: a skew of our clock, lines of headers, an empty line, a body.
struct Request<'a> {
    now: i64,
    headers: HeaderMap,
    body: &'a [u8],
}

fn read(input: &[u8]) -> Option<Request<'_>> {
    let (skew, rest) = input.split_first_chunk::<2>()?;
    let mut headers = HeaderMap::new();
    let mut rest = rest;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_first()?;
        let name = match name {
            b'i' => HEADER_ID,
            b't' => HEADER_TIMESTAMP,
            b's' => HEADER_SIGNATURE,
            _ => "x-other",
        };
        let name = HeaderName::from_static(name);
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    let skew = i64::from(i16::from_be_bytes(*skew));
    Some(Request {
        now: AT + skew,
        headers,
        body: rest,
    })
}

/// Whether a holder of one of the secrets would have sent this: said by the vendor's library.
fn is_genuine(request: &Request<'_>) -> bool {
    let only = |name| {
        let mut values = request.headers.get_all(name).iter();
        let value = values.next()?;
        values.next().is_none().then_some(value.as_bytes())
    };
    let (Some(id), Some(at), Some(signatures)) = (
        only(HEADER_ID),
        only(HEADER_TIMESTAMP),
        only(HEADER_SIGNATURE),
    ) else {
        return false;
    };
    let (Ok(id), Ok(at)) = (std::str::from_utf8(id), std::str::from_utf8(at)) else {
        // The library signs text only; the corpus has no other genuine ones.
        return false;
    };
    let Ok(seconds) = at.parse::<i64>() else {
        return false;
    };
    let signed = SECRETS.iter().any(|secret| {
        let hook = Webhook::new(secret).expect("both are of the documented form");
        let signature = hook.sign(id, seconds, request.body);
        signature.is_ok_and(|signature| {
            signatures
                .split(|byte| *byte == b' ')
                .any(|item| item == signature.as_bytes())
        })
    });
    signed && (request.now - seconds).abs() <= TOLERANCE_S
}

fn check(request: &Request<'_>) -> SignatureVerdict {
    let now = Timestamp::from_second(request.now).expect("a time near the vector's");
    let verdict = CONFIGURED.verify(&request.headers, request.body, now);
    let names = [HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE];
    let unsigned = names
        .iter()
        .all(|name| !request.headers.contains_key(*name));
    match verdict {
        SignatureVerdict::Signed => assert!(is_genuine(request), "a forgery was believed"),
        SignatureVerdict::Unsigned => assert!(unsigned, "a bad signature passed for none"),
        SignatureVerdict::Bad(_) => assert!(!unsigned, "a missing signature passed for a bad one"),
    }
    let without = WebhookSecrets::default().verify(&request.headers, request.body, now);
    assert_eq!(
        without,
        SignatureVerdict::Unsigned,
        "without secrets nothing is signed"
    );
    verdict
}

/// Signs a request as its sender would have; none without one id that can be signed.
fn sign(request: &mut Request<'_>, secret: &str) -> Option<()> {
    let mut ids = request.headers.get_all(HEADER_ID).iter();
    let id = ids.next()?.to_str().ok().filter(|id| !id.is_empty())?;
    if ids.next().is_some() {
        return None;
    }
    let hook = Webhook::new(secret).expect("of the documented form");
    let signature = hook.sign(id, AT, request.body).ok()?;
    let signature = HeaderValue::from_str(&signature).expect("base64 is a header's value");
    let headers = &mut request.headers;
    headers.insert(HEADER_SIGNATURE, signature);
    headers.insert(HEADER_TIMESTAMP, HeaderValue::from(AT));
    Some(())
}

fuzz_target!(|input: &[u8]| {
    if let Some(mut request) = read(input) {
        check(&request);
        // Most inputs are no good signature, so each is signed too.
        let signed = sign(&mut request, SECRETS[input.len() % 2]);
        let verdict = check(&request);
        if signed.is_some() && (request.now - AT).abs() <= TOLERANCE_S {
            assert_eq!(verdict, SignatureVerdict::Signed, "the sender was refused");
        }
    }
});
