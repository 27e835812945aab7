//! What the prompt policy can be told: which sensitive data to look for, and what to do with it.

use serde::{Deserialize, Serialize};

/// What becomes of sensitive data in a text for Kling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitive {
    /// The request is refused.
    #[default]
    Refuse,
    /// It is replaced by the detector's name in brackets.
    Redact,
    /// Nobody looks.
    Allow,
}

/// A kind of sensitive data that is recognised by its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detector {
    /// A private key in PEM form.
    PrivateKey,
    /// A key of a well-known service, or a random text that is called a key or password.
    ApiKey,
    /// An access token of a well-known service, a signed token, or a password in an address.
    Token,
    /// The number of a payment card, by its length, issuer and check digit.
    Card,
    /// An e-mail address.
    Email,
    /// A telephone number, international or in a common national form.
    Phone,
}

impl Detector {
    /// Every detector, in the order in which they are tried.
    pub const ALL: [Detector; 6] = [
        Detector::PrivateKey,
        Detector::ApiKey,
        Detector::Token,
        Detector::Card,
        Detector::Email,
        Detector::Phone,
    ];

    /// Returns the name of the rule.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Detector::PrivateKey => "private-key",
            Detector::ApiKey => "api-key",
            Detector::Token => "token",
            Detector::Card => "card",
            Detector::Email => "email",
            Detector::Phone => "phone",
        }
    }

    /// Returns what it finds, in words.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Detector::PrivateKey => "a private key",
            Detector::ApiKey => "an API key or password",
            Detector::Token => "an access token",
            Detector::Card => "a payment card number",
            Detector::Email => "an e-mail address",
            Detector::Phone => "a telephone number",
        }
    }
}
