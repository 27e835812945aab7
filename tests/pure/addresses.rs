//! Which addresses the downloader may call.

use std::net::IpAddr;

use kling_relay::config::Storage;
use kling_relay::edge::fetch::{AddressPolicy, Refusal, is_public, sniff};
use url::Url;

#[track_caller]
fn check_public(ip: &str, expected: bool) {
    let parsed: IpAddr = ip.parse().unwrap();
    assert_eq!(is_public(parsed), expected, "{ip}");
}

#[test]
fn special_networks_are_not_public() {
    for ip in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "::",
        "::1",
        "::7f00:1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001::1",
        "2001:0:4136:e378::",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "4000::1",
    ] {
        check_public(ip, false);
    }
}

#[test]
fn ordinary_addresses_are_public() {
    for ip in [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "192.167.0.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2600::1",
        "2a00:1450:4001::1",
        "2001:200::1",
        "3ffe::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ] {
        check_public(ip, true);
    }
}

#[track_caller]
fn check(policy: &AddressPolicy, url: &str, expected: Result<(), Refusal>) {
    let found = policy.vet(&Url::parse(url).unwrap());
    assert_eq!(found, expected, "{url}");
}

fn network(ip: &str) -> Result<(), Refusal> {
    Err(Refusal::Network(ip.parse().unwrap()))
}

#[test]
fn the_default_policy_takes_the_platforms_hosts_over_https_only() {
    let config = Storage::default();
    let policy = AddressPolicy::new(&config.allowed_hosts, config.allow_private);
    check(&policy, "https://v15-kling-fdl.klingai.com/a?b", Ok(()));
    check(&policy, "https://V15-KLING-FDL.KLINGAI.COM/a", Ok(()));
    check(&policy, "https://h1.inkwai.com:443/a", Ok(()));
    check(&policy, "http://cdn.klingai.com/a", Err(Refusal::Scheme));
    check(&policy, "ftp://cdn.klingai.com/a", Err(Refusal::Scheme));
    check(&policy, "data:text/plain,a", Err(Refusal::NotAUrl));
    check(&policy, "file:///etc/passwd", Err(Refusal::NotAUrl));
    check(&policy, "https://klingai.com/a", Err(Refusal::Host));
    check(&policy, "https://evilklingai.com/a", Err(Refusal::Host));
    check(
        &policy,
        "https://cdn.klingai.com.evil.net/a",
        Err(Refusal::Host),
    );
    check(&policy, "https://evil.net/.klingai.com", Err(Refusal::Host));
    check(
        &policy,
        "https://evil.net\\.klingai.com/",
        Err(Refusal::Host),
    );
    check(
        &policy,
        "https://evil.net#.klingai.com/",
        Err(Refusal::Host),
    );
    check(
        &policy,
        "https://cdn.klingai.com@evil.net/a",
        Err(Refusal::UserInfo),
    );
    check(
        &policy,
        "https://u:p@cdn.klingai.com/a",
        Err(Refusal::UserInfo),
    );
    check(
        &policy,
        "https://:p@cdn.klingai.com/a",
        Err(Refusal::UserInfo),
    );
    check(
        &policy,
        "https://cdn.klingai.com:8443/a",
        Err(Refusal::Port),
    );
    check(&policy, "https://cdn.klingai.com:80/a", Err(Refusal::Port));
    check(&policy, "https://127.0.0.1/a", Err(Refusal::Host));
}

#[test]
fn literals_are_vetted_in_every_spelling() {
    let hosts = [
        "127.0.0.1",
        "8.8.8.8",
        "::1",
        "[::ffff:10.0.0.1]",
        "2001:4860::1",
        "0.0.0.0",
    ];
    let policy = AddressPolicy::new(&hosts.map(str::to_owned), false);
    for spelling in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f000001",
    ] {
        check(
            &policy,
            &format!("https://{spelling}/"),
            network("127.0.0.1"),
        );
    }
    check(&policy, "https://0/", network("0.0.0.0"));
    check(&policy, "https://[::1]/", network("::1"));
    check(
        &policy,
        "https://[::ffff:a00:1]/",
        network("::ffff:10.0.0.1"),
    );
    check(&policy, "https://8.8.8.8/", Ok(()));
    check(&policy, "https://[2001:4860::1]/", Ok(()));
}

#[test]
fn development_opens_private_networks_but_nothing_else() {
    let hosts = ["127.0.0.1", "localhost", "cdn.test", "10.0.0.1"].map(str::to_owned);
    let policy = AddressPolicy::new(&hosts, true);
    check(&policy, "https://127.0.0.1:9443/a", Ok(()));
    check(&policy, "http://127.0.0.1:9080/a", Ok(()));
    check(&policy, "http://localhost:9080/a", Ok(()));
    check(&policy, "http://cdn.test/a", Err(Refusal::Scheme));
    check(&policy, "http://10.0.0.1/a", Err(Refusal::Scheme));
    check(&policy, "https://other.test/a", Err(Refusal::Host));
    check(&policy, "https://u@localhost/a", Err(Refusal::UserInfo));
}

#[test]
fn media_types_come_from_the_first_bytes() {
    let cases: [(&[u8], &str); 14] = [
        (b"\0\0\0\x20ftypisom\0\0\x02\0", "video/mp4"),
        (b"\0\0\0\x20ftypiso8\0\0\x02\0", "video/mp4"),
        (b"\0\0\0\x20ftypM4V \0\0\x02\0", "video/mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video/quicktime"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "image/jpeg"),
        (b"ID3\x04\0\0\0\0\0\0", "audio/mpeg"),
        // Frames without a tag before them: MPEG 1, 2 and 2.5; what only begins like one.
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (b"\xff\xf3\x44\xc4", "audio/mpeg"),
        (b"\xff\xe3\x18\xc4", "audio/mpeg"),
        (b"\xff\xe3\xf8\xc4", "application/octet-stream"),
        (b"\xff\xff\xff\xff", "application/octet-stream"),
        (b"<!DOCTYPE html><html>", "text/html"),
        (b"{\"code\":1}", "application/octet-stream"),
    ];
    for (head, expected) in cases {
        assert_eq!(sniff(head), expected, "{head:?}");
    }
    assert_eq!(sniff(b""), "application/octet-stream");
}
