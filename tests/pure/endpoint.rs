//! Where the broker is and how to enter, as the configuration says it.

use kling_relay::config::Nats;
use kling_relay::edge::nats::{Credentials, Endpoint};
use secrecy::ExposeSecret;

#[track_caller]
fn check(url: &str, expected: Option<(&str, &str)>) {
    let nats = Nats {
        url: Some(url.to_owned()),
        ..Nats::default()
    };
    let endpoint = Endpoint::configured(&nats).unwrap();
    let found = match &endpoint.credentials {
        Credentials::Password { user, password } => Some((user.as_str(), password.expose_secret())),
        Credentials::None => None,
        Credentials::File(path) => panic!("nobody named {}", path.display()),
    };
    assert_eq!(found, expected, "{url}");
    assert!(!format!("{endpoint:?}").contains("s3cret"));
}

#[test]
fn a_name_and_password_in_the_address_are_used() {
    check("nats://127.0.0.1:4222", None);
    check(
        "nats://relay:s3cret@127.0.0.1:4222",
        Some(("relay", "s3cret")),
    );
    check(
        "tls://a:1,tls://relay:s3cret@b:2",
        Some(("relay", "s3cret")),
    );
    check("nats://r%40y:s3cret%2F+%25@b:2", Some(("r@y", "s3cret/+%")));
}
