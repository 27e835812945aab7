//! Listeners as strangers meet them: TLS, bounds, health, and the callback routes.

mod tls;
mod limits;
mod crowd;
mod health;
pub(crate) mod logs;
mod world;
mod callbacks;
mod signatures;
mod strangers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use kling_relay::config::{ListenerLimits, TlsFiles};
use kling_relay::edge::clock::Clock;
use kling_relay::edge::development::Development;
use kling_relay::http::server::{Listen, Listener, serve};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer unless it is broken.
const DEADLINE: Duration = Duration::from_secs(20);

/// A listener with its own certificate; it stops with the value.
struct Served {
    listener: Option<Listener>,
    address: SocketAddr,
    stop: CancellationToken,
    ca: PathBuf,
    files: TlsFiles,
    _folder: TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A route that says when somebody has come, and answers when it is told.
fn held() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, outside) = (Arc::clone(&entered), Arc::clone(&leave));
    let slow = get(async move || {
        inside.notify_one();
        outside.notified().await;
        "finished"
    });
    (Router::new().route("/", slow), entered, leave)
}

/// Serves over TLS within these limits.
async fn tls(limits: ListenerLimits, router: Router) -> Served {
    start(limits, router, true, Duration::from_secs(5)).await
}

async fn start(limits: ListenerLimits, router: Router, tls: bool, drain: Duration) -> Served {
    // Reqwest and rustls take the process's provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let material = new_material(folder.path());
    let files = match tls {
        true => TlsFiles {
            cert_file: Some(material.cert_file),
            key_file: Some(material.key_file),
        },
        false => TlsFiles::default(),
    };
    let listen = Listen {
        name: "test",
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: &files,
        limits: &limits,
        failure: kling_relay::http::server::plain_failure,
        drain_timeout: drain,
    };
    let stop = CancellationToken::new();
    let listener = serve(listen, router, Clock::system(), stop.clone())
        .await
        .expect("it can listen");
    Served {
        address: listener.address(),
        listener: Some(listener),
        stop,
        ca: material.ca_file,
        files,
        _folder: folder,
    }
}

fn new_material(folder: &Path) -> Development {
    Development::ensure(folder, Clock::system().now()).expect("material can be made")
}

/// A router with one page.
fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// Limits with short waits, for tests that wait for their end.
fn hasty() -> ListenerLimits {
    ListenerLimits {
        handshake_timeout: Duration::from_millis(150),
        header_timeout: Duration::from_millis(150),
        certificate_check_every: Duration::from_millis(20),
        ..ListenerLimits::default()
    }
}

impl Served {
    fn url(&self, path: &str) -> String {
        let scheme = if self.files.cert_file.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    /// A client that trusts this listener's authority only.
    fn client(&self) -> reqwest::ClientBuilder {
        let pem = std::fs::read(&self.ca).expect("the authority's certificate is there");
        let ca = reqwest::Certificate::from_pem(&pem).expect("it is PEM");
        reqwest::Client::builder()
            .tls_certs_only([ca])
            .no_proxy()
            .timeout(DEADLINE)
            .resolve("localhost", self.address)
    }

    /// A bare TLS connection with this protocol.
    async fn connect(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let shaken = tokio::time::timeout(DEADLINE, self.handshake(alpn, stream)).await;
        shaken
            .expect("in time")
            .expect("the certificate is trusted")
    }

    async fn handshake(
        &self,
        alpn: &[u8],
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(&self.ca).expect("it is PEM");
        roots.add(ca).expect("it is an authority");
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from("localhost").expect("it is a name");
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

/// Reads to the end of a connection, however it ends; fails when it does not.
async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut read = Vec::new();
    // A cut TLS connection ends with an error; what came before counts.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut read))
        .await
        .expect("the connection ends");
    read
}

/// Waits until it holds; fails at the deadline.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < DEADLINE, "{what} did not happen in time");
        tokio::task::yield_now().await;
    }
}
