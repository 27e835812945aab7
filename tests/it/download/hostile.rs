//! A small HTTPS server that misbehaves exactly as told: it writes the bytes that a test gives it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What one connection gets.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) then: Then,
}

/// What follows the body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// An orderly end.
    Close,
    /// The connection breaks without one.
    Break,
    /// Silence, the connection open.
    Stall,
    /// The same piece for ever, as fast as it is taken, in chunks.
    Endless,
    /// A byte every 20 ms, for ever.
    Drip,
}

impl Reply {
    /// A well-formed answer with that status line's rest, headers and body.
    pub(crate) fn new(status: &str, headers: &[&str], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        Self {
            head,
            body: body.to_vec(),
            then: Then::Close,
        }
    }

    /// 200 with the right length.
    pub(crate) fn ok(headers: &[&str], body: &[u8]) -> Self {
        Self::new("200 OK", headers, body).length(body.len())
    }

    pub(crate) fn length(mut self, length: usize) -> Self {
        self.head.push_str(&format!("Content-Length: {length}\r\n"));
        self
    }

    pub(crate) fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

/// What one connection asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) head: String,
}

impl Asked {
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

#[derive(Debug, Default)]
struct Script {
    replies: VecDeque<Reply>,
    asked: Vec<Asked>,
    sent: u64,
}

/// The server; its script must be used up when it is dropped.
pub(crate) struct Hostile {
    pub(crate) address: SocketAddr,
    pub(crate) ca_file: PathBuf,
    script: Arc<Mutex<Script>>,
    stop: watch::Sender<bool>,
}

impl Hostile {
    /// Starts a server for `localhost` over TLS that answers one connection after the other.
    pub(crate) async fn start(folder: &Path, replies: Vec<Reply>) -> Self {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ca_file = folder.join("hostile-ca.pem");
        std::fs::write(&ca_file, issued.cert.pem()).unwrap();
        let key =
            rustls::pki_types::PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::listen(ca_file, Some(acceptor), replies).await
    }

    /// The same without TLS.
    pub(crate) async fn start_plain(folder: &Path, replies: Vec<Reply>) -> Self {
        Self::listen(folder.join("none"), None, replies).await
    }

    async fn listen(ca_file: PathBuf, tls: Option<TlsAcceptor>, replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script {
            replies: replies.into(),
            ..Script::default()
        }));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve(listener, tls, Arc::clone(&script), stopped));
        Self {
            address,
            ca_file,
            script,
            stop,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.script.lock().unwrap().asked.clone()
    }

    /// How many body bytes were written, over all connections.
    pub(crate) fn sent(&self) -> u64 {
        self.script.lock().unwrap().sent
    }

    /// Adds to the script.
    pub(crate) fn push(&self, reply: Reply) {
        self.script.lock().unwrap().replies.push_back(reply);
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if !std::thread::panicking() {
            let left = self.script.lock().unwrap().replies.len();
            assert_eq!(left, 0, "replies that nobody asked for");
        }
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    script: Arc<Mutex<Script>>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = stopped.changed() => return,
        };
        let (tls, script) = (tls.clone(), Arc::clone(&script));
        let mut stopped = stopped.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = connection(stream, tls, script) => {}
                _ = stopped.changed() => {}
            }
        });
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, script: Arc<Mutex<Script>>) {
    match tls {
        None => answer(stream, script).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                answer(stream, script).await;
            }
        }
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Arc<Mutex<Script>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let reply = {
        let mut script = script.lock().unwrap();
        let head = String::from_utf8(head).unwrap();
        script.asked.push(Asked { head });
        script.replies.pop_front()
    };
    let Some(reply) = reply else { return };
    let head = format!("{}\r\n", reply.head);
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    if stream.write_all(&reply.body).await.is_err() || stream.flush().await.is_err() {
        return;
    }
    script.lock().unwrap().sent += reply.body.len() as u64;
    match reply.then {
        Then::Close => {
            let _ = stream.shutdown().await;
        }
        Then::Break => {}
        Then::Stall => std::future::pending().await,
        Then::Endless => {
            let piece = vec![b'x'; 16 << 10];
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
            while stream.write_all(&chunk).await.is_ok() {
                script.lock().unwrap().sent += piece.len() as u64;
            }
        }
        Then::Drip => {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            loop {
                tick.tick().await;
                if stream.write_all(b"x").await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}
