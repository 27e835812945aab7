//! What we do: pure functions of (what we know, what happened, now) to a decision. No IO, no clock,
//! no randomness, no logging.

pub mod ledger;
pub mod products;
pub mod pricing;
pub mod prompt;
pub mod budget;
pub mod off_peak;
pub mod admission;
pub mod usage;
pub mod advice;
pub mod estimate;
pub mod schedule;
pub mod reuse;
pub mod circuit;
pub mod dispatch;
pub mod trust;
pub mod progress;
pub mod quiet;
pub mod placement;
pub mod retry;
pub mod reconcile;
pub mod again;
