//! How requests are read.

use serde::{Deserialize, Serialize};

use crate::model::request::Purpose;

/// `[intake]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Intake {
    /// What a request without a purpose counts as; `draft` renders it in standard mode.
    pub default_purpose: Purpose,
}
