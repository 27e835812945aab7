//! Who calls: API keys, each with its rate limit.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::places::sender_is_known;
use super::super::room::Room;
use super::{Api, Refusal};
use crate::config;
use crate::model::ids::Tenant;
use crate::model::problem::{Problem, ProblemCode};

/// Who a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A team, which sees its own tasks only.
    Tenant(Tenant),
    /// An operator, who sees every tenant and submits for none.
    Operator,
}

impl Caller {
    /// Returns whose tasks the caller sees; none means everybody's.
    #[must_use]
    pub fn scope(&self) -> Option<&Tenant> {
        match self {
            Caller::Tenant(tenant) => Some(tenant),
            Caller::Operator => None,
        }
    }

    /// Passes operators only.
    ///
    /// # Errors
    /// `unauthorized` for a tenant.
    pub fn operator(&self) -> Result<(), Problem> {
        match self {
            Caller::Operator => Ok(()),
            Caller::Tenant(_) => {
                let detail = "this call is for operators; use one of api.operator_keys";
                Err(Problem::new(ProblemCode::Unauthorized, detail))
            }
        }
    }

    /// Returns the tenant to spend for.
    ///
    /// # Errors
    /// `invalid-request` for an operator.
    pub fn tenant(&self) -> Result<&Tenant, Problem> {
        self.scope().ok_or_else(|| {
            let detail = "an operator key belongs to no tenant; use a tenant's key for this call";
            Problem::new(ProblemCode::InvalidRequest, detail)
        })
    }
}

/// When to come again after too many live streams, seconds.
const STREAMS_RETRY_SECONDS: u64 = 5;
/// One caller may have so small a part of the memory for bodies: he can declare large ones, and let
/// us wait for them.
const BODIES_SHARE: usize = 4;

/// The keys of the configuration, as digests.
#[derive(Debug)]
pub struct Keys {
    entries: Vec<Entry>,
    streams_max: u32,
    clock: DefaultClock,
}

#[derive(Debug)]
struct Entry {
    digest: [u8; 32],
    caller: Caller,
    limiter: DefaultDirectRateLimiter,
    streams: Arc<Semaphore>,
    bodies: Room,
}

impl Keys {
    /// Reads `tenant:key` entries and operator keys; entries that are malformed are left out, since
    /// the configuration's own check has refused them before.
    #[must_use]
    pub fn new(rules: &config::Api) -> Self {
        let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(rules.rate_limit))
            .allow_burst(at_least_one(rules.rate_burst));
        let streams_max = usize::try_from(rules.streams_max).unwrap_or(usize::MAX);
        let bodies = Arc::new(Room::new(rules.bodies_max_bytes));
        let entry = |key: &str, caller| Entry {
            digest: Sha256::digest(key).into(),
            caller,
            limiter: RateLimiter::direct(quota),
            streams: Arc::new(Semaphore::new(streams_max.min(Semaphore::MAX_PERMITS))),
            bodies: Room::share(&bodies, BODIES_SHARE),
        };
        let tenants = rules.keys.iter().filter_map(|key| {
            let (tenant, key) = key.expose_secret().split_once(':')?;
            Some(entry(key, Caller::Tenant(Tenant::parse(tenant).ok()?)))
        });
        let operator = |key: &SecretString| entry(key.expose_secret(), Caller::Operator);
        let operators = rules.operator_keys.iter().map(operator);
        Self {
            entries: tenants.chain(operators).collect(),
            streams_max: rules.streams_max,
            clock: DefaultClock::default(),
        }
    }

    /// Finds whose key it is, and counts the request against its limit.
    fn check(&self, presented: &str) -> Result<Caller, Problem> {
        let digest: [u8; 32] = Sha256::digest(presented).into();
        // Every entry is compared, so that the time tells nothing of which one matched.
        let found = self.entries.iter().fold(None, |found, e| {
            if bool::from(e.digest.ct_eq(&digest)) {
                Some(e)
            } else {
                found
            }
        });
        let entry = found.ok_or_else(|| {
            Problem::new(
                ProblemCode::Unauthorized,
                "the API key is not known; check api.keys",
            )
        })?;
        entry.limiter.check().map_err(|denied| {
            let wait = denied.wait_time_from(self.clock.now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let detail = format!("too many requests with this key; try again in {seconds} s");
            Problem::new(ProblemCode::RateLimited, detail).retry_after(seconds)
        })?;
        Ok(entry.caller.clone())
    }

    /// Counts a live stream against what its caller may have at once, as long as the permit lives.
    ///
    /// # Errors
    /// `rate-limited`.
    pub fn stream(&self, caller: &Caller) -> Result<OwnedSemaphorePermit, Problem> {
        let entry = self.first(caller);
        let permit = entry.and_then(|entry| Arc::clone(&entry.streams).try_acquire_owned().ok());
        permit.ok_or_else(|| {
            let detail = format!(
                "{} event streams are open, no more are allowed at once; close one, or read the \
                 events of several tasks from /v1/events",
                self.streams_max
            );
            Problem::new(ProblemCode::RateLimited, detail).retry_after(STREAMS_RETRY_SECONDS)
        })
    }

    /// Returns the memory that a caller's bodies may have.
    pub(super) fn bodies(&self, caller: &Caller) -> Option<&Room> {
        self.first(caller).map(|entry| &entry.bodies)
    }

    /// All keys of a caller share what the first of them has.
    fn first(&self, caller: &Caller) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.caller == *caller)
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let State(api) = State::<Api>::from_request_parts(parts, api)
            .await
            .expect("infallible");
        let value = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let key = value.and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let key = key.ok_or_else(|| {
            let detail = "send the header `Authorization: Bearer <api key>`";
            Problem::new(ProblemCode::Unauthorized, detail)
        })?;
        let caller = api.keys.check(key)?;
        sender_is_known(&parts.extensions);
        Ok(caller)
    }
}
