//! Capability paths: what was minted verifies, nothing else does.

use kling_relay::edge::kling::callback_url::{CapabilityKeys, InvalidCapabilityKeys};
use kling_relay::model::ids::{TaskId, Tenant};
use proptest::prelude::*;
use secrecy::SecretString;

use crate::a_task;

const FIRST: &str = "k1:0123456789abcdef0123456789abcdef";
const SECOND: &str = "k2:fedcba9876543210fedcba9876543210";

fn parse(keys: &[&str]) -> Result<CapabilityKeys, InvalidCapabilityKeys> {
    let keys: Vec<_> = keys.iter().map(|key| SecretString::from(*key)).collect();
    CapabilityKeys::parse(&keys)
}

fn keys(list: &[&str]) -> CapabilityKeys {
    parse(list).unwrap()
}

/// Tenant, task and proof of a minted address.
fn mint(keys: &CapabilityKeys, task: &TaskId) -> [String; 3] {
    let url = keys.mint(&"https://hooks.example.com".parse().unwrap(), task);
    let mut segments = url.expose().rsplit('/').map(str::to_owned);
    let mut next = || segments.next().unwrap();
    let (proof, task, tenant) = (next(), next(), next());
    [tenant, task, proof]
}

#[test]
fn the_address_has_the_contracts_form() {
    let url = keys(&[FIRST]).mint(
        &"https://hooks.example.com".parse().unwrap(),
        &a_task::task_id(),
    );
    // Recomputed with another implementation of HMAC-SHA256.
    let expected = "https://hooks.example.com/callbacks/team-a/team-a_01j5zx8q4kfw2m6r7t9v0bcdeg/\
        k1.Xc5HJidnaVBksgVQTM0AHkzSEdHL18Nxc2vqTbE4Ubc";
    assert_eq!(url.expose(), expected);
    assert_eq!(format!("{url:?}"), "CallbackUrl(…)");
}

#[test]
fn a_public_url_may_have_a_path() {
    for base in ["https://example.com/kling", "https://example.com/kling/"] {
        let url = keys(&[FIRST]).mint(&base.parse().unwrap(), &a_task::task_id());
        assert!(
            url.expose()
                .starts_with("https://example.com/kling/callbacks/team-a/team-a_01")
        );
    }
}

#[test]
fn the_first_key_mints_and_all_verify() {
    let [tenant, task, proof] = mint(&keys(&[FIRST]), &a_task::task_id());
    let verify = |list: &[&str]| keys(list).verify(&tenant, &task, &proof);
    assert_eq!(verify(&[FIRST]), Some(a_task::task_id()));
    assert_eq!(verify(&[SECOND, FIRST]), Some(a_task::task_id()));
    assert_eq!(verify(&[SECOND]), None);
    // The same id with another secret.
    assert_eq!(verify(&["k1:fedcba9876543210fedcba9876543210"]), None);
}

#[test]
fn any_change_is_refused() {
    let keys = keys(&[FIRST, SECOND]);
    let minted = mint(&keys, &a_task::task_id());
    for (segment, text) in minted.iter().enumerate() {
        for index in 0..text.len() {
            let mut changed = minted.clone();
            let last = if &text[index..=index] == "0" {
                "1"
            } else {
                "0"
            };
            changed[segment].replace_range(index..=index, last);
            let [tenant, task, proof] = &changed;
            assert_eq!(keys.verify(tenant, task, proof), None, "{changed:?}");
        }
    }
    let [tenant, task, proof] = &minted;
    for wrong in [
        "",
        ".",
        "k1",
        "k1.",
        &proof[3..],
        &format!("{proof}="),
        &format!("{proof}A"),
    ] {
        assert_eq!(keys.verify(tenant, task, wrong), None, "{wrong}");
    }
    assert_eq!(keys.verify("team-b", task, proof), None);
    assert_eq!(keys.verify(tenant, &task[7..], proof), None);
}

#[test]
fn a_minted_task_of_another_tenant_is_refused() {
    let keys = keys(&[FIRST]);
    let other = TaskId::from_bits(&Tenant::parse("team-b").unwrap(), 7);
    let [_, task, proof] = mint(&keys, &other);
    assert_eq!(keys.verify("team-a", &task, &proof), None);
}

#[test]
fn wrong_keys_are_named_by_their_place_only() {
    let long = "x".repeat(32);
    let check = |list: &[&str], expected: InvalidCapabilityKeys| {
        let error = parse(list).unwrap_err();
        assert_eq!(error, expected);
        assert!(!error.to_string().contains(&long));
    };
    let number = 2;
    check(&[], InvalidCapabilityKeys::Empty);
    check(&[FIRST, &long], InvalidCapabilityKeys::Form { number });
    check(
        &[FIRST, &format!(":{long}")],
        InvalidCapabilityKeys::Form { number },
    );
    check(
        &[FIRST, &format!("K:{long}")],
        InvalidCapabilityKeys::Form { number },
    );
    check(
        &[FIRST, &format!("{}:{long}", "a".repeat(17))],
        InvalidCapabilityKeys::Form { number },
    );
    check(
        &[FIRST, "k2:short"],
        InvalidCapabilityKeys::Short { number },
    );
    check(
        &[FIRST, &format!("k1:{long}")],
        InvalidCapabilityKeys::Repeated { number },
    );
    assert_eq!(format!("{:?}", keys(&[FIRST, SECOND])), r#"["k1", "k2"]"#);
}

proptest! {
    #[test]
    fn whatever_is_minted_verifies(tenant in "[a-z0-9-]{1,24}", bits in any::<u128>()) {
        let task = TaskId::from_bits(&Tenant::parse(&tenant).unwrap(), bits);
        let keys = keys(&[SECOND, FIRST]);
        let [tenant, id, proof] = mint(&keys, &task);
        prop_assert_eq!(keys.verify(&tenant, &id, &proof), Some(task));
    }

    #[test]
    fn arbitrary_segments_never_verify(tenant in ".*", task in ".*", proof in ".*") {
        prop_assert_eq!(keys(&[FIRST]).verify(&tenant, &task, &proof), None);
    }
}
