//! When Kling refuses the account or a pack, dispatch stops for a while, and then tries with one
//! task.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

/// What a refusal closes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything: the credential or the account.
    Account,
    /// One pack type, for example `video`.
    Pack(String),
    /// One pool of slots, for example `2.6/video`.
    Pool(String),
}

impl Scope {
    fn covers(&self, pool: &str) -> bool {
        match self {
            Scope::Account => true,
            Scope::Pack(pack) => pool.rsplit('/').next() == Some(pack.as_str()),
            Scope::Pool(closed) => pool == closed,
        }
    }
}

/// What dispatch may do in a pool now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// As many as there are slots.
    Open,
    /// One, to see whether Kling takes it again.
    OneToTry,
    /// None until then.
    ClosedUntil(Timestamp),
}

/// The refusals in force.
#[derive(Clone, Debug, Default)]
pub struct Circuit(HashMap<Scope, Timestamp>);

impl Circuit {
    /// Notes a refusal; tells whether it is new, so that somebody is told once and not per task.
    pub fn refused(&mut self, scope: Scope, now: Timestamp, stays: SignedDuration) -> bool {
        self.0.insert(scope, now + stays).is_none()
    }

    /// Notes that Kling took a task of this pool: what covered it is over.
    pub fn accepted(&mut self, pool: &str) {
        self.0.retain(|scope, _| !scope.covers(pool));
    }

    /// Tells what dispatch may do in a pool.
    #[must_use]
    pub fn gate(&self, pool: &str, now: Timestamp) -> Gate {
        let latest = self
            .0
            .iter()
            .filter(|(scope, _)| scope.covers(pool))
            .map(|(_, at)| *at)
            .max();
        match latest {
            None => Gate::Open,
            Some(until) if until > now => Gate::ClosedUntil(until),
            Some(_) => Gate::OneToTry,
        }
    }
}
