//! Tests that need nothing: no broker, no network.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod a_task;
mod addresses;
mod admission;
mod any_request;
mod auth;
mod budget_day;
mod callback_url;
mod circuit;
mod config;
mod development;
mod dispatch;
mod ledger;
mod own_books;
mod placement;
mod plan_bodies;
mod plan_inputs;
mod plan_laws;
mod plan_refusals;
mod price_books;
mod progress;
mod quiet;
mod readme;
mod request_digest;
mod requests;
mod retry;
mod schedule;
mod schemas;
mod signature;
mod sim;
mod telemetry;
mod tidy;
mod trace;
mod trust;
mod wire;
