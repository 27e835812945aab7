//! Calls to Kling's API: creates and queries, bounded in time and size, one log line each.
//!
//! A create is sent once; what its failure means is `decide::retry`'s to say. Queries change
//! nothing, so they are repeated here, as the decision handed in at construction says.

mod query;
mod list;

use std::fmt;
use std::time::{Duration, Instant};

use jiff::fmt::rfc2822;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response};
use serde_json::Value;
use url::Url;

pub use list::{PAGE_MAX, PageOf, Span};
pub use query::{Answer, IDS_MAX, LookUp, QueryReason, Sight};

use super::auth::{Credentials, InvalidCredentials};
use super::callback_url::CallbackUrl;
use super::wire;
use crate::config;
use crate::edge::clock::Clock;
use crate::model::amount::Unit;
use crate::model::ids::TaskId;
use crate::model::observation::Observation;
use crate::model::reply::{CallFailure, Reply};
use crate::model::request::KlingCall;
use crate::model::task::Generation;
use crate::telemetry::KLING_REQUEST;

/// Decides, for a failed query and how often it was tried, the wait before it is tried again;
/// `None` gives up. `decide::retry::after_read` behind the numbers of the configuration.
pub type ReadRetry = Box<dyn Fn(&CallFailure, u32) -> Option<Duration> + Send + Sync>;

/// How long a token that is "not yet valid" rests before it is signed again.
///
/// Source: platform reference 4, code 1003.
const NOT_YET_VALID_WAIT: Duration = Duration::from_secs(5);

/// Refusals of a token that a fresh one may mend.
///
/// Source: platform reference 4.
const TOKEN_REFUSED: [i64; 3] = [1002, 1003, 1004];
const TOKEN_NOT_YET_VALID: i64 = 1003;

/// Why no client can be made: a matter of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientSetUp {
    /// No usable credential.
    #[error(transparent)]
    Credentials(#[from] InvalidCredentials),
    /// The base URL would send credentials in the clear.
    #[error("kling.base_url must be https (http is for loopback hosts only)")]
    PlainHttp,
    /// The extra trust root cannot be read.
    #[error("kling.ca_file cannot be read")]
    CaFile(#[source] std::io::Error),
    /// The extra trust root is no certificate, or TLS cannot be set up.
    #[error("TLS to Kling cannot be set up")]
    Tls(#[source] reqwest::Error),
}

/// A pooled client of one Kling account.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    credentials: Credentials,
    response_max_bytes: usize,
    read_retry: ReadRetry,
    clock: Clock,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ClientSetUp`] when the configuration does not allow one.
    pub fn new(
        kling: &config::Kling,
        read_retry: ReadRetry,
        clock: Clock,
    ) -> Result<Self, ClientSetUp> {
        let loopback = is_loopback(&kling.base_url);
        if kling.base_url.scheme() != "https" && !loopback {
            return Err(ClientSetUp::PlainHttp);
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(kling.connect_timeout)
            .timeout(kling.request_timeout)
            // A redirect would carry the credential elsewhere; Kling sends none.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("kling-relay/", env!("CARGO_PKG_VERSION")));
        if loopback {
            builder = builder.no_proxy();
        }
        if let Some(path) = &kling.ca_file {
            let pem = std::fs::read(path).map_err(ClientSetUp::CaFile)?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(ClientSetUp::Tls)?;
            builder = builder.tls_certs_merge(roots);
        }
        Ok(Self {
            http: builder.build().map_err(ClientSetUp::Tls)?,
            base: kling.base_url.clone(),
            credentials: Credentials::from_config(kling, clock.clone())?,
            response_max_bytes: kling.response_max_bytes,
            read_retry,
            clock,
        })
    }

    /// Tells whether the credential is valid for creates of that standard.
    #[must_use]
    pub fn serves(&self, generation: Generation) -> bool {
        self.credentials.serve(generation)
    }

    /// Returns the currency of the account's cash balance, for [`wire::Terms`].
    #[must_use]
    pub fn cash_unit(&self) -> Unit {
        wire::cash_unit(&self.base)
    }

    /// Creates a task, once. A task that Kling made is returned as its first observation, with our
    /// id in it.
    ///
    /// # Errors
    /// [`CallFailure`]; after [`CallFailure::OutcomeUnknown`] and unreadable answers the task may
    /// exist.
    pub async fn create(
        &self,
        call: &KlingCall,
        external_id: &TaskId,
        callback_url: &CallbackUrl,
    ) -> Result<Observation, CallFailure> {
        let url = self.url(&call.path)?;
        let body = wire::create_body(call, external_id, callback_url.expose());
        let endpoint = format!("POST {}", endpoint(&call.path));
        let answer = self.call(Method::POST, &endpoint, url, Some(&body)).await;
        // Kling may quote the address in a refusal, and a refusal's words reach events.
        let answer = answer.map_err(|failure| strike_out(failure, callback_url));
        let (envelope, http) = answer?;
        match wire::parse_created(&envelope.data) {
            Ok(mut created) => {
                created.external_id = Some(external_id.as_str().to_owned());
                Ok(created)
            }
            Err(problem) => Err(CallFailure::OutcomeUnknown(format!(
                "HTTP {http} says success, but names no task: {problem}"
            ))),
        }
    }

    fn url(&self, path: &str) -> Result<Url, CallFailure> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let segment = |s: &str| !s.is_empty() && !s.starts_with('.') && s.bytes().all(plain);
        // Model names come from callers; `..` or `?` in one would be another endpoint.
        if !path
            .strip_prefix('/')
            .is_some_and(|path| path.split('/').all(segment))
        {
            let words = "its path holds characters that Kling's paths never do";
            return Err(CallFailure::Impossible(words.to_owned()));
        }
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        Ok(url)
    }

    /// Makes one call; a refused token is signed again once.
    async fn call(
        &self,
        method: Method,
        endpoint: &str,
        url: Url,
        body: Option<&Value>,
    ) -> Result<(wire::Envelope, u16), CallFailure> {
        let mut renewed = false;
        loop {
            let header = self
                .credentials
                .header()
                .ok_or_else(|| CallFailure::NotSent("no token could be signed".to_owned()))?;
            let started = Instant::now();
            let sent = self
                .send(method.clone(), url.clone(), header.clone(), body)
                .await;
            report(endpoint, &sent, started.elapsed());
            let refused = match &sent {
                Err(CallFailure::Answered(reply)) => {
                    reply.code.filter(|code| TOKEN_REFUSED.contains(code))
                }
                Ok(_) | Err(_) => None,
            };
            match refused {
                Some(code) if self.credentials.can_renew() && !renewed => {
                    renewed = true;
                    if code == TOKEN_NOT_YET_VALID {
                        self.clock.sleep(NOT_YET_VALID_WAIT).await;
                    }
                    self.credentials.renew(&header);
                }
                Some(_) | None => return sent,
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        authorization: HeaderValue,
        body: Option<&Value>,
    ) -> Result<(wire::Envelope, u16), CallFailure> {
        let mut request = self
            .http
            .request(method, url)
            .header(AUTHORIZATION, authorization)
            // Kling's tables ask for it on reads too.
            .header(CONTENT_TYPE, "application/json");
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let mut response = request.send().await.map_err(transport)?;
        let http = response.status();
        let retry_after = self.retry_after(response.headers());
        let bytes = self.read(&mut response).await?;
        let envelope = wire::parse_envelope(&bytes).ok();
        match envelope {
            Some(envelope) if http.is_success() && envelope.code == 0 => {
                Ok((envelope, http.as_u16()))
            }
            Some(envelope) => Err(CallFailure::Answered(Reply {
                http: http.as_u16(),
                code: Some(envelope.code),
                message: envelope.message,
                request_id: envelope.request_id,
                retry_after,
            })),
            None => Err(CallFailure::Answered(Reply {
                http: http.as_u16(),
                code: None,
                message: String::new(),
                request_id: None,
                retry_after,
            })),
        }
    }

    async fn read(&self, response: &mut Response) -> Result<Vec<u8>, CallFailure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if bytes.len() + chunk.len() > self.response_max_bytes {
                let max = self.response_max_bytes;
                let words = format!("the answer is longer than {max} bytes");
                return Err(CallFailure::OutcomeUnknown(words));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Kling documents no such header; where there is one it is honoured.
    fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let at = rfc2822::parse(value).ok()?.timestamp();
        Duration::try_from(at.duration_since(self.clock.now())).ok()
    }
}

/// A path with its variable parts replaced, so that logs and metrics keep few names.
fn endpoint(path: &str) -> String {
    if wire::is_legacy(path) {
        return path.to_owned();
    }
    let product = path.split('/').nth(1).unwrap_or_default();
    format!("/{product}/{{model}}")
}

/// One line and one measurement per call. Never a body, an address or a header.
fn report(endpoint: &str, sent: &Result<(wire::Envelope, u16), CallFailure>, elapsed: Duration) {
    let (result, http, code, request_id) = match sent {
        Ok((envelope, http)) => ("ok", Some(*http), Some(0), envelope.request_id.as_deref()),
        Err(CallFailure::Answered(reply)) => {
            let result = match reply.http {
                429 => "throttled",
                500.. => "unavailable",
                _ => "refused",
            };
            (
                result,
                Some(reply.http),
                reply.code,
                reply.request_id.as_deref(),
            )
        }
        Err(CallFailure::NotSent(_) | CallFailure::Impossible(_)) => ("not-sent", None, None, None),
        Err(CallFailure::OutcomeUnknown(_)) => ("unknown", None, None, None),
    };
    let labels = [
        ("endpoint", endpoint.to_owned()),
        ("result", result.to_owned()),
    ];
    metrics::histogram!(KLING_REQUEST, &labels).record(elapsed.as_secs_f64());
    let duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    if sent.is_ok() {
        tracing::info!(
            endpoint,
            result,
            http,
            code,
            request_id,
            duration_ms,
            "called Kling"
        );
    } else {
        tracing::warn!(
            endpoint,
            result,
            http,
            code,
            request_id,
            duration_ms,
            "called Kling"
        );
    }
}

/// Only a connection that was never made proves that nothing was sent. The words are the error's
/// own chain without the address, which may hold ids.
fn transport(error: reqwest::Error) -> CallFailure {
    let not_sent = error.is_connect() || error.is_builder();
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    if not_sent {
        CallFailure::NotSent(words)
    } else {
        CallFailure::OutcomeUnknown(words)
    }
}

fn strike_out(failure: CallFailure, callback_url: &CallbackUrl) -> CallFailure {
    match failure {
        CallFailure::Answered(mut reply) => {
            for secret in [callback_url.expose(), callback_url.proof()] {
                reply.message = reply.message.replace(secret, "(callback address)");
            }
            CallFailure::Answered(reply)
        }
        CallFailure::NotSent(_) | CallFailure::OutcomeUnknown(_) | CallFailure::Impossible(_) => {
            failure
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
