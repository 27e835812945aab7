//! kling-relay: a webhook-driven event processor for the Kling AI video platform.

pub mod model;
pub mod decide;
pub mod edge;
pub mod stage;
pub mod http;
pub mod config;
pub mod telemetry;

pub mod sim;
