//! Downloads one file into the spool: vetted addresses, resume, limits, checks on arrival.
//!
//! Knows nothing of tasks. What is wanted is decided by `decide::placement`; what becomes of the
//! file is the business of `stage::downloader` and `edge::storage`.

mod address;
mod body;
mod error;
mod media;
mod spool;

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, IF_RANGE, LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, redirect};
use url::Url;

use self::address::{VettingResolver, refusal_in};
use self::body::Partial;
use super::clock::Clock;
use crate::config::Storage;
use crate::model::observation::SignedUrl;

pub use self::address::{AddressPolicy, Refusal, is_public};
pub use self::error::{BadContent, FetchError, FetchSetupError, Interruption};
pub use self::media::sniff;
pub use self::spool::{Spool, SpoolFile};

/// A finished download: checked, hashed, and still in the spool until it is dropped.
#[derive(Debug)]
pub struct Fetched {
    /// Where it lies.
    pub file: SpoolFile,
    /// Its size.
    pub bytes: u64,
    /// Of the whole content, 64 hexadecimal digits.
    pub sha256: String,
    /// What it is, by its own first bytes.
    pub media_type: &'static str,
}

/// Downloads files.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    policy: AddressPolicy,
    spool: Spool,
    clock: Clock,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    max_bytes: u64,
    redirects_max: u32,
    attempts_max: u32,
    idle_timeout: Duration,
    total_timeout: Duration,
    backoff_base: Duration,
    backoff_cap: Duration,
}

impl Fetcher {
    /// Makes a fetcher. The process's TLS provider must be installed before.
    ///
    /// # Errors
    /// [`FetchSetupError`] when a trust root cannot be read or the limits contradict each other.
    pub fn new(config: &Storage, spool: Spool, clock: Clock) -> Result<Self, FetchSetupError> {
        if config.max_bytes > config.spool_max_bytes {
            return Err(FetchSetupError::SpoolTooSmall);
        }
        let policy = AddressPolicy::new(&config.allowed_hosts, config.allow_private);
        let resolver = VettingResolver {
            policy: policy.clone(),
        };
        let mut builder = Client::builder()
            .user_agent(concat!("kling-relay/", env!("CARGO_PKG_VERSION")))
            // A proxy would resolve names itself, unvetted.
            .no_proxy()
            // Each hop is vetted by hand.
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .https_only(!config.allow_private)
            .connect_timeout(config.connect_timeout)
            .dns_resolver(resolver);
        if let Some(file) = &config.ca_file {
            let pem = std::fs::read(file).map_err(FetchSetupError::ReadCa)?;
            let roots =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(FetchSetupError::Client)?;
            builder = builder.tls_certs_merge(roots);
        }
        Ok(Self {
            client: builder.build().map_err(FetchSetupError::Client)?,
            policy,
            spool,
            clock,
            limits: Limits {
                max_bytes: config.max_bytes,
                redirects_max: config.redirects_max,
                attempts_max: config.attempts_max,
                idle_timeout: config.idle_timeout,
                total_timeout: config.total_timeout,
                backoff_base: config.backoff_base,
                backoff_cap: config.backoff_cap,
            },
        })
    }

    /// Downloads a file whose content must have one of the `expected` media types.
    ///
    /// # Errors
    /// [`FetchError`], after as many tries as the limits allow.
    pub async fn fetch(&self, url: &SignedUrl, expected: &[&str]) -> Result<Fetched, FetchError> {
        let refused = |why| FetchError::Refused {
            host: url.host().to_owned(),
            why,
        };
        let parsed = Url::parse(&url.0).map_err(|_| refused(Refusal::NotAUrl))?;
        self.policy.vet(&parsed).map_err(refused)?;
        let too_slow = |_| FetchError::Retry {
            host: url.host().to_owned(),
            after: None,
            why: Interruption::TooSlow,
        };
        // The wait for room is bounded like the download itself, and does not take of its time.
        let room = self.spool.reserve(self.limits.max_bytes);
        let room = tokio::time::timeout(self.limits.total_timeout, room).await;
        let file = room.map_err(too_slow)?.map_err(FetchError::Spool)?;
        let tries = Box::pin(self.try_until_done(&parsed, file, expected));
        let done = tokio::time::timeout(self.limits.total_timeout, tries).await;
        done.map_err(too_slow)?
    }

    async fn try_until_done(
        &self,
        url: &Url,
        file: SpoolFile,
        expected: &[&str],
    ) -> Result<Fetched, FetchError> {
        let mut partial = Partial::create(&file, self.limits.max_bytes)
            .await
            .map_err(FetchError::Spool)?;
        let mut attempt = 1;
        let host = loop {
            let error = match self.try_once(url, &mut partial, expected).await {
                Ok(host) => break host,
                Err(error) => error,
            };
            let FetchError::Retry { after, .. } = &error else {
                return Err(error);
            };
            let wait = after.unwrap_or_else(|| self.backoff(attempt));
            if attempt >= self.limits.attempts_max || wait > self.limits.backoff_cap {
                return Err(error);
            }
            attempt += 1;
            self.clock.sleep(wait).await;
        };
        let done = partial.finish(expected).await?;
        let (bytes, sha256, media_type) =
            done.map_err(|why| FetchError::BadContent { host, why })?;
        Ok(Fetched {
            file,
            bytes,
            sha256,
            media_type,
        })
    }

    /// Makes one try, going on where the last one stopped. Returns the host that served the rest.
    async fn try_once(
        &self,
        url: &Url,
        partial: &mut Partial,
        expected: &[&str],
    ) -> Result<String, FetchError> {
        if partial.is_complete() {
            return Ok(host_of(url));
        }
        let (response, host) = self.ask(url, partial).await?;
        let mut response = self.accept(response, &host, partial).await?;
        loop {
            let chunk = tokio::time::timeout(self.limits.idle_timeout, response.chunk()).await;
            let chunk = match chunk {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(connection_failed(host, error)),
                Err(_) => return Err(passing(host, Interruption::Idle)),
            };
            let pushed = partial.push(&chunk, expected).await?;
            pushed.map_err(|why| FetchError::BadContent {
                host: host.clone(),
                why,
            })?;
        }
        match partial.shortfall() {
            None => Ok(host),
            Some(why) => Err(passing(host, why)),
        }
    }

    /// Sends the request, along redirects. Returns the first answer that is none, and its host.
    async fn ask(&self, url: &Url, partial: &Partial) -> Result<(Response, String), FetchError> {
        let mut url = url.clone();
        for _ in 0..=self.limits.redirects_max {
            let host = host_of(&url);
            let refused = |why| FetchError::Refused {
                host: host.clone(),
                why,
            };
            self.policy.vet(&url).map_err(refused)?;
            let mut request = self.client.get(url.clone());
            // A compressed body would make sizes and digests those of something else.
            request = request.header(ACCEPT_ENCODING, "identity");
            if let Some((have, validator)) = partial.resume_point() {
                request = request.header(RANGE, format!("bytes={have}-"));
                request = request.header(IF_RANGE, validator);
            }
            let sent = tokio::time::timeout(self.limits.idle_timeout, request.send()).await;
            let response = match sent {
                Err(_) => return Err(passing(host, Interruption::Idle)),
                Ok(Err(error)) => {
                    return Err(match refusal_in(&error) {
                        Some(why) => refused(why),
                        None => connection_failed(host, error),
                    });
                }
                Ok(Ok(response)) => response,
            };
            if !is_redirect(response.status()) {
                return Ok((response, host));
            }
            let location = response.headers().get(LOCATION);
            let next = location.and_then(|location| url.join(location.to_str().ok()?).ok());
            url = next.ok_or_else(|| refused(Refusal::NotAUrl))?;
        }
        Err(FetchError::Refused {
            host: host_of(&url),
            why: Refusal::Redirects,
        })
    }

    /// Checks an answer before its body is read.
    async fn accept(
        &self,
        response: Response,
        host: &str,
        partial: &mut Partial,
    ) -> Result<Response, FetchError> {
        let status = response.status();
        let opened = match status {
            StatusCode::OK => partial.restart(&response).await?,
            StatusCode::PARTIAL_CONTENT => partial.go_on(&response).await?,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT => {
                Err(body::NotOpened::Bad(BadContent::Empty))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                partial.clear().await.map_err(FetchError::Spool)?;
                return Err(passing(host.to_owned(), Interruption::Changed));
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                return Err(self.busy(host, &response));
            }
            _ if status.is_client_error() => {
                return Err(FetchError::Gone {
                    host: host.to_owned(),
                    status: status.as_u16(),
                });
            }
            _ => return Err(self.busy(host, &response)),
        };
        match opened {
            Ok(()) => Ok(response),
            Err(body::NotOpened::Bad(why)) => Err(FetchError::BadContent {
                host: host.to_owned(),
                why,
            }),
            Err(body::NotOpened::Changed) => Err(passing(host.to_owned(), Interruption::Changed)),
        }
    }

    fn busy(&self, host: &str, response: &Response) -> FetchError {
        FetchError::Retry {
            host: host.to_owned(),
            after: body::retry_after(response.headers(), self.clock.now()),
            why: Interruption::Status(response.status().as_u16()),
        }
    }

    /// Returns the wait before the next try: doubling, and between half of that and all of it.
    fn backoff(&self, attempt: u32) -> Duration {
        let doubled = 2u32.saturating_pow(attempt.saturating_sub(1));
        let longest = self.limits.backoff_base.saturating_mul(doubled);
        let longest = longest.min(self.limits.backoff_cap);
        longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or("?").to_owned()
}

fn passing(host: String, why: Interruption) -> FetchError {
    FetchError::Retry {
        host,
        after: None,
        why,
    }
}

fn connection_failed(host: String, error: reqwest::Error) -> FetchError {
    // The library's errors show the whole address, signature and all.
    passing(host, Interruption::Connection(error.without_url()))
}
