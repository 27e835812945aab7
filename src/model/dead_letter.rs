//! A message set aside: from where and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is said of a message on `KLING_DEAD`, in its headers; the payload is the original message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// The stage that could not handle it.
    pub stage: String,
    /// Why, and what to do next, in words.
    pub reason: String,
    /// How often it was delivered before.
    pub attempts: u64,
    /// The subject it came on.
    pub subject: String,
    /// Its sequence in its stream.
    pub sequence: u64,
}
