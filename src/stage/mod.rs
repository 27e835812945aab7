//! When: one async stage per arrow of the flow, in flow order. Stages never import one another;
//! they meet on streams.

pub mod runner;
pub mod look_up;
pub mod intake;
pub mod dispatcher;
pub mod receiver;
pub mod completer;
pub mod ledger_audit;
pub mod reconciler;
pub mod downloader;
pub mod accountant;
pub mod digest;
pub mod alerter;
pub mod views;
pub mod feed;
