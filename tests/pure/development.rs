//! Development material: made once, whole, for its owner only.

use std::os::unix::fs::PermissionsExt;

use kling_relay::config::{Config, Role};
use kling_relay::edge::development::{Development, DevelopmentError, TENANT};
use secrecy::{ExposeSecret, SecretString};

fn now() -> jiff::Timestamp {
    "2026-12-31T23:59:59Z".parse().expect("it is a time")
}

#[test]
fn is_made_once_and_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("not/yet");
    let made = Development::ensure(&data_dir, now()).unwrap();
    let again = Development::ensure(&data_dir, now()).unwrap();
    assert_eq!(made.api_key.expose_secret(), again.api_key.expose_secret());
    assert_ne!(
        made.api_key.expose_secret(),
        made.operator_key.expose_secret()
    );
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&made.folder), 0o700);
    let mut names: Vec<_> = std::fs::read_dir(&made.folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .inspect(|entry| assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path()))
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    let all = [
        "api.key",
        "ca.pem",
        "capability.key",
        "cert.pem",
        "key.pem",
        "operator.key",
    ];
    assert_eq!(names, all);
    // Nothing is left beside it, and nothing secret prints.
    assert_eq!(std::fs::read_dir(&data_dir).unwrap().count(), 1);
    let debug = format!("{made:?}");
    for secret in [&made.api_key, &made.operator_key, &made.capability_key] {
        assert!(!debug.contains(secret.expose_secret()));
    }
}

#[test]
fn is_what_serve_needs() {
    let folder = tempfile::tempdir().unwrap();
    let made = Development::ensure(folder.path(), now()).unwrap();
    let mut config = Config::default();
    let key = format!("{TENANT}:{}", made.api_key.expose_secret());
    config.api.keys = vec![SecretString::from(key)];
    config.api.operator_keys = vec![made.operator_key.clone()];
    config.kling.api_key = Some(SecretString::from("k"));
    config.receiver.capability_keys = vec![made.capability_key.clone()];
    config.receiver.tls.cert_file = Some(made.cert_file.clone());
    config.receiver.tls.key_file = Some(made.key_file.clone());
    config.receiver.public_url = Some("https://localhost:8443".parse().unwrap());
    config.check_serve(&Role::ALL).unwrap();
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let made = Development::ensure(folder.path(), now()).unwrap();
    std::fs::remove_file(&made.ca_file).unwrap();
    let error = Development::ensure(folder.path(), now()).unwrap_err();
    assert!(matches!(&error, DevelopmentError::Incomplete { path } if *path == made.ca_file));
}

#[test]
fn two_at_once_end_with_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<String> = std::thread::scope(|scope| {
        let make = || Development::ensure(folder.path(), now()).unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        let made = threads.into_iter().map(|thread| thread.join().unwrap());
        made.map(|made| made.api_key.expose_secret().to_owned())
            .collect()
    });
    assert!(
        keys.iter().all(|key| *key == keys[0]),
        "{} different",
        keys.len()
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
