//! Why a request is not taken, in words that name the field and the fix.

/// The stable code of a refusal, as the contract spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// 400: the request is not one that Kling would carry out as written.
    InvalidRequest,
    /// 422: nobody can say what it would cost.
    UnknownPrice,
}

impl RefusalCode {
    /// Returns the code on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalCode::InvalidRequest => "invalid-request",
            RefusalCode::UnknownPrice => "unknown-price",
        }
    }
}

/// Why a request is not taken. Nothing was spent and nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The stable code.
    pub code: RefusalCode,
    /// Which field of the request: `duration`, `parameters.image`.
    pub field: Option<String>,
    /// What is wrong and what to do about it. Quotes at most 40 characters of the request and
    /// never a prompt.
    pub message: String,
}

impl Refusal {
    /// Makes a refusal of a request that is wrong in that field.
    #[must_use]
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: RefusalCode::InvalidRequest,
            field: Some(field.into()),
            message: message.into(),
        }
    }

    /// Makes a refusal of a request whose price cannot be known because of that field.
    #[must_use]
    pub fn unknown_price(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: RefusalCode::UnknownPrice,
            field: Some(field.into()),
            message: message.into(),
        }
    }
}

/// Keeps hostile input out of messages: at most 40 characters of it, without control characters.
pub(super) fn shorten(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).take(40).collect()
}
