//! A server that answers one call after the other as the test wrote it down, bytes and all: for
//! what no well-behaved stand-in does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to one call.
#[derive(Debug)]
pub(crate) enum Step {
    /// HTTP status, further headers, body.
    Answer(u16, &'static str, String),
    /// The call is read and the connection closed without a word.
    HangUp,
    /// The call is read and never answered.
    Silence,
}

/// An answer of Kling's.
pub(crate) fn answer(http: u16, body: Value) -> Step {
    Step::Answer(http, "", body.to_string())
}

/// A call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `GET /tasks?task_ids=1`
    pub(crate) line: String,
    /// Headers, in lower case.
    pub(crate) headers: String,
    /// The body; `null` where there is none.
    pub(crate) body: Value,
}

/// The server; it ends with the test's runtime.
pub(crate) struct ScriptedKling {
    address: SocketAddr,
    script: Arc<Mutex<VecDeque<Step>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl ScriptedKling {
    pub(crate) async fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            script: Arc::new(Mutex::new(script.into())),
            calls: Arc::default(),
        };
        let (script, calls) = (server.script.clone(), server.calls.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), calls.clone()));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> url::Url {
        format!("http://{}", self.address).parse().unwrap()
    }

    /// Every call so far. The whole script must have been played.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let script = self.script.lock().unwrap();
        assert!(script.is_empty(), "steps left over: {script:?}");
        self.calls.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<VecDeque<Step>>>,
    calls: Arc<Mutex<Vec<Call>>>,
) {
    let Some(call) = read(&mut stream).await else {
        return;
    };
    calls.lock().unwrap().push(call);
    let step = script.lock().unwrap().pop_front();
    match step {
        Some(Step::Answer(http, headers, body)) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {http} x\r\ncontent-length: {length}\r\n");
            let head = format!("{head}connection: close\r\n{headers}\r\n");
            // Whoever has heard enough may hang up in the middle.
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
        Some(Step::HangUp) => {}
        Some(Step::Silence) => std::future::pending().await,
        None => panic!("a call that is not in the script"),
    }
}

async fn read(stream: &mut TcpStream) -> Option<Call> {
    let mut bytes = Vec::new();
    let head = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
        }
    };
    let headers = head.to_lowercase();
    let length = headers.split("content-length: ").nth(1);
    let length = length.map_or(0, |rest| {
        rest.split("\r\n").next().unwrap().parse().unwrap()
    });
    while bytes.len() < length {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    let line = head.split(" HTTP/1.1").next().unwrap().to_owned();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Some(Call {
        line,
        headers,
        body,
    })
}
