//! The address at which people are told of a budget: one POST of JSON, bounded in time.
//!
//! Chat services show its `text`. When it is tried again, and how often, is the caller's business.

use std::fmt;
use std::time::Duration;

use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use url::Url;

/// Why no hook can be made: a matter of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum HookSetUp {
    /// The address is none. It is not shown: it is a secret.
    #[error("budget.alert_hook is no address")]
    Address,
    /// TLS cannot be set up.
    #[error("TLS to budget.alert_hook cannot be set up")]
    Tls(#[source] reqwest::Error),
}

/// Why a post was not taken; try again later. The address stands in none of them.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The other side does not want it.
    #[error("budget.alert_hook answered HTTP {0}")]
    Refused(u16),
    /// No answer came.
    #[error("budget.alert_hook did not answer")]
    Unreachable(#[source] reqwest::Error),
}

/// Somewhere to post to.
pub struct AlertHook {
    client: Client,
    url: SecretString,
}

impl fmt::Debug for AlertHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertHook").finish_non_exhaustive()
    }
}

impl AlertHook {
    /// Makes a hook. The process's TLS provider must be installed before.
    ///
    /// # Errors
    /// [`HookSetUp`] when the configuration does not allow one.
    pub fn new(url: &SecretString, timeout: Duration) -> Result<Self, HookSetUp> {
        let parsed = Url::parse(url.expose_secret()).map_err(|_| HookSetUp::Address)?;
        let mut builder = Client::builder()
            .timeout(timeout)
            // A redirect would carry what is said elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("kling-relay/", env!("CARGO_PKG_VERSION")));
        if parsed.scheme() == "http" {
            // The configuration allows it for loopback hosts only.
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder.build().map_err(HookSetUp::Tls)?,
            url: url.clone(),
        })
    }

    /// Posts a notice as JSON, once. What is answered beside the status is not read.
    ///
    /// # Errors
    /// [`HookError`] unless the answer is a success.
    pub async fn post(&self, notice: &impl Serialize) -> Result<(), HookError> {
        let request = self.client.post(self.url.expose_secret()).json(notice);
        let answer = request.send().await;
        let answer = answer.map_err(|error| HookError::Unreachable(error.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(HookError::Refused(status.as_u16())),
        }
    }
}
