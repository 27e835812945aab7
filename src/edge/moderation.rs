//! Asks somebody else about the texts of a task: `POST` as JSON, `{"allowed": true}` or
//! `{"allowed": false, "rule": "…"}` back. Whatever is not such an answer is no answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use url::{Host, Url};

use crate::config;
use crate::telemetry;

/// Longest name of a rule that is passed on, bytes.
const RULE_MAX: usize = 64;
/// What a refusal is called that names no rule.
const UNNAMED: &str = "moderation";

/// What is asked about one task.
#[derive(Serialize)]
pub struct Question<'a> {
    /// Whose task it is.
    pub tenant: &'a str,
    /// What is to be made.
    pub product: &'a str,
    /// With which model.
    pub model: &'a str,
    /// What to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<&'a str>,
    /// What not to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<&'a str>,
    /// Further texts with the fields that hold them.
    #[serde(serialize_with = "texts")]
    pub texts: &'a [(String, String)],
}

fn texts<S: serde::Serializer>(texts: &[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Text<'a> {
        field: &'a str,
        text: &'a str,
    }
    to.collect_seq(texts.iter().map(|(field, text)| Text { field, text }))
}

impl Question<'_> {
    fn is_silent(&self) -> bool {
        self.prompt.is_none() && self.negative_prompt.is_none() && self.texts.is_empty()
    }
}

/// What the service refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the questions.
    pub place: usize,
    /// The service's name for its reason.
    pub rule: String,
}

#[derive(Deserialize)]
struct Answer {
    allowed: bool,
    #[serde(default)]
    rule: Option<String>,
}

/// Why nobody can be asked: a matter of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ModerationSetUp {
    /// Prompts and the key would cross the network in the clear.
    #[error("prompt.moderation.url must be https (http is for loopback hosts only)")]
    PlainHttp,
    /// The extra trust root cannot be read.
    #[error("prompt.moderation.ca_file cannot be read")]
    CaFile(#[source] std::io::Error),
    /// The extra trust root is no certificate, or TLS cannot be set up.
    #[error("TLS to the moderation service cannot be set up")]
    Tls(#[source] reqwest::Error),
}

/// Why there is no answer. Nothing may be accepted without one.
#[derive(Debug, thiserror::Error)]
pub enum ModerationError {
    /// The whole submission took too long.
    #[error("prompt.moderation.timeout is over")]
    TooSlow,
    /// The call failed.
    #[error("the call to the moderation service failed")]
    Call(#[source] reqwest::Error),
    /// Anything but 200.
    #[error("the moderation service answered with HTTP status {0}")]
    Status(u16),
    /// More than `prompt.moderation.response_max_bytes`.
    #[error("the moderation service's answer is longer than {0} bytes")]
    TooLong(usize),
    /// No JSON object that says whether the task is allowed. The parser's words are not kept: they
    /// may quote what was asked.
    #[error("the moderation service's answer cannot be read; it must say \"allowed\"")]
    Unreadable,
}

/// A pooled client of one moderation service.
#[derive(Clone, Debug)]
pub struct Moderator {
    http: Client,
    url: Url,
    key: Option<SecretString>,
    timeout: Duration,
    response_max_bytes: usize,
    concurrency: usize,
    permits: Arc<Semaphore>,
}

impl Moderator {
    /// Makes a client if an address is configured. Connects to nothing yet; the process's TLS
    /// provider must be installed before.
    ///
    /// # Errors
    /// [`ModerationSetUp`] when the configuration does not allow one.
    pub fn new(config: &config::Moderation) -> Result<Option<Self>, ModerationSetUp> {
        let Some(url) = config.url.clone() else {
            return Ok(None);
        };
        let loopback = is_loopback(&url);
        if url.scheme() != "https" && !loopback {
            return Err(ModerationSetUp::PlainHttp);
        }
        let mut builder = Client::builder()
            .timeout(config.timeout)
            // A redirect would carry the prompt elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("kling-relay/", env!("CARGO_PKG_VERSION")));
        if loopback {
            builder = builder.no_proxy();
        }
        if let Some(path) = &config.ca_file {
            let pem = std::fs::read(path).map_err(ModerationSetUp::CaFile)?;
            let roots =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(ModerationSetUp::Tls)?;
            builder = builder.tls_certs_merge(roots);
        }
        Ok(Some(Self {
            http: builder.build().map_err(ModerationSetUp::Tls)?,
            url,
            key: config.key.clone(),
            timeout: config.timeout,
            response_max_bytes: config.response_max_bytes,
            concurrency: config.concurrency,
            permits: Arc::new(Semaphore::new(config.concurrency)),
        }))
    }

    /// Asks about each task that has texts, and returns the first refusal.
    ///
    /// # Errors
    /// [`ModerationError`] when one of the answers is missing: then nothing may be accepted.
    pub async fn judge(
        &self,
        questions: &[Question<'_>],
    ) -> Result<Option<Refusal>, ModerationError> {
        let spoken = questions.iter().enumerate();
        let calls = spoken.filter(|(_, question)| !question.is_silent()).map(
            |(place, question)| async move {
                let rule = self.measured(question).await?;
                Ok(rule.map(|rule| Refusal { place, rule }))
            },
        );
        // A batch leaves room for others.
        let at_once = self.concurrency.div_ceil(4);
        let mut refusals = futures::stream::iter(calls)
            .buffered(at_once)
            .try_filter_map(|refusal| std::future::ready(Ok(refusal)))
            .boxed();
        let first = tokio::time::timeout(self.timeout, refusals.try_next()).await;
        first.map_err(|_| ModerationError::TooSlow)?
    }

    async fn measured(&self, question: &Question<'_>) -> Result<Option<String>, ModerationError> {
        let _permit = self.permits.acquire().await;
        let started = Instant::now();
        let answer = self.ask(question).await;
        let result = match &answer {
            Ok(None) => "allowed",
            Ok(Some(_)) => "refused",
            Err(_) => "unavailable",
        };
        metrics::histogram!(telemetry::MODERATION_SECONDS, "result" => result)
            .record(started.elapsed().as_secs_f64());
        answer
    }

    /// Returns the rule that the task breaks.
    async fn ask(&self, question: &Question<'_>) -> Result<Option<String>, ModerationError> {
        let body = serde_json::to_vec(question).map_err(|_| ModerationError::Unreadable)?;
        let mut request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        let mut response = request.send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(ModerationError::Status(response.status().as_u16()));
        }
        let bytes = self.read(&mut response).await?;
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|_| ModerationError::Unreadable)?;
        Ok((!answer.allowed).then(|| named(answer.rule)))
    }

    async fn read(&self, response: &mut Response) -> Result<Vec<u8>, ModerationError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > self.response_max_bytes {
                return Err(ModerationError::TooLong(self.response_max_bytes));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn failed(error: reqwest::Error) -> ModerationError {
    ModerationError::Call(error.without_url())
}

/// Passes a name on, and nothing else: a sentence may quote the prompt.
fn named(rule: Option<String>) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b);
    let fits = |rule: &String| (1..=RULE_MAX).contains(&rule.len()) && rule.bytes().all(plain);
    rule.filter(fits).unwrap_or_else(|| UNNAMED.to_owned())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
