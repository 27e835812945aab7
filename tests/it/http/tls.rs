//! Versions of TLS and HTTP, plain text at the wrong door, and certificates that change.

use reqwest::Version;
use reqwest::tls::Version as Tls;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Served, eventually, hasty, hello, new_material, read_to_end, start, tls};
use kling_relay::config::ListenerLimits;
use kling_relay::http::server::ListenError;
use kling_relay::http::tls::{Certificate, Reload, TlsError};

#[tokio::test]
async fn speaks_tls_1_2_and_1_3_and_http_1_and_2() {
    let served = tls(ListenerLimits::default(), hello()).await;
    for tls in [Tls::TLS_1_2, Tls::TLS_1_3] {
        for http in [Version::HTTP_11, Version::HTTP_2] {
            let client = served.client().tls_version_min(tls).tls_version_max(tls);
            let client = match http {
                Version::HTTP_11 => client.http1_only(),
                _ => client.http2_prior_knowledge(),
            };
            let answer = client
                .build()
                .unwrap()
                .get(served.url("/"))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.version(), http, "over {tls:?}");
            assert_eq!(answer.text().await.unwrap(), "hello");
        }
    }
}

#[tokio::test]
async fn plain_http_gets_no_answer_from_a_tls_listener() {
    let served = tls(ListenerLimits::default(), hello()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let answer = read_to_end(&mut stream).await;
    // At most a TLS alert.
    assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    assert!(!answer.windows(4).any(|part| part == b"HTTP"));
}

#[tokio::test]
async fn serves_plain_http_where_it_has_no_certificate() {
    let limits = ListenerLimits::default();
    let served = start(limits, hello(), false, super::DEADLINE).await;
    let answer = served
        .client()
        .build()
        .unwrap()
        .get(served.url("/"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello");
}

/// The first certificate that a new connection is shown.
async fn shown(served: &Served) -> Vec<u8> {
    let stream = served.connect(b"http/1.1").await;
    let chain = stream
        .get_ref()
        .1
        .peer_certificates()
        .expect("it was shown one")
        .to_vec();
    chain[0].to_vec()
}

#[tokio::test]
async fn a_changed_certificate_is_taken_while_running() {
    let mut served = tls(hasty(), hello()).await;
    let first = shown(&served).await;
    let mut running = served.connect(b"http/1.1").await;
    let folder = tempfile::tempdir().unwrap();
    let second = new_material(folder.path());
    // One after the other: for a moment the two do not fit, and the old pair stays.
    std::fs::copy(&second.cert_file, served.files.cert_file.as_ref().unwrap()).unwrap();
    std::fs::copy(&second.key_file, served.files.key_file.as_ref().unwrap()).unwrap();
    let old = std::mem::replace(&mut served.ca, second.ca_file.clone());
    eventually("the new certificate", || async {
        let stream = TcpStream::connect(served.address).await.unwrap();
        served.handshake(b"http/1.1", stream).await.is_ok()
    })
    .await;
    assert_ne!(shown(&served).await, first);
    served.ca = old;
    let stream = TcpStream::connect(served.address).await.unwrap();
    let shaken = served.handshake(b"http/1.1", stream).await;
    assert!(shaken.is_err(), "the old certificate is gone");
    // A connection of before still closes cleanly: it was not cut.
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_broken_certificate_keeps_the_old_one() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (new_material(one.path()), new_material(two.path()));
    let (cert, key) = (&first.cert_file, &first.key_file);
    let certificate = Certificate::load(cert, key).await.unwrap();
    assert!(matches!(certificate.reload().await, Reload::Unchanged));

    std::fs::copy(&second.cert_file, cert).unwrap();
    let reload = certificate.reload().await;
    assert!(
        matches!(reload, Reload::Kept(TlsError::Unusable { .. })),
        "{reload:?}"
    );
    assert!(
        matches!(certificate.reload().await, Reload::Unchanged),
        "told once"
    );
    std::fs::write(cert, "none").unwrap();
    let reload = certificate.reload().await;
    assert!(
        matches!(reload, Reload::Kept(TlsError::NoCertificate { .. })),
        "{reload:?}"
    );
    std::fs::remove_file(cert).unwrap();
    let reload = certificate.reload().await;
    assert!(
        matches!(reload, Reload::Kept(TlsError::Read { .. })),
        "{reload:?}"
    );

    std::fs::copy(&second.cert_file, cert).unwrap();
    std::fs::copy(&second.key_file, key).unwrap();
    assert!(matches!(certificate.reload().await, Reload::Replaced));
    std::fs::copy(&first.ca_file, key).unwrap();
    let reload = certificate.reload().await;
    assert!(
        matches!(reload, Reload::Kept(TlsError::NoKey { .. })),
        "{reload:?}"
    );
}

#[tokio::test]
async fn a_listener_without_a_usable_certificate_or_address_does_not_start() {
    let served = tls(ListenerLimits::default(), hello()).await;
    let cert = served.files.cert_file.clone().unwrap();
    let try_start = async |tls: &kling_relay::config::TlsFiles, address| {
        let listen = kling_relay::http::server::Listen {
            name: "test",
            address,
            tls,
            limits: &ListenerLimits::default(),
            failure: kling_relay::http::server::plain_failure,
            drain_timeout: super::DEADLINE,
        };
        let stop = tokio_util::sync::CancellationToken::new();
        let clock = kling_relay::edge::clock::Clock::system();
        kling_relay::http::server::serve(listen, hello(), clock, stop).await
    };
    let taken = try_start(&served.files, served.address).await;
    assert!(matches!(taken, Err(ListenError::Bind { .. })), "{taken:?}");
    std::fs::write(&cert, "none").unwrap();
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let broken = try_start(&served.files, free).await;
    assert!(matches!(broken, Err(ListenError::Tls { .. })), "{broken:?}");
}
