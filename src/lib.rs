//! kling-relay: a webhook-driven event processor for the Kling AI video platform.
//!
//! A caller says what it wants made. The request becomes durable, its money is held, the Kling task
//! is created exactly once with a `callback_url`; Kling's callbacks become one completion event on
//! NATS, the results are stored, and the money is closed against what Kling really deducted.
//!
//! # Code map
//!
//! Floors from the ground up; imports only ever point down.
//!
//! - [`model`]: what we say. Plain data, a file per noun, a schema per message.
//! - [`decide`]: what we do. Pure functions of (what we know, what happened, now) to a decision.
//! - [`edge`]: where. One place per neighbour: clock, downloads, object storage, Kling, NATS. Its
//!   heart is [`edge::nats::log`]: load a task, commit a step; beside it the money writer.
//! - [`stage`]: when. One async stage per arrow of the flow: intake, dispatcher, receiver,
//!   completer, reconciler, downloader, accountant. They meet on streams and never import one
//!   another.
//! - [`http`]: callers come in. [`ops`]: operators come in, a file per command.
//! - [`app`]: the only wiring. [`demo`]: the service beside the stand-in platform.
//! - [`cli`]: sub-commands and flags.
//! - [`sim`]: the stand-in platform, written from the platform's reference alone.
//!
//! # Invariants
//!
//! 1. The receiver proves, publishes, answers. It calls nobody and writes no task state.
//! 2. A poll and a callback become the same observation and take the same path. Only a verified
//!    body, or our own authenticated read, is believed; anything else is a hint to read.
//! 3. Money is held before Kling is called; each hold is closed once, and only on evidence.
//! 4. Every effect carries an id derived from its cause, so doing it twice changes nothing.
//! 5. Task status only moves forward; late, early and repeated callbacks are ordinary input.
//! 6. A message ends acknowledged or set aside with a reason. None is dropped, none loops for ever.
//! 7. Every queue, body, retry, batch and wait has a limit, and the limit is in the configuration.
//! 8. Only the money writer starts a history, and only the log writes under the task subjects.
//!
//! # Deliberately absent
//!
//! A database besides JetStream; polling in normal operation; an in-memory queue between an
//! accepted
//! request and its durability; state in the receiver; release of a hold by time.

pub mod model;
pub mod decide;
pub mod edge;
pub mod stage;
pub mod http;
pub mod ops;
pub mod config;
pub mod telemetry;
pub mod app;
pub mod demo;
pub mod cli;

pub mod sim;
