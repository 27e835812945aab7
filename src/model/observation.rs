//! One sight of a task at Kling, pushed to us or read by us.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::ids::KlingTaskId;

/// A signed download address: a bearer secret, so it prints as its host only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SignedUrl(pub String);

impl SignedUrl {
    /// Returns the host, the only part of the address that may be shown; `?` where there is none.
    #[must_use]
    pub fn host(&self) -> &str {
        let authority = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.split(['/', '?', '#', '\\']).next().unwrap_or("");
        let host = authority.rsplit('@').next().unwrap_or("");
        if host.is_empty() { "?" } else { host }
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedUrl({}/…)", self.host())
    }
}

/// One result that Kling offers for download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// `video`, `image`, `audio`, `voice`, `element` or what Kling adds.
    #[serde(rename = "type")]
    pub kind: String,
    /// Kling's id of the result, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where to download it, until 30 days after its completion; empty where the result is nothing
    /// but its id (an element).
    pub url: SignedUrl,
    /// Seconds as Kling says them, for example `5.041`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
}

impl Output {
    /// Tells whether there is something to store: an element is known by its id alone.
    #[must_use]
    pub fn is_downloadable(&self) -> bool {
        !self.url.0.is_empty()
    }
}

/// Kling's four statuses, in either spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedStatus {
    /// Waiting at Kling.
    Submitted,
    /// Being made.
    Processing,
    /// `succeeded`, or `succeed` on legacy.
    Succeeded,
    /// Ended badly.
    Failed,
}

impl ObservedStatus {
    /// Tells whether it is an end.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Submitted | Self::Processing => false,
            Self::Succeeded | Self::Failed => true,
        }
    }
}

/// What Kling said of one task at one time, in our words.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Kling's id.
    pub kling_task_id: KlingTaskId,
    /// The `external_task_id` that the task was created with, if Kling repeats one.
    pub external_id: Option<String>,
    /// Its status then.
    pub status: ObservedStatus,
    /// Kling's words on a failure; empty otherwise.
    pub message: String,
    /// Its results.
    pub outputs: Vec<Output>,
    /// What Kling deducted; `None` where it does not say.
    pub billing: Option<Vec<Amount>>,
    /// When Kling created the task.
    pub created_at: Option<Timestamp>,
    /// When Kling last changed it.
    pub updated_at: Option<Timestamp>,
}

/// How an observation came to us, and so how much it proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// A callback on a capability path with a valid signature.
    Signed,
    /// A callback on a capability path without a signature.
    Unsigned,
    /// Our own authenticated query.
    Read,
}

impl Proof {
    /// Returns the proof's name on the wire and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Proof::Signed => "signed",
            Proof::Unsigned => "unsigned",
            Proof::Read => "read",
        }
    }

    /// Returns the proof of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Proof> {
        [Proof::Signed, Proof::Unsigned, Proof::Read]
            .into_iter()
            .find(|p| p.as_str() == name)
    }
}
