//! What may be called at all, hop by hop.

use kling_relay::edge::fetch::{FetchError, Interruption, Refusal};

use super::hostile::{Hostile, Reply};
use super::{PATH, World, check_refused, interruption, mp4};

#[tokio::test]
async fn plain_http_is_for_loopback_in_development_only() {
    let mut world = World::new(Vec::new()).await;
    let content = mp4(100);
    let plain = Hostile::start_plain(world.folder.path(), vec![Reply::ok(&[], &content)]).await;
    let url = format!("http://localhost:{}{PATH}", plain.address.port());
    let fetched = world.fetch_url(&url).await.unwrap();
    world.check_file(&fetched, &content);
    drop(fetched);
    world.config.allow_private = false;
    check_refused(world.fetch_url(&url).await, Refusal::Scheme);
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused() {
    let mut world = World::new(Vec::new()).await;
    world.config.allow_private = false;
    match world.fetch_url("https://localhost/SECRET").await {
        Err(FetchError::Refused {
            why: Refusal::Network(ip),
            ..
        }) => assert!(ip.is_loopback()),
        other => panic!("expected a refusal by the resolver, got {other:?}"),
    }
}

#[tokio::test]
async fn forbidden_addresses_are_refused_before_any_connection() {
    let mut world = World::new(Vec::new()).await;
    let port = world.server.address.port();
    let url = format!("https://user:SECRET@localhost:{port}/");
    check_refused(world.fetch_url(&url).await, Refusal::UserInfo);
    check_refused(world.fetch_url("SECRET").await, Refusal::NotAUrl);
    check_refused(
        world.fetch_url("https://other.test/SECRET").await,
        Refusal::Host,
    );
    world.config.allow_private = false;
    world.config.allowed_hosts = vec!["localhost".into(), "127.0.0.1".into(), "::1".into()];
    let url = world.server.url(PATH);
    check_refused(world.fetch_url(&url).await, Refusal::Port);
    for ip in ["127.0.0.1", "::1"] {
        let ip: std::net::IpAddr = ip.parse().unwrap();
        let url = format!("https://{}/SECRET", std::net::SocketAddr::new(ip, 443));
        check_refused(world.fetch_url(&url).await, Refusal::Network(ip));
    }
    assert!(world.server.asked().is_empty());
}

#[tokio::test]
async fn each_redirect_is_vetted() {
    let hops = [
        ("https://127.0.0.1/x", Refusal::Host),
        ("https://[::1]/x", Refusal::Host),
        ("https://169.254.169.254/latest/meta-data", Refusal::Host),
        ("https://evil.test/x", Refusal::Host),
        ("https://localhost@evil.test/x", Refusal::UserInfo),
        ("ftp://localhost/x", Refusal::Scheme),
        ("file:///etc/passwd", Refusal::NotAUrl),
        ("http://[nonsense", Refusal::NotAUrl),
    ];
    let world = World::new(Vec::new()).await;
    for (location, expected) in hops {
        let location = format!("Location: {location}");
        let reply = Reply::new("302 Found", &[&location, "Content-Length: 0"], b"");
        world.server.push(reply);
        check_refused(world.fetch().await, expected);
    }
    world
        .server
        .push(Reply::new("302 Found", &["Content-Length: 0"], b""));
    check_refused(world.fetch().await, Refusal::NotAUrl);
}

#[tokio::test]
async fn a_redirect_to_a_lesser_scheme_is_refused() {
    let mut world = World::new(Vec::new()).await;
    world.config.allowed_hosts.push("cdn.test".to_owned());
    let headers = ["Location: http://cdn.test/x", "Content-Length: 0"];
    world
        .server
        .push(Reply::new("301 Moved Permanently", &headers, b""));
    check_refused(world.fetch().await, Refusal::Scheme);
}

#[tokio::test]
async fn redirects_are_followed_up_to_their_bound() {
    let content = mp4(1_000);
    let hop = || {
        Reply::new(
            "307 Temporary Redirect",
            &["Location: /next", "Content-Length: 0"],
            b"",
        )
    };
    let mut replies: Vec<_> = (0..3).map(|_| hop()).collect();
    replies.push(Reply::ok(&[], &content));
    replies.extend((0..4).map(|_| hop()));
    let world = World::new(replies).await;
    let fetched = world.fetch().await.unwrap();
    world.check_file(&fetched, &content);
    drop(fetched);
    check_refused(world.fetch().await, Refusal::Redirects);
    assert_eq!(world.server.asked().len(), 8);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_no_server() {
    let mut world = World::new(Vec::new()).await;
    world.config.ca_file = None;
    world.config.attempts_max = 2;
    let (_, why) = interruption(world.fetch().await);
    assert!(matches!(why, Interruption::Connection(_)), "{why:?}");
    assert!(world.server.asked().is_empty());
}
