//! Operators come in: one file per command, behind the command line.

pub mod output;
pub mod connect;
pub mod requests;
pub mod submit;
pub mod batch;
pub mod estimate;
pub mod advice;
pub mod tasks;
pub mod selection;
pub mod audit;
pub mod events;
pub mod replay;
pub mod dead;
pub mod recover;
pub mod budget;
pub mod usage;
pub mod reconcile;
pub mod schemas;

/// What the caller of a command wrote cannot be used: the exit code says so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(String);

impl Usage {
    /// Makes one of an error's words, causes included.
    pub fn of(error: impl Into<anyhow::Error>) -> anyhow::Error {
        Self(format!("{:#}", error.into())).into()
    }
}
