//! Refusals as callers see them: one document for HTTP, NATS and the command line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;

/// The stable codes of refusals.
///
/// Each belongs to one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemCode {
    /// The request is malformed or asks for what the model lacks.
    InvalidRequest,
    /// No key, or an unknown one.
    Unauthorized,
    /// The day's limit would be exceeded.
    BudgetExceeded,
    /// No such task for this tenant.
    NotFound,
    /// The idempotency key was used with another body.
    IdempotencyConflict,
    /// Kling has the task; it cannot be cancelled.
    NotCancellable,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body or batch is too large.
    TooLarge,
    /// The price cannot be known before the money is spent.
    UnknownPrice,
    /// The prompt policy refuses the prompt.
    PromptRefused,
    /// Too many requests with this key.
    RateLimited,
    /// The outcome is unknown or the broker is away: repeat with the same `Idempotency-Key`.
    Unavailable,
    /// The request was not finished in time.
    RequestTimeout,
    /// A fault of ours.
    #[serde(rename = "internal-error")]
    Internal,
    /// Documented, and not there yet.
    NotImplemented,
}

impl ProblemCode {
    /// Returns the HTTP status of the code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            ProblemCode::InvalidRequest => 400,
            ProblemCode::Unauthorized => 401,
            ProblemCode::BudgetExceeded => 402,
            ProblemCode::NotFound => 404,
            ProblemCode::MethodNotAllowed => 405,
            ProblemCode::RequestTimeout => 408,
            ProblemCode::IdempotencyConflict | ProblemCode::NotCancellable => 409,
            ProblemCode::TooLarge => 413,
            ProblemCode::UnknownPrice | ProblemCode::PromptRefused => 422,
            ProblemCode::RateLimited => 429,
            ProblemCode::Internal => 500,
            ProblemCode::NotImplemented => 501,
            ProblemCode::Unavailable => 503,
        }
    }

    /// Returns the code's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ProblemCode::InvalidRequest => "invalid-request",
            ProblemCode::Unauthorized => "unauthorized",
            ProblemCode::BudgetExceeded => "budget-exceeded",
            ProblemCode::NotFound => "not-found",
            ProblemCode::IdempotencyConflict => "idempotency-conflict",
            ProblemCode::NotCancellable => "not-cancellable",
            ProblemCode::MethodNotAllowed => "method-not-allowed",
            ProblemCode::TooLarge => "too-large",
            ProblemCode::UnknownPrice => "unknown-price",
            ProblemCode::PromptRefused => "prompt-refused",
            ProblemCode::RateLimited => "rate-limited",
            ProblemCode::Unavailable => "unavailable",
            ProblemCode::RequestTimeout => "request-timeout",
            ProblemCode::Internal => "internal-error",
            ProblemCode::NotImplemented => "not-implemented",
        }
    }

    /// Returns a short, constant title.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            ProblemCode::InvalidRequest => "The request is not valid",
            ProblemCode::Unauthorized => "A valid API key is needed",
            ProblemCode::BudgetExceeded => "The day's budget does not allow this",
            ProblemCode::NotFound => "There is no such task",
            ProblemCode::IdempotencyConflict => "The idempotency key was used for something else",
            ProblemCode::NotCancellable => "The task cannot be cancelled any more",
            ProblemCode::MethodNotAllowed => "The method is not allowed here",
            ProblemCode::TooLarge => "The request is too large",
            ProblemCode::UnknownPrice => "The price is not known",
            ProblemCode::PromptRefused => "The prompt is refused",
            ProblemCode::RateLimited => "Too many requests",
            ProblemCode::Unavailable => "The service cannot answer now",
            ProblemCode::RequestTimeout => "The request took too long",
            ProblemCode::Internal => "The service met a fault",
            ProblemCode::NotImplemented => "Not implemented",
        }
    }
}

/// A refusal: `application/problem+json` (RFC 9457) with a stable `code`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `https://kling-relay.dev/problems/<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short and constant for the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable name of the problem.
    pub code: ProblemCode,
    /// What happened, and what to do next.
    pub detail: String,
    /// The field at fault, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// With `budget-exceeded`: what was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed: Vec<Amount>,
    /// With `budget-exceeded`: what is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remaining: Vec<Amount>,
    /// With `budget-exceeded`: how many of the tasks, from the first, would fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<usize>,
    /// With `rate-limited` and `unavailable`: when to try again, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl Problem {
    /// Makes a problem of that code.
    #[must_use]
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("https://kling-relay.dev/problems/{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            field: None,
            needed: Vec::new(),
            remaining: Vec::new(),
            fits: None,
            retry_after_seconds: None,
        }
    }

    /// Names the field at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({}): {}",
            self.title,
            self.code.as_str(),
            self.detail
        )
    }
}

impl std::error::Error for Problem {}
