//! Callers come in: TLS and limits, callbacks, the submit API, health.

pub mod tls;
mod places;
mod room;
pub mod server;
pub mod callbacks;
pub mod api;
pub mod health;
