//! Signatures: the vendor's vector, agreement with the crate that the vendor recommends, and every
//! way to be wrong.

use jiff::Timestamp;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::kling::signature::{
    BadSignature, HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, SignatureVerdict, WebhookSecrets,
};
use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use standardwebhooks::Webhook;

use SignatureVerdict::{Bad, Signed, Unsigned};

/// Source: platform reference 3.3, the official test vector.
const SECRET: &str = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=";
const ID: &str = "9876543210";
const AT: i64 = 1_781_080_794;
const BODY: &[u8] = concat!(
    r#"{"id":"1234567890","status":"succeeded","message":"","crea"#,
    r#"te_time":1781080778802,"update_time":1781080794151}"#,
)
.as_bytes();
const SIGNATURE: &str = "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=";
const OTHER: &str = "whsec_b3RoZXJzZWNyZXRvdGhlcnNlY3JldG90aGVyc2VjcmV0";

fn secrets(secrets: &[&str]) -> WebhookSecrets {
    let secrets: Vec<_> = secrets
        .iter()
        .map(|secret| SecretString::from(*secret))
        .collect();
    WebhookSecrets::parse(&secrets).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn vector() -> HeaderMap {
    let at = AT.to_string();
    headers(&[
        (HEADER_ID, ID),
        (HEADER_TIMESTAMP, &at),
        (HEADER_SIGNATURE, SIGNATURE),
    ])
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[track_caller]
fn check(headers: &HeaderMap, expected: SignatureVerdict) {
    assert_eq!(secrets(&[SECRET]).verify(headers, BODY, at(AT)), expected);
}

#[test]
fn the_vendors_vector_is_signed() {
    check(&vector(), Signed);
    let oracle = Webhook::new(SECRET).unwrap();
    assert_eq!(oracle.sign(ID, AT, BODY).unwrap(), SIGNATURE);
}

#[test]
fn header_names_have_no_case() {
    let mut headers = HeaderMap::new();
    for (name, value) in &vector() {
        let name: HeaderName = name.as_str().to_ascii_uppercase().parse().unwrap();
        headers.insert(name, value.clone());
    }
    check(&headers, Signed);
}

#[test]
fn a_signature_lives_for_five_minutes_both_ways() {
    let verdict = |now| secrets(&[SECRET]).verify(&vector(), BODY, at(now));
    assert_eq!(verdict(AT - 300), Signed);
    assert_eq!(verdict(AT + 300), Signed);
    assert_eq!(verdict(AT - 301), Bad(BadSignature::Stale));
    assert_eq!(verdict(AT + 301), Bad(BadSignature::Stale));
}

#[test]
fn either_secret_of_a_rotation_signs() {
    let verdict = |list: &[&str]| secrets(list).verify(&vector(), BODY, at(AT));
    assert_eq!(verdict(&[OTHER, SECRET]), Signed);
    assert_eq!(verdict(&[SECRET, OTHER]), Signed);
    assert_eq!(verdict(&[OTHER]), Bad(BadSignature::Mismatch));
}

#[test]
fn one_good_signature_among_several_suffices() {
    let with = |signature: &str| {
        let mut headers = vector();
        headers.insert(HEADER_SIGNATURE, HeaderValue::from_str(signature).unwrap());
        headers
    };
    let foreign = Webhook::new(OTHER).unwrap().sign(ID, AT, BODY).unwrap();
    check(&with(&format!("{foreign} {SIGNATURE}")), Signed);
    check(
        &with(&format!("v2,abcd  nonsense v1,!! {SIGNATURE}")),
        Signed,
    );
    check(&with(&foreign), Bad(BadSignature::Mismatch));
    check(
        &with(&SIGNATURE.replace("v1,", "v1a,")),
        Bad(BadSignature::Mismatch),
    );
    check(
        &with(&SIGNATURE.replace("v1,", "")),
        Bad(BadSignature::Mismatch),
    );
    // A prefix of the right signature is a wrong one.
    check(&with("v1,UsKlJP00XoQ="), Bad(BadSignature::Mismatch));
    check(&with("v1,"), Bad(BadSignature::Mismatch));
    let many = "v1,AAAA ".repeat(16);
    check(
        &with(&format!("{many}{SIGNATURE}")),
        Bad(BadSignature::Mismatch),
    );
}

#[test]
fn no_header_is_unsigned_and_some_are_bad() {
    check(&HeaderMap::new(), Unsigned);
    for missing in [HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE] {
        let mut headers = vector();
        headers.remove(missing);
        check(&headers, Bad(BadSignature::Headers));
        headers.insert(missing, HeaderValue::from_static(""));
        check(&headers, Bad(BadSignature::Headers));
    }
}

#[test]
fn a_header_twice_is_bad() {
    for repeated in [HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE] {
        let mut headers = vector();
        let value = headers[repeated].clone();
        headers.append(repeated, value);
        check(&headers, Bad(BadSignature::Headers));
    }
}

#[test]
fn the_timestamp_is_digits() {
    for timestamp in [
        "-1",
        "+1781080794",
        "1781080794.0",
        "soon",
        "9999999999999",
        " 1781080794",
    ] {
        let oracle = Webhook::new(SECRET).unwrap();
        let signature = oracle.sign(ID, AT, BODY).unwrap();
        let headers = headers(&[
            (HEADER_ID, ID),
            (HEADER_TIMESTAMP, timestamp),
            (HEADER_SIGNATURE, &signature),
        ]);
        check(&headers, Bad(BadSignature::Timestamp));
    }
}

#[test]
fn any_changed_byte_is_bad() {
    for index in 0..BODY.len() {
        let mut body = BODY.to_vec();
        body[index] ^= 1;
        let verdict = secrets(&[SECRET]).verify(&vector(), &body, at(AT));
        assert_eq!(verdict, Bad(BadSignature::Mismatch));
    }
    let mut headers = vector();
    headers.insert(HEADER_ID, HeaderValue::from_static("9876543211"));
    check(&headers, Bad(BadSignature::Mismatch));
    headers = vector();
    headers.insert(HEADER_TIMESTAMP, HeaderValue::from_static("1781080795"));
    check(&headers, Bad(BadSignature::Mismatch));
}

#[test]
fn without_secrets_everything_is_unsigned() {
    assert!(secrets(&[]).is_empty());
    assert_eq!(secrets(&[]).verify(&vector(), BODY, at(AT)), Unsigned);
}

#[test]
fn a_wrong_secret_is_named_by_its_place_only() {
    for wrong in [
        "dGVzdA==",
        "whsec_",
        "whsec_not base64",
        "WHSEC_dGVzdA==",
        "",
    ] {
        let list = [SecretString::from(SECRET), SecretString::from(wrong)];
        let error = WebhookSecrets::parse(&list).unwrap_err().to_string();
        assert_eq!(
            error,
            "webhook secret number 2 is not whsec_ followed by base64"
        );
    }
    assert_eq!(format!("{:?}", secrets(&[SECRET])), "WebhookSecrets(1)");
}

fn encoded_secret() -> impl Strategy<Value = String> {
    use base64::Engine;
    let bytes = prop::collection::vec(any::<u8>(), 1..64);
    bytes.prop_map(|bytes| {
        format!(
            "whsec_{}",
            base64::engine::general_purpose::STANDARD.encode(bytes)
        )
    })
}

proptest! {
    /// The oracle reads the wall clock, so it is asked at the wall clock's time, and not at the
    /// second in which its answer changes.
    #[test]
    fn agrees_with_the_recommended_verifier(
        ours in prop::collection::vec(encoded_secret(), 1..3),
        foreign in encoded_secret(),
        signs in any::<prop::sample::Index>(),
        signed_by_foreign in any::<bool>(),
        id in "[0-9a-zA-Z_.]{1,24}",
        body in ".*",
        skew in -900_i64..900,
        damage in prop::option::of(any::<prop::sample::Index>()),
    ) {
        prop_assume!(!(295..=305).contains(&skew.abs()));
        let now = Clock::system().now();
        let timestamp = now.as_second() + skew;
        let signer = if signed_by_foreign { &foreign } else { signs.get(&ours) };
        let signature = Webhook::new(signer).unwrap();
        let signature = signature.sign(&id, timestamp, body.as_bytes()).unwrap();
        let mut sent = body.into_bytes();
        if let Some(index) = damage.filter(|_| !sent.is_empty()) {
            let index = index.index(sent.len());
            // Stays UTF-8, which the oracle needs.
            sent[index] = if sent[index] == b'x' { b'y' } else { b'x' };
        }
        prop_assume!(std::str::from_utf8(&sent).is_ok());
        let headers = headers(&[
            (HEADER_ID, &id),
            (HEADER_TIMESTAMP, &timestamp.to_string()),
            (HEADER_SIGNATURE, &signature),
        ]);
        let expected = ours.iter().any(|secret| {
            Webhook::new(secret).unwrap().verify(&sent, &headers).is_ok()
        });
        let list: Vec<_> = ours.iter().map(String::as_str).collect();
        let verdict = secrets(&list).verify(&headers, &sent, now);
        prop_assert_eq!(verdict == Signed, expected);
    }

    #[test]
    fn arbitrary_headers_never_panic(
        values in prop::collection::vec(
            (0..3_usize, prop::collection::vec(any::<u8>(), 0..64)),
            0..5,
        ),
        body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            let name = [HEADER_ID, HEADER_TIMESTAMP, HEADER_SIGNATURE][name];
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(name, value);
            }
        }
        prop_assert_ne!(secrets(&[SECRET]).verify(&headers, &body, at(AT)), Signed);
    }
}
