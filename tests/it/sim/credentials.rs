//! Who is let in, and with which words others are not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};

use super::{KEY, World, accepted, read, refused};

#[expect(
    clippy::disallowed_methods,
    reason = "tokens are checked against the real time"
)]
fn now_s() -> i64 {
    jiff::Zoned::now().timestamp().as_second()
}

fn jwt(header: &Value, claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

fn token(claims: &Value) -> String {
    jwt(
        &json!({ "alg": "HS256", "typ": "JWT" }),
        claims,
        "simulator-secret",
    )
}

fn claims(nbf: i64, exp: i64) -> Value {
    json!({ "iss": "simulator-access", "nbf": now_s() + nbf, "exp": now_s() + exp })
}

#[tokio::test]
async fn credentials_are_checked_as_on_the_platform() {
    let world = World::start().await;
    let legacy = "/v1/videos/text2video";
    let call = async |path, credential: &str| {
        read(world.call_with(Method::GET, path, credential, None).await).await
    };
    let good = claims(-5, 180);
    accepted(call(legacy, &token(&good)).await);
    accepted(call(legacy, KEY).await);
    accepted(call("/tasks?task_ids=1", KEY).await);
    let mut with_iat = good.clone();
    with_iat["iat"] = json!(now_s());
    accepted(call(legacy, &token(&with_iat)).await);

    refused(call(legacy, "").await, 401, 1001, "Authorization is empty");
    refused(
        call("/tasks?task_ids=1", &token(&good)).await,
        401,
        1002,
        "does not support AK/SK",
    );
    refused(
        call("/tasks?task_ids=1", "rubbish").await,
        401,
        1002,
        "does not support AK/SK",
    );
    refused(
        call(legacy, "rubbish").await,
        401,
        1002,
        "expected to have 3 parts",
    );
    refused(
        call(legacy, "api-key-kling-other").await,
        401,
        1002,
        "api key not found",
    );
    refused(
        call(legacy, &token(&claims(60, 1800))).await,
        401,
        1003,
        "not yet valid",
    );
    refused(
        call(legacy, &token(&claims(-1800, -1))).await,
        401,
        1004,
        "expired",
    );
    let wrong = jwt(&json!({ "alg": "HS256" }), &good, "another secret");
    refused(call(legacy, &wrong).await, 401, 1002, "signature");
    let unsigned = jwt(&json!({ "alg": "none" }), &good, "simulator-secret");
    refused(call(legacy, &unsigned).await, 401, 1002, "signature");
    for claim in ["iss", "exp", "nbf"] {
        let mut lacking = good.clone();
        lacking.as_object_mut().unwrap().remove(claim);
        refused(call(legacy, &token(&lacking)).await, 401, 1002, "");
    }
    assert_eq!(world.control.stats().unauthorized, 12);
}
