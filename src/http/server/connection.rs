//! One connection from its first byte to its last, within the listener's bounds.

use std::io;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::super::places::{Counted, Place};
use super::{Server, late};
use crate::telemetry;

impl Server {
    pub(super) async fn connection(self: Arc<Self>, stream: TcpStream, place: Place) {
        let place = Arc::new(place);
        tokio::select! {
            () = place.evicted() => {}
            () = self.serve(stream, &place) => {}
        }
    }

    /// What most connections never need is set apart, so that strangers who connect and say
    /// nothing cost next to nothing.
    async fn serve(&self, stream: TcpStream, place: &Arc<Place>) {
        // Small answers must not wait for more; where it cannot be set they merely do.
        let _ = stream.set_nodelay(true);
        let limits = &self.limits;
        let Some(acceptor) = &self.acceptor else {
            let asked_by = Instant::now() + limits.header_timeout;
            if self.spoken(stream.readable(), asked_by).await {
                Box::pin(self.http(stream, false, place, asked_by)).await;
            }
            return;
        };
        let shaken_by = Instant::now() + limits.handshake_timeout;
        if !self.spoken(stream.readable(), shaken_by).await {
            return;
        }
        let handshake = Box::pin(async { Ok(Box::new(acceptor.accept(stream).await?)) });
        let handshake = timeout_at(shaken_by, handshake);
        let mut stream = match self.stop.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => stream,
            // Strangers who speak no TLS are no news.
            Some(Ok(Err(error))) => {
                let error: io::Error = error;
                tracing::debug!(listener = self.name, %error, "a TLS handshake failed");
                self.unshaken();
                return;
            }
            Some(Err(_)) => {
                self.unshaken();
                return;
            }
            None => return,
        };
        let asked_by = Instant::now() + limits.header_timeout;
        if self.spoken(stream.fill_buf(), asked_by).await {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Box::pin(self.http(stream, is_http2, place, asked_by)).await;
        }
    }

    fn unshaken(&self) {
        metrics::counter!(telemetry::HANDSHAKES_FAILED, "listener" => self.name).increment(1);
    }

    /// Waits for a first byte; tells whether it came in time.
    async fn spoken<T>(
        &self,
        first_byte: impl Future<Output = io::Result<T>>,
        by: Instant,
    ) -> bool {
        let in_time = timeout_at(by, first_byte);
        let spoken = self.stop.run_until_cancelled(in_time).await;
        matches!(spoken, Some(Ok(Ok(_))))
    }

    /// Serves one connection: its first request must come in time, its answers must be taken, after
    /// the age limit or a stop it takes no more, and what still runs then has one request's time.
    async fn http<S>(&self, stream: S, is_http2: bool, place: &Arc<Place>, asked_by: Instant)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = Counted::new(self.router.clone(), Arc::clone(place));
        let builder = if is_http2 { &self.http2 } else { &self.http1 };
        let connection =
            builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        // Errors here are the client's: cut lines, broken frames, headers that are too long.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.unasked(place, asked_by) => return,
            () = self.untaken(place) => return,
            () = self.clock.sleep(self.limits.connection_age_max) => {}
            () = self.stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        let rest = async {
            if self.stop.is_cancelled() {
                // The drain has a bound of its own.
                self.kill.cancelled().await;
            } else {
                let last = self.clock.sleep(self.limits.request_timeout);
                self.kill.run_until_cancelled(last).await;
            }
        };
        tokio::select! {
            _ = connection => {}
            () = rest => {}
        }
    }

    /// Ends when no request has come by then, its first byte included. HTTP/2 has no such timeout
    /// of its own, and a silent connection would hold its place for ever.
    async fn unasked(&self, place: &Place, by: Instant) {
        let left = by.saturating_duration_since(Instant::now());
        self.clock.sleep(left).await;
        if place.was_asked() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends when an answer of known length is not taken in the time that a request has. A client of
    /// HTTP/2 can leave it lying while it answers every ping, and nobody looks at it meanwhile.
    async fn untaken(&self, place: &Place) {
        let bound = self.limits.request_timeout;
        loop {
            let waited = place.answering_since().map(|since| since.elapsed());
            let waited = waited.unwrap_or_default();
            if waited >= bound {
                late(self.name);
                return;
            }
            self.clock.sleep(bound - waited).await;
        }
    }
}
