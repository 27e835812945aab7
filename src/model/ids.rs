//! A newtype per id: how it is made and what it makes unique.

use std::borrow::Cow;
use std::fmt;

use jiff::civil::Date;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Says what is wrong with an id, in words for the person who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: expected {expected}")]
pub struct InvalidId {
    what: &'static str,
    value: String,
    expected: &'static str,
}

macro_rules! string_id {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $doc })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(value: String) -> Result<Self, InvalidId> {
                Self::parse(&value)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(value: &str) -> Result<Self, InvalidId> {
                Self::parse(value)
            }
        }
    };
}

string_id!(
    Tenant,
    "A team whose tasks and money are kept apart: `[a-z0-9-]{1,24}`."
);
string_id!(
    TaskId,
    "Our id of a task and Kling's `external_task_id`: `<tenant>_<26 characters>`."
);
string_id!(
    KlingTaskId,
    "Kling's own id of a task: opaque text (18 digits today), never a number."
);
string_id!(
    CommitId,
    "Names one commit across its retries, so that a writer knows its own success."
);

/// The tenant name of the account-wide ledger; no tenant can have it (names never start with `_`).
pub const ACCOUNT: &str = "_account";

impl Tenant {
    /// Parses a tenant name.
    ///
    /// # Errors
    /// [`InvalidId`] unless the text is `[a-z0-9-]{1,24}`.
    pub fn parse(value: &str) -> Result<Self, InvalidId> {
        let ok = (1..=24).contains(&value.len())
            && value
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let expected = "1 to 24 characters of a-z, 0-9 and '-'";
        ok.then(|| Self(value.to_owned())).ok_or_else(|| InvalidId {
            what: "tenant name",
            value: shorten(value),
            expected,
        })
    }
}

/// Crockford's base32 in lower case: no i, l, o, u.
const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl TaskId {
    /// Makes an id from 128 bits: a fresh ULID, or a hash.
    #[must_use]
    pub fn from_bits(tenant: &Tenant, bits: u128) -> Self {
        let mut text = String::with_capacity(tenant.0.len() + 27);
        text.push_str(&tenant.0);
        text.push('_');
        for i in (0..26u32).rev() {
            // Truncation is meant: five bits index the alphabet.
            let five = usize::try_from((bits >> (5 * i)) & 31).unwrap_or(0);
            text.push(char::from(CROCKFORD[five]));
        }
        Self(text)
    }

    /// Returns the id of the task that is submitted with an idempotency key.
    #[must_use]
    pub fn with_key(tenant: &Tenant, key: &str) -> Self {
        Self::derived(tenant, "idempotency-key", key)
    }

    /// Derives an id from a cause (an idempotency key, a parent and attempt): same cause, same id.
    #[must_use]
    pub fn derived(tenant: &Tenant, purpose: &str, cause: &str) -> Self {
        let hash = Sha256::new()
            .chain_update(tenant.as_str())
            .chain_update([0])
            .chain_update(purpose)
            .chain_update([0])
            .chain_update(cause)
            .finalize();
        let bits = hash
            .iter()
            .take(16)
            .fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        Self::from_bits(tenant, bits)
    }

    /// Parses `<tenant>_<26 characters of lower-case Crockford base32>`.
    ///
    /// # Errors
    /// [`InvalidId`] for any other form.
    pub fn parse(value: &str) -> Result<Self, InvalidId> {
        let ok = value.split_once('_').is_some_and(|(tenant, rest)| {
            Tenant::parse(tenant).is_ok()
                && rest.len() == 26
                && rest.bytes().all(|b| CROCKFORD.contains(&b))
        });
        let expected = "<tenant>_<26 characters of lower-case base32>";
        ok.then(|| Self(value.to_owned())).ok_or_else(|| InvalidId {
            what: "task id",
            value: shorten(value),
            expected,
        })
    }

    /// Returns the tenant that the id names.
    #[must_use]
    pub fn tenant(&self) -> Tenant {
        let tenant = self.0.split_once('_').map_or("", |(tenant, _)| tenant);
        Tenant(tenant.to_owned())
    }
}

impl KlingTaskId {
    /// Parses Kling's id: 1 to 64 printable ASCII characters that can stand in a URL query.
    ///
    /// # Errors
    /// [`InvalidId`] for anything else.
    pub fn parse(value: &str) -> Result<Self, InvalidId> {
        let ok = (1..=64).contains(&value.len())
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let expected = "1 to 64 letters, digits, '-' or '_'";
        ok.then(|| Self(value.to_owned())).ok_or_else(|| InvalidId {
            what: "Kling task id",
            value: shorten(value),
            expected,
        })
    }
}

impl CommitId {
    /// Parses a commit id: 1 to 64 printable ASCII characters.
    ///
    /// # Errors
    /// [`InvalidId`] for anything else.
    pub fn parse(value: &str) -> Result<Self, InvalidId> {
        let ok = (1..=64).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic());
        let expected = "1 to 64 printable ASCII characters";
        ok.then(|| Self(value.to_owned())).ok_or_else(|| InvalidId {
            what: "commit id",
            value: shorten(value),
            expected,
        })
    }
}

/// A budget day: the date on which its window starts, written `YYYY-MM-DD`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Day(pub Date);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for Day {
    type Err = jiff::Error;

    fn from_str(value: &str) -> Result<Self, jiff::Error> {
        value.parse().map(Self)
    }
}

/// Keeps hostile input out of messages: at most 40 characters of it.
fn shorten(value: &str) -> String {
    value.chars().take(40).collect()
}
