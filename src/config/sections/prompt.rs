//! What prompts may say, and who is asked about them.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::super::redact;
use crate::model::policy::{Detector, Sensitive};

/// `[prompt]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prompt {
    /// What becomes of sensitive data.
    pub sensitive: Sensitive,
    /// Which kinds of it are looked for.
    pub detectors: Vec<Detector>,
    /// Terms and patterns that are refused, one rule a line.
    pub terms_file: Option<PathBuf>,
    /// What no result should show, with commas; empty switches it off.
    pub negative_prompt: String,
    /// Somebody who is asked about each task.
    pub moderation: Moderation,
}

/// `[prompt.moderation]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Moderation {
    /// Where to ask; none: nobody is asked.
    pub url: Option<Url>,
    /// An extra trust root, PEM.
    pub ca_file: Option<PathBuf>,
    /// Sent as a bearer token.
    #[serde(serialize_with = "redact::one")]
    pub key: Option<SecretString>,
    /// For all calls of one submission.
    #[serde(with = "super::super::duration")]
    pub timeout: Duration,
    /// Bound of an answer, bytes.
    pub response_max_bytes: usize,
    /// Calls at once, over all submissions.
    pub concurrency: usize,
}
