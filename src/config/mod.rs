//! One typed configuration: loaded, checked as a whole, explained when wrong. The only place that
//! reads the environment.
//!
//! The file and the environment become one tree of values in `load`, the tree becomes [`Config`],
//! and `check` compares the keys with one another. Problems are collected, not met one by one.

mod sections;
mod defaults;
mod duration;
mod redact;
mod load;
mod environment;
mod secret_files;
mod shape;
mod check;
mod role;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use environment::{log_directives, no_colour, process_environment, program_dirs, user_name};
pub use load::{ConfigError, Problem};
pub use role::Role;
pub use sections::*;

/// The whole configuration. Every part of the program is handed its own section.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Private NATS store, spool, local assets, development material.
    pub data_dir: PathBuf,
    /// Name of the environment in `ce-source`, logs and metrics.
    pub environment: String,
    /// The broker.
    pub nats: Nats,
    /// The platform.
    pub kling: Kling,
    /// The callback receiver.
    pub receiver: Receiver,
    /// The submit API and console.
    pub api: Api,
    /// Health and metrics.
    pub admin: Admin,
    /// Object storage and downloads.
    pub storage: Storage,
    /// How requests are read.
    pub intake: Intake,
    /// Prices.
    pub pricing: Pricing,
    /// Limits of spending.
    pub budget: Budget,
    /// Usage reports.
    pub usage: Usage,
    /// What prompts may say.
    pub prompt: Prompt,
    /// Dispatch.
    pub dispatcher: Dispatcher,
    /// Failed tasks tried again.
    pub retry: Retry,
    /// Earlier results as answers.
    pub reuse: Reuse,
    /// Repair of lost callbacks.
    pub reconciler: Reconciler,
    /// The consume loops.
    pub runner: Runner,
    /// How long things are kept.
    pub retention: Retention,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "./data".into(),
            environment: "development".to_owned(),
            nats: Nats::default(),
            kling: Kling::default(),
            receiver: Receiver::default(),
            api: Api::default(),
            admin: Admin::default(),
            storage: Storage::default(),
            intake: Intake::default(),
            pricing: Pricing::default(),
            budget: Budget::default(),
            usage: Usage::default(),
            prompt: Prompt::default(),
            dispatcher: Dispatcher::default(),
            retry: Retry::default(),
            reuse: Reuse::default(),
            reconciler: Reconciler::default(),
            runner: Runner::default(),
            retention: Retention::default(),
        }
    }
}
