//! What became of one call to Kling's API, before anybody decides what it means.

use std::fmt;
use std::time::Duration;

/// An answer that is not the success that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub http: u16,
    /// Kling's business code; `None` where the body was no envelope of Kling's.
    pub code: Option<i64>,
    /// Kling's words, shortened; empty where it said nothing.
    pub message: String,
    /// What Kling's support asks for.
    pub request_id: Option<String>,
    /// How long the answer asks to wait.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.http)?;
        match self.code {
            Some(code) => write!(f, ", code {code}")?,
            None => f.write_str(", no readable body")?,
        }
        match &self.request_id {
            Some(id) => write!(f, ", request {id}"),
            None => Ok(()),
        }
    }
}

/// Why a call gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// Kling answered, but not with a success that can be read.
    #[error("Kling answered {0}")]
    Answered(Reply),
    /// Nothing was sent: Kling cannot have acted on it.
    #[error("Kling was not reached: {0}")]
    NotSent(String),
    /// The request may have arrived and no answer came back: Kling may have acted on it.
    #[error("the outcome of the call is unknown: {0}")]
    OutcomeUnknown(String),
    /// There is no such call: nothing was sent, and nothing else would be another time.
    #[error("the call cannot be made: {0}")]
    Impossible(String),
}
