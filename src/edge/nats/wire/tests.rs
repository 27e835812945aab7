//! The broker's answers, split by what to do next.

use super::{Ack, Refusal, acknowledgement, header_text};

#[track_caller]
fn check(payload: &str, expected: Result<Ack, Refusal>) {
    assert_eq!(acknowledgement(payload.as_bytes()), expected, "{payload}");
}

fn error(err_code: u64, description: &str) -> String {
    format!(r#"{{"error":{{"code":400,"err_code":{err_code},"description":"{description}"}}}}"#)
}

#[test]
fn answers_are_split_by_what_to_do_next() {
    let ack = |seq, duplicate| Ok(Ack { seq, duplicate });
    check(r#"{"stream":"KLING","seq":7}"#, ack(7, false));
    check(
        r#"{"stream":"KLING","seq":9,"duplicate":true}"#,
        ack(9, true),
    );
    let conflict = |last| Err(Refusal::Conflict { last });
    check(
        &error(10_071, "wrong last sequence: 12"),
        conflict(Some(12)),
    );
    check(&error(10_164, "wrong last sequence"), conflict(None));
    check(&error(10_176, "batch incomplete"), Err(Refusal::Incomplete));
    check(
        &error(10_210, "too many in flight"),
        Err(Refusal::Incomplete),
    );
    check(&error(10_077, "maximum bytes exceeded"), Err(Refusal::Full));
    check(&error(10_008, "unavailable"), Err(Refusal::Unavailable));
    let refused = Refusal::Refused {
        code: 10_165,
        reason: "bad TTL".to_owned(),
    };
    check(&error(10_165, "bad TTL"), Err(refused));
    check("", Err(Refusal::Unknown));
    check(r#"{"stream":"KLING","seq":0}"#, Err(Refusal::Unknown));
}

#[test]
fn foreign_text_cannot_add_a_header() {
    assert_eq!(header_text("a\r\nNats-TTL: 1s", 64), "a??Nats-TTL: 1s");
    assert_eq!(header_text("ünicode", 3), "?ni");
}
