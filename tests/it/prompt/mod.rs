//! The prompt policy as callers and Kling meet it, and a moderation service for it to ask.

mod moderation;
mod policy;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use kling_relay::config::{ListenerLimits, TlsFiles};
use kling_relay::edge::clock::Clock;
use kling_relay::edge::development::Development;
use kling_relay::http::server::{Listen, Listener, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// What the service answers.
#[derive(Clone)]
pub(crate) enum Reply {
    Body(String),
    Status(u16),
    Redirect,
    Silence,
}

/// What the service was asked, and what it answers.
struct Script {
    reply: Box<dyn Fn(&Value) -> Reply + Send>,
    asked: Vec<(HeaderMap, Value)>,
    open: usize,
    most_open: usize,
    hold: Option<CancellationToken>,
}

/// A moderation service. It stops with the value.
pub(crate) struct Hook {
    script: Arc<Mutex<Script>>,
    listener: Listener,
    stop: CancellationToken,
    tls: bool,
    pub(crate) ca: PathBuf,
    _folder: TempDir,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Hook {
    /// Answers each question so.
    pub(crate) async fn start(reply: impl Fn(&Value) -> Reply + Send + 'static) -> Self {
        Self::listen(false, reply).await
    }

    pub(crate) async fn over_tls(reply: impl Fn(&Value) -> Reply + Send + 'static) -> Self {
        Self::listen(true, reply).await
    }

    async fn listen(tls: bool, reply: impl Fn(&Value) -> Reply + Send + 'static) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let script = Arc::new(Mutex::new(Script {
            reply: Box::new(reply),
            asked: Vec::new(),
            open: 0,
            most_open: 0,
            hold: None,
        }));
        let router = Router::new()
            .route("/check", post(answer))
            .with_state(Arc::clone(&script));
        let folder = tempfile::tempdir().unwrap();
        let material = Development::ensure(folder.path(), Clock::system().now()).unwrap();
        let files = TlsFiles {
            cert_file: Some(material.cert_file).filter(|_| tls),
            key_file: Some(material.key_file).filter(|_| tls),
        };
        let listen = Listen {
            name: "hook",
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: &files,
            limits: &ListenerLimits::default(),
            failure: kling_relay::http::server::plain_failure,
            drain_timeout: Duration::from_secs(1),
        };
        let stop = CancellationToken::new();
        let listener = serve(listen, router, Clock::system(), stop.clone()).await;
        Self {
            script,
            listener: listener.unwrap(),
            stop,
            tls,
            ca: material.ca_file,
            _folder: folder,
        }
    }

    pub(crate) fn url(&self) -> url::Url {
        let scheme = if self.tls { "https" } else { "http" };
        let port = self.listener.address().port();
        let url = format!("{scheme}://localhost:{port}/check");
        url.parse().unwrap()
    }

    /// Answers so from now on.
    pub(crate) fn now(&self, reply: impl Fn(&Value) -> Reply + Send + 'static) {
        self.script.lock().unwrap().reply = Box::new(reply);
    }

    /// Keeps every question open until the token is cancelled.
    pub(crate) fn hold(&self) -> CancellationToken {
        let token = CancellationToken::new();
        self.script.lock().unwrap().hold = Some(token.clone());
        token
    }

    /// Returns what was asked so far.
    pub(crate) fn asked(&self) -> Vec<(HeaderMap, Value)> {
        self.script.lock().unwrap().asked.clone()
    }

    /// How many questions are open, and how many were at most.
    pub(crate) fn open(&self) -> (usize, usize) {
        let script = self.script.lock().unwrap();
        (script.open, script.most_open)
    }
}

pub(crate) fn pass() -> Reply {
    Reply::Body(r#"{"allowed": true}"#.to_owned())
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let question = serde_json::from_str(&body).expect("the question is JSON");
    let (reply, hold) = {
        let mut script = script.lock().unwrap();
        script.open += 1;
        script.most_open = script.most_open.max(script.open);
        let reply = (script.reply)(&question);
        script.asked.push((headers, question));
        (reply, script.hold.clone())
    };
    if let Some(hold) = hold {
        hold.cancelled().await;
    }
    script.lock().unwrap().open -= 1;
    match reply {
        Reply::Body(text) => text.into_response(),
        Reply::Status(code) => StatusCode::from_u16(code).unwrap().into_response(),
        Reply::Redirect => Redirect::temporary("/check").into_response(),
        Reply::Silence => std::future::pending().await,
    }
}
