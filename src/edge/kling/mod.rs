//! Kling: calls, credentials, callback proofs, and the only place that knows its JSON.

pub mod auth;
pub mod client;
pub mod lists;
pub mod signature;
pub mod callback_url;
pub mod wire;
