//! When an earlier result may answer a request that allows it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[reuse]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reuse {
    /// How long a stored result may answer.
    #[serde(with = "super::super::duration")]
    pub max_age: Duration,
    /// How long a task at Kling, or one that is not stored yet, is waited for.
    #[serde(with = "super::super::duration")]
    pub wait_max: Duration,
}
