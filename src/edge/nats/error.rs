//! What can go wrong at the log, split by what the caller does next.

use super::wire::{ReadFailure, Refusal};

/// What can go wrong at the log, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Nothing was stored; try again later: an election, or the broker is away.
    #[error("the broker is not available to {operation}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
    },
    /// It may or may not be stored: load before anything else, and claim neither.
    #[error("the outcome is unknown: the broker did not answer in time to {operation}")]
    Unknown {
        /// What was tried.
        operation: &'static str,
    },
    /// A stream is at its bound: stop taking work and page somebody.
    #[error(
        "the broker is full and refuses to {operation}: raise the stream's bound or free space"
    )]
    Full {
        /// What was tried.
        operation: &'static str,
    },
    /// The broker refuses by configuration, or there is a bug: trying again does not help.
    #[error("the broker refuses to {operation}: {reason} ({code})")]
    Misconfigured {
        /// What was tried.
        operation: &'static str,
        /// The broker's code; 0 when refused on our side.
        code: u64,
        /// Its words.
        reason: String,
    },
    /// A stored message cannot be read: set aside whatever needed it.
    #[error("message {seq} on {subject} cannot be read: {reason}")]
    Corrupt {
        /// Its sequence.
        seq: u64,
        /// Its subject.
        subject: String,
        /// What is wrong, without its content.
        reason: String,
    },
}

impl LogError {
    /// Tells whether it is about one message or one right: trying again now does not help.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Misconfigured { .. } | Self::Corrupt { .. } => true,
            Self::Unavailable { .. } | Self::Unknown { .. } | Self::Full { .. } => false,
        }
    }

    pub(super) fn of_read(operation: &'static str, failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Unavailable => Self::Unavailable { operation },
            ReadFailure::Refused { code, reason } => Self::Misconfigured {
                operation,
                code,
                reason,
            },
            // Not a stored message that is wrong, but an answer: the next one may be right.
            ReadFailure::Unreadable => Self::Unavailable { operation },
        }
    }

    /// A conflict has no place here: callers treat it before.
    pub(super) fn of_refusal(operation: &'static str, refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflict { .. } | Refusal::Incomplete | Refusal::Unavailable => {
                Self::Unavailable { operation }
            }
            Refusal::Full => Self::Full { operation },
            Refusal::Unknown => Self::Unknown { operation },
            Refusal::Refused { code, reason } => Self::Misconfigured {
                operation,
                code,
                reason,
            },
        }
    }
}
