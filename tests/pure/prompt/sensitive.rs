//! Keys, tokens, cards, addresses and telephone numbers: found, taken out, never repeated. The
//! secrets are put together here, so that nobody's scanner takes them for real ones.

use kling_relay::model::policy::{Detector, Sensitive};
use proptest::prelude::*;
use serde_json::json;

use super::{of_prompt, policy, refused, screened};

/// Checks what is found in a text, and what is left of it.
#[track_caller]
fn finds(detector: Detector, written: &str, left: &str) {
    let (field, rule) = refused(&policy(Sensitive::Refuse), &of_prompt(written));
    assert_eq!(
        (field.as_str(), rule.as_str()),
        ("prompt", detector.as_str()),
        "{written}"
    );
    let redacted = screened(&policy(Sensitive::Redact), &of_prompt(written));
    assert_eq!(redacted.request.prompt.as_deref(), Some(left));
    assert!(
        redacted.redacted.contains(&detector),
        "{:?}",
        redacted.redacted
    );
    screened(&policy(Sensitive::Allow), &of_prompt(written));
    let mut others = policy(Sensitive::Refuse);
    others.detectors.retain(|other| *other != detector);
    let passes = others.screen(&crate::requests::request(&of_prompt(written)));
    assert!(passes.is_ok(), "another finds it too: {written}");
}

#[test]
fn keys() {
    let random = "9fK2mQx7Lp4RtZ8wBv3N";
    for key in [
        format!("sk-{random}{random}"),
        format!("sk-proj-{random}_{random}-x"),
        format!("sk-ant-api03-{random}"),
        format!("sk_live_{random}"),
        format!("whsec_{random}=="),
        format!("AKIA{}", "IOSFODNN7EXAMPLE"),
        format!("AIza{random}{}", "0123456789abcde"),
        format!("SG.{random}.{random}"),
        format!("SK{}", "0123456789abcdef".repeat(2)),
    ] {
        finds(
            Detector::ApiKey,
            &format!("a fox {key}, running"),
            "a fox [api-key], running",
        );
        finds(Detector::ApiKey, &format!("狐狸{key}跑"), "狐狸[api-key]跑");
    }
    for (written, left) in [
        ("my api key is XXX.", "my api [api-key]."),
        ("API_KEY=XXX", "API_[api-key]"),
        ("password: 'XXX'", "[api-key]'"),
        ("my secret XXX!", "my [api-key]!"),
        ("我的密钥是XXX", "我的[api-key]"),
    ] {
        for value in [
            random,
            "5f4dcc3b5aa765d61d8327deb882cf99",
            "9bK2/+x7Lp4RtZ8wBv3N==",
        ] {
            // A closing sign of the pattern's own alphabet goes with the value.
            let left = left.strip_suffix('.').unwrap_or(left);
            finds(Detector::ApiKey, &written.replace("XXX", value), left);
        }
    }
    let uuid = "key: 6f1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
    finds(Detector::ApiKey, uuid, "[api-key]");
}

#[test]
fn tokens() {
    let random = "9fK2mQx7Lp4RtZ8wBv3N";
    for token in [
        format!("ghp_{random}{random}"),
        format!("github_pat_{random}_{random}"),
        format!("glpat-{random}"),
        format!("xoxb-{}-{random}", "123456789012"),
        format!("hf_{random}{random}"),
        format!("npm_{random}{random}"),
        format!("eyJ{random}.eyJ{random}.{random}"),
        format!("Bearer {random}"),
    ] {
        finds(
            Detector::Token,
            &format!("use {token} here"),
            "use [token] here",
        );
    }
    let address = format!("postgres://root:{random}@db/x");
    finds(Detector::Token, &address, "[token]db/x");
}

#[test]
fn private_keys() {
    let pem = |kind: &str, end: &str| format!("-----BEGIN {kind}-----\nMIIEvQIBADAN\nx==\n{end}");
    for kind in [
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ] {
        let whole = pem(kind, &format!("-----END {kind}-----"));
        let written = format!("before {whole} after");
        finds(Detector::PrivateKey, &written, "before [private-key] after");
        let cut = format!("before {}", pem(kind, ""));
        finds(Detector::PrivateKey, &cut, "before [private-key]");
    }
}

#[test]
fn cards() {
    for number in [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4222222222222",
        "5555555555554444",
        "2223003122003222",
        "3782 822463 10005",
        "378282246310005",
        "6011111111111117",
        "6200 0000 0000 0005",
        "3530111333300000",
        "３０５６９３０９０２５９０４",
    ] {
        finds(
            Detector::Card,
            &format!("pay with {number}."),
            "pay with [card].",
        );
        finds(Detector::Card, &format!("卡号{number}号"), "卡号[card]号");
    }
    // The real one begins inside what was none.
    finds(Detector::Card, "1234 4111 1111 1111 1111", "1234 [card]");
}

#[test]
fn addresses() {
    for address in [
        "ada@example.com",
        "ada.love-lace+x@mail.example.co.uk",
        "ADA_1@EXAMPLE.ORG",
        "ada＠example.com",
        "a\u{200B}da@exam\u{AD}ple.com",
    ] {
        let written = format!("write to {address}, please");
        finds(Detector::Email, &written, "write to [email], please");
        finds(
            Detector::Email,
            &format!("联系{address}谢谢"),
            "联系[email]谢谢",
        );
    }
}

#[test]
fn telephone_numbers() {
    for number in [
        "+49 30 901820",
        "+1 (415) 555-2671",
        "+33.6.12.34.56.78",
        "+8613812345678",
        "0049 30 901820",
        "(415) 555-2671",
        "415-555-2671",
        "1-800-555-2671",
        "030 90182000",
        "0171/1234567",
        "020 7946 0958",
        "06 12 34 56 78",
        "06.12.34.56.78",
        "090-1234-5678",
        "13812345678",
        "138 1234 5678",
        "＋４９ ３０ ９０１８２０",
    ] {
        finds(
            Detector::Phone,
            &format!("ring {number} now"),
            "ring [phone] now",
        );
        finds(Detector::Phone, &format!("ring {number}"), "ring [phone]");
    }
    for (written, left) in [
        ("tel: 555 2671", "[phone]"),
        ("call me at 555-2671 today", "[phone] today"),
        ("Phone number is 8 765 43 21", "[phone]"),
        ("电话8765 4321", "[phone]"),
    ] {
        finds(Detector::Phone, written, left);
    }
}

/// What people write in prompts.
#[test]
fn ordinary_prompts_pass() {
    let policy = policy(Sensitive::Refuse);
    for prompt in [
        "1920x1080, 16:9, 4k, 60 fps, 24 mm, f/1.8, ISO 3200",
        "A city in 2026, seen from 1,000,000,000 km; 2026-11-21 12:30:45",
        "between 2024 and 2026, 2024-2026, 2026/11/21, 01.02.2026 12:30, 01-02-2026",
        "binary rain 0010 0101 0010 0110 and 00100101 00101101",
        "seed 1234567890, seed 4398046511104, timestamp 1767225600000",
        "π is 3.14159265358979, φ is 1.6180339887498948, e is 2.718281828459045",
        "shots at 2 4 6 8 10 12 14 16 18 20 seconds",
        "the address 192.168.100.200 and 255.255.255.0 on a screen",
        "colours #00112233 #ff0000 #0a1b2c",
        "8000000000 people, 100000000000 stars, +100 000 000 degrees",
        "+48.856614 +2.352222, 48.8566, -122.4194",
        "@Image1 rides @horse, see logo@2x.png and icon@3x.jpg; follow @nasa",
        "the key to the secret door, a password on paper, token of love",
        "keyframe_0001_to_0120_slow, secret door_number_42_in_the_castle",
        "a bearer of the internationally-acclaimed trophy",
        "sk-8-board-trick-ultra-hd, ask-me-anything, task-force-one-two-three",
        "Boeing 737-800, Airbus A320-200, Route 66, ISBN 978-3-16-148410-0",
        "the year 1999, 00:05 to 00:10, scene 007, take 0123, frame 0100",
        "call of the wild, a phone from 1950, cell 7, text 2026-2027",
        "a mobile crane lifting 2000 kg, fax machine 1985 1986 1987",
        "shot 1, 3, a fox; shot 2, 2, the fox runs",
        "-----BEGIN----- of a story; PRIVATE KEY on a sign",
        "0.0001 0.0002, 10 000 000, 12 345 678 901",
        "车牌京A12345，第0123号，2026年11月21日",
        "6-7-8 beats, 5/4 time, 120 bpm, 440 Hz",
        "https://example.com/a?b=c&user=me",
    ] {
        screened(&policy, &of_prompt(prompt));
    }
}

#[test]
fn detectors_can_be_left_out() {
    let mut only_cards = policy(Sensitive::Refuse);
    only_cards.detectors = vec![Detector::Card];
    screened(&only_cards, &of_prompt("write to ada@example.com"));
    refused(&only_cards, &of_prompt("pay 4111 1111 1111 1111"));
}

#[test]
fn redaction_tells_what_it_took() {
    let written = "ada@example.com or bob@example.com, 4111111111111111";
    let body = json!({"product": "text-to-video", "prompt": written,
        "negative_prompt": "no ada@example.com"});
    let screened = screened(&policy(Sensitive::Redact), &body);
    let sent = "[email] or [email], [card]";
    assert_eq!(screened.request.prompt.as_deref(), Some(sent));
    assert_eq!(
        screened.request.negative_prompt.as_deref(),
        Some("no [email]")
    );
    let taken = [
        Detector::Card,
        Detector::Email,
        Detector::Email,
        Detector::Email,
    ];
    assert_eq!(screened.redacted, taken);
    // What a redaction lays bare is taken out or refused.
    let glued = "a@b.co4111111111111111+49 30 901820";
    let left = super::screened(&policy(Sensitive::Redact), &of_prompt(glued));
    let left = left.request.prompt.unwrap_or_default();
    assert!(!left.contains("4111") && !left.contains("9018"), "{left}");
}

fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "sk-[a-z]{0,4}-?[A-Za-z0-9]{20,40}",
        "AKIA[A-Z0-9]{16}",
        "ghp_[A-Za-z0-9]{36}",
        "eyJ[A-Za-z0-9]{12}\\.eyJ[A-Za-z0-9]{12}\\.[A-Za-z0-9]{12}",
        "[a-z]{3,9}[0-9]{3}@[a-z]{3,9}\\.(com|org)",
        "\\+49 30 [2-8]{4}19[0-9]{2}",
        Just("4111 1111 1111 1111".to_owned()),
        "-----BEGIN RSA PRIVATE KEY-----\n[A-Za-z0-9]{64}\n-----END RSA PRIVATE KEY-----",
    ]
}

proptest! {
    /// Whatever is refused, and wherever it stands, no part of it comes back.
    #[test]
    fn no_refusal_repeats_a_secret(
        secret in secret(),
        before in "([a-z]{1,8} ){0,4}",
        after in "( [a-z]{1,8}){0,4}",
        place in 0..4,
    ) {
        let text = format!("{before}{secret}{after}");
        let body = match place {
            0 => of_prompt(&text),
            1 => json!({"product": "text-to-video", "prompt": "x", "negative_prompt": text}),
            2 => json!({"product": "video-to-audio", "parameters": {"bgm_prompt": text}}),
            _ => json!({"product": "effects", "parameters": {secret.clone(): {"x": text}}}),
        };
        let request = crate::requests::request(&body);
        let refused = policy(Sensitive::Refuse).screen(&request).expect_err("it is found");
        let said = format!("{refused} {refused:?}");
        for part in secret.as_bytes().windows(6) {
            let part = String::from_utf8_lossy(part);
            let of_ours = "a PRIVATE KEY".contains(part.trim());
            prop_assert!(of_ours || !said.contains(&*part), "{said:?} holds {part:?}");
        }
        let redacted = policy(Sensitive::Redact).screen(&request);
        let redacted = redacted.expect("it can be taken out").request;
        let sent = serde_json::to_string(&(redacted.prompt, redacted.negative_prompt)).unwrap();
        prop_assert!(!sent.contains(&secret));
    }

    #[test]
    fn any_text_is_screened(text in "\\PC{0,200}") {
        let request = crate::requests::request(&of_prompt(&text));
        let _ = policy(Sensitive::Refuse).screen(&request);
        let redacted = policy(Sensitive::Redact).screen(&request);
        if let Ok(redacted) = redacted {
            prop_assert!(policy(Sensitive::Refuse).screen(&redacted.request).is_ok());
        }
    }
}
