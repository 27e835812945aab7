//! Listeners: TLS or plain, with a bound on everything that a stranger can make us hold:
//! connections, handshakes, headers, streams, requests, age. What is served is the router's.
//!
//! Nothing here logs a path: a callback's path is a capability.

mod connection;

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::MapResponseLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use super::places::Places;
use super::tls::{Certificate, TlsError};
use crate::config::{ListenerLimits, TlsFiles};
use crate::edge::clock::Clock;
use crate::telemetry::{self, chain};

/// Pause after the kernel could not hand over a connection, typically for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be had.
    #[error("the {name} listener cannot have {address}")]
    Bind {
        /// Whose listener.
        name: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("the {name} listener has no certificate")]
    Tls {
        /// Whose listener.
        name: &'static str,
        /// Why.
        source: TlsError,
    },
}

/// What to listen on, and within which bounds.
#[derive(Clone, Debug)]
pub struct Listen<'a> {
    /// `receiver`, `api` or `admin`: for logs.
    pub name: &'static str,
    /// Where; port 0 takes a free one.
    pub address: SocketAddr,
    /// Plain HTTP without both files.
    pub tls: &'a TlsFiles,
    /// The bounds.
    pub limits: &'a ListenerLimits,
    /// How the listener words what it answers itself: 408 and 500.
    pub failure: fn(StatusCode) -> Response<Body>,
    /// How long connections may go on after a stop.
    pub drain_timeout: Duration,
}

/// A running listener.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Listener {
    /// Returns the bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the listener has stopped and its connections have ended.
    pub async fn finished(self) {
        if let Err(error) = self.task.await {
            tracing::error!(error = %chain(&error), "a listener died");
        }
    }
}

/// Binds and serves until `stop`; then takes no further request, finishes those that run and ends
/// what is left after the drain timeout.
///
/// # Errors
/// [`ListenError`] when the address or the certificate cannot be had.
pub async fn serve(
    listen: Listen<'_>,
    router: Router,
    clock: Clock,
    stop: CancellationToken,
) -> Result<Listener, ListenError> {
    let Listen { name, limits, .. } = listen;
    let certificate = match (&listen.tls.cert_file, &listen.tls.key_file) {
        (Some(cert), Some(key)) => Some(load(name, cert, key).await?),
        (Some(_) | None, None) | (None, Some(_)) => None,
    };
    let bind = |source| ListenError::Bind {
        name,
        address: listen.address,
        source,
    };
    let socket = bound_socket(listen.address, limits.backlog).map_err(bind)?;
    let address = socket.local_addr().map_err(bind)?;
    let scheme = if certificate.is_some() {
        "https"
    } else {
        "http"
    };
    tracing::info!(listener = name, %address, scheme, "listening");
    let server = Server {
        name,
        limits: limits.clone(),
        acceptor: certificate
            .as_ref()
            .map(|certificate| TlsAcceptor::from(certificate.server_config())),
        http1: http1(limits),
        http2: http2(limits),
        router: bounded(router, &listen),
        clock,
        stop,
        kill: CancellationToken::new(),
    };
    let task = tokio::spawn(run(
        Arc::new(server),
        socket,
        certificate,
        listen.drain_timeout,
    ));
    Ok(Listener { address, task })
}

fn bound_socket(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As the standard library does: a port is free again as soon as its program has stopped.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

async fn load(
    name: &'static str,
    cert: &Path,
    key: &Path,
) -> Result<Arc<Certificate>, ListenError> {
    let loaded = Certificate::load(cert, key).await;
    loaded.map_err(|source| ListenError::Tls { name, source })
}

/// What every connection of a listener shares.
struct Server {
    name: &'static str,
    limits: ListenerLimits,
    acceptor: Option<TlsAcceptor>,
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
    router: Router,
    clock: Clock,
    /// No further requests.
    stop: CancellationToken,
    /// No further bytes.
    kill: CancellationToken,
}

async fn run(
    server: Arc<Server>,
    socket: TcpListener,
    certificate: Option<Arc<Certificate>>,
    drain_timeout: Duration,
) {
    let every = server.limits.certificate_check_every;
    let watch = async {
        match &certificate {
            Some(certificate) => {
                let (clock, stop) = (&server.clock, &server.stop);
                certificate.watch(server.name, every, clock, stop).await;
            }
            None => server.stop.cancelled().await,
        }
    };
    let connections = TaskTracker::new();
    let ((), ()) = tokio::join!(watch, accept(&server, socket, &connections));
    connections.close();
    if timeout(drain_timeout, connections.wait()).await.is_err() {
        let left = connections.len();
        tracing::warn!(
            listener = server.name,
            left,
            "connections were cut at the end of the drain"
        );
        server.kill.cancel();
        connections.wait().await;
    }
    tracing::info!(listener = server.name, "stopped listening");
}

/// Takes connections; when there are too many, idle ones make room.
async fn accept(server: &Arc<Server>, socket: TcpListener, connections: &TaskTracker) {
    let places = Places::new(server.name, &server.limits);
    loop {
        let next = async {
            let (stream, peer) = socket.accept().await?;
            Ok::<_, io::Error>((stream, places.take(peer.ip(), &server.clock).await))
        };
        match server.stop.run_until_cancelled(next).await {
            None => return,
            Some(Ok((stream, place))) => {
                connections.spawn(Arc::clone(server).connection(stream, place));
            }
            Some(Err(error)) => {
                tracing::warn!(listener = server.name, %error, "a connection could not be taken");
                server.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn http1(limits: &ListenerLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.headers_max_bytes);
    builder
}

fn http2(limits: &ListenerLimits) -> Builder<TokioExecutor> {
    let headers_max_bytes = u32::try_from(limits.headers_max_bytes).unwrap_or(u32::MAX);
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .max_pending_accept_reset_streams(limits.http2_resets_max)
        .max_local_error_reset_streams(limits.http2_resets_max)
        .max_header_list_size(headers_max_bytes)
        // A peer that no longer answers is found out, whatever its requests do.
        .keep_alive_interval(limits.request_timeout)
        .keep_alive_timeout(limits.header_timeout);
    builder
}

/// A request has its time, body included; a panic costs one answer.
fn bounded(router: Router, listen: &Listen<'_>) -> Router {
    let (name, failure, bound) = (listen.name, listen.failure, listen.limits.request_timeout);
    let timeout = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, bound);
    // No route answers 408 by itself.
    let worded = MapResponseLayer::new(move |answer: Response<Body>| match answer.status() {
        StatusCode::REQUEST_TIMEOUT => {
            late(name);
            failure(StatusCode::REQUEST_TIMEOUT)
        }
        _ => answer,
    });
    // The panic hook has logged the place.
    let panicked =
        move |_: Box<dyn Any + Send + 'static>| failure(StatusCode::INTERNAL_SERVER_ERROR);
    router
        .layer(timeout)
        .layer(worded)
        .layer(CatchPanicLayer::custom(panicked))
}

fn late(listener: &'static str) {
    metrics::counter!(telemetry::REQUESTS_LATE, "listener" => listener).increment(1);
}

/// Words what a listener answers itself as plain text.
#[must_use]
pub fn plain_failure(status: StatusCode) -> Response<Body> {
    let text = match status {
        StatusCode::REQUEST_TIMEOUT => "too late\n",
        _ => "internal error\n",
    };
    (status, text).into_response()
}

/// Answers unknown paths and wrong methods with constant text.
pub(super) fn plain_fallbacks(router: Router) -> Router {
    router
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        .method_not_allowed_fallback(async || {
            (StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n")
        })
}
