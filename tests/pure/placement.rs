//! Laws and tables of `decide::placement`.

use jiff::Timestamp;
use kling_relay::decide::placement::{
    BAD_CONTENT_ATTEMPTS_MAX, Next, OutputKind, Trouble, after_trouble, by_expiry, expires_at,
    extension, key, same_again, wanted,
};
use kling_relay::model::ids::{TaskId, Tenant};
use kling_relay::model::observation::{Output, SignedUrl};
use proptest::prelude::*;

fn output(kind: &str, url: &str) -> Output {
    Output {
        kind: kind.to_owned(),
        id: None,
        url: SignedUrl(url.to_owned()),
        duration: None,
    }
}

fn completed_at() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

#[test]
fn only_files_are_downloaded_and_keep_their_place() {
    let outputs = [
        output("video", "https://cdn.klingai.com/a"),
        output("element", ""),
        output("image", "https://cdn.klingai.com/b"),
        output("hologram", "https://cdn.klingai.com/c"),
        output("voice", ""),
        output("audio", "https://cdn.klingai.com/e.mp3"),
        output("audio", "https://cdn.klingai.com/e.wav"),
        output("voice", "https://cdn.klingai.com/d"),
        output("video", ""),
    ];
    let found: Vec<_> = wanted(&outputs, completed_at())
        .into_iter()
        .map(|wanted| (wanted.n, wanted.kind))
        .collect();
    let expected = [
        (1, OutputKind::Video),
        (3, OutputKind::Image),
        (6, OutputKind::Audio),
        (7, OutputKind::Audio),
        (8, OutputKind::Audio),
        (9, OutputKind::Video),
    ];
    assert_eq!(found, expected);
}

#[track_caller]
fn check_expiry(url: &str, expected: i64) {
    let found = expires_at(&SignedUrl(url.to_owned()), completed_at());
    assert_eq!(found.as_second(), expected, "{url}");
}

#[test]
fn expiry_is_read_from_the_signed_address() {
    let kept_until = 1_790_000_000 + 30 * 86_400;
    check_expiry(
        "https://h/v.mp4?cacheKey=x&Expires=1792592000&Signature=s",
        1_792_592_000,
    );
    check_expiry(
        "https://h/v.mp4?Expires=1792592000#Expires=1",
        1_792_592_000,
    );
    check_expiry("https://h/v.mp4", kept_until);
    check_expiry("https://h/v.mp4?", kept_until);
    check_expiry("https://h/v.mp4?Expires=soon", kept_until);
    check_expiry("https://h/v.mp4?NotExpires=5", kept_until);
    check_expiry("https://h/v.mp4?Expires=soon&Expires=7", 7);
    check_expiry("https://h/v.mp4?Expires=99999999999999999", kept_until);
}

#[test]
fn what_expires_first_comes_first() {
    let outputs = [
        output("image", "https://h/1?Expires=300"),
        output("image", "https://h/2?Expires=100"),
        output("image", "https://h/3"),
        output("image", "https://h/4?Expires=100"),
    ];
    let mut ordered = wanted(&outputs, completed_at());
    ordered.sort_by(by_expiry);
    let places: Vec<_> = ordered.iter().map(|wanted| wanted.n).collect();
    assert_eq!(places, [2, 4, 1, 3]);
}

#[test]
fn every_accepted_media_type_has_its_own_extension() {
    let mut seen = std::collections::BTreeSet::new();
    for kind in OutputKind::ALL {
        assert_eq!(OutputKind::from_type(kind.as_str()), Some(kind));
        for media_type in kind.media_types() {
            assert_ne!(extension(media_type), "bin", "{media_type}");
            assert!(seen.insert(extension(media_type)), "{media_type}");
        }
    }
}

#[test]
fn the_key_is_the_contracts() {
    let task = TaskId::from_bits(&Tenant::parse("acme").unwrap(), 7);
    let digest = "ab".repeat(32);
    let expected = format!("acme/acme_00000000000000000000000007/2-{digest}.mp4");
    assert_eq!(key(&task, 2, &digest, "video/mp4"), expected);
}

#[test]
fn a_fresh_list_is_matched_by_place_and_kind() {
    let stale = wanted(
        &[output("element", ""), output("image", "https://h/old")],
        completed_at(),
    );
    let fresh = [output("element", ""), output("image", "https://h/new")];
    let again = same_again(&stale[0], &fresh, completed_at()).unwrap();
    assert_eq!(again.url.0, "https://h/new");
    let other = [
        output("image", "https://h/new"),
        output("video", "https://h/new"),
    ];
    assert_eq!(same_again(&stale[0], &other, completed_at()), None);
    assert_eq!(same_again(&stale[0], &[], completed_at()), None);
}

#[track_caller]
fn check_next(trouble: Trouble, asked: bool, delivered: u64, expected: Next) {
    let found = after_trouble(trouble, asked, delivered);
    assert_eq!(
        found, expected,
        "{trouble:?}, asked {asked}, delivered {delivered}"
    );
}

#[test]
fn trouble_leads_to_the_documented_step() {
    check_next(Trouble::Refused, false, 1, Next::SetAside);
    check_next(Trouble::Withdrawn, true, 1, Next::SetAside);
    check_next(Trouble::Gone, false, 1, Next::AskKling);
    check_next(Trouble::Gone, true, 1, Next::TryLater);
    check_next(Trouble::Passing, true, 19, Next::TryLater);
    check_next(Trouble::BadContent, false, 1, Next::TryLater);
    check_next(
        Trouble::BadContent,
        false,
        BAD_CONTENT_ATTEMPTS_MAX,
        Next::SetAside,
    );
}

#[test]
fn a_signed_address_prints_as_its_host_only() {
    for url in [
        "https://user:password@cdn.klingai.com/path?Signature=secret",
        "https://cdn.klingai.com?Signature=secret",
        "https://cdn.klingai.com#secret",
        "https://cdn.klingai.com\\secret",
    ] {
        let shown = format!("{:?}", SignedUrl(url.to_owned()));
        assert_eq!(shown, "SignedUrl(cdn.klingai.com/…)", "{url}");
    }
    assert_eq!(
        format!("{:?}", SignedUrl("secret".to_owned())),
        "SignedUrl(?/…)"
    );
}

proptest! {
    #[test]
    fn any_text_as_an_address_is_harmless(url in ".{0,200}") {
        let _ = expires_at(&SignedUrl(url.clone()), completed_at());
        let _ = SignedUrl(url).host();
    }

    #[test]
    fn keys_are_plain_paths_and_differ_with_content_and_place(
        bits in any::<u128>(), n in 1u32..1_000, m in 1u32..1_000,
        a in "[0-9a-f]{64}", b in "[0-9a-f]{64}",
    ) {
        let task = TaskId::from_bits(&Tenant::parse("t-1").unwrap(), bits);
        let one = key(&task, n, &a, "image/png");
        let other = key(&task, m, &b, "image/png");
        prop_assert_eq!(one.split('/').count(), 3);
        prop_assert!(one.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./".contains(&c)));
        prop_assert!(!one.contains(".."));
        prop_assert_eq!(one == other, n == m && a == b);
    }
}
