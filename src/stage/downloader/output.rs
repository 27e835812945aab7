//! One output: its turn, its download, its place in storage.

use std::time::{Duration, Instant};

use metrics::{counter, histogram};

use super::gate::Gate;
use crate::decide::placement::{Trouble, Wanted, key};
use crate::edge::fetch::{FetchError, Fetcher};
use crate::edge::storage::{Described, Storage, StorageError};
use crate::model::ids::TaskId;
use crate::model::task::Asset;
use crate::telemetry::{self, DOWNLOAD_BYTES, DOWNLOAD_SECONDS};

/// Why an output is not stored yet.
#[derive(Debug)]
pub(super) struct NotStored {
    pub(super) wanted: Wanted,
    pub(super) trouble: Trouble,
    /// In words, without a secret.
    pub(super) why: String,
    /// The wait that the server asked for.
    pub(super) after: Option<Duration>,
}

/// What it takes to bring one output home.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) fetcher: Fetcher,
    pub(super) storage: Storage,
    pub(super) gate: Gate,
}

impl Home {
    /// Downloads an output and stores it.
    pub(super) async fn bring(
        &self,
        task: &TaskId,
        wanted: Wanted,
    ) -> Result<(u32, Asset), NotStored> {
        if wanted.url.0.is_empty() {
            let why = "Kling names no address".to_owned();
            return Err(NotStored {
                wanted,
                trouble: Trouble::Gone,
                why,
                after: None,
            });
        }
        let _turn = self.gate.enter(wanted.expires_at).await;
        let started = Instant::now();
        let brought = self.fetch_and_store(task, &wanted).await;
        let result = match &brought {
            Ok(_) => "stored",
            Err((trouble, ..)) => name(*trouble),
        };
        let took = started.elapsed();
        histogram!(DOWNLOAD_SECONDS, "result" => result).record(took.as_secs_f64());
        match brought {
            Ok(asset) => {
                counter!(DOWNLOAD_BYTES).increment(asset.bytes);
                tracing::info!(task.id = %task, n = wanted.n, kind = wanted.kind.as_str(),
                    bytes = asset.bytes, media_type = asset.media_type,
                    duration_ms = took.as_millis(), "output stored");
                Ok((wanted.n, asset))
            }
            Err((trouble, why, after)) => Err(NotStored {
                wanted,
                trouble,
                why,
                after,
            }),
        }
    }

    async fn fetch_and_store(
        &self,
        task: &TaskId,
        wanted: &Wanted,
    ) -> Result<Asset, (Trouble, String, Option<Duration>)> {
        let fetched = self
            .fetcher
            .fetch(&wanted.url, wanted.kind.media_types())
            .await;
        let fetched = fetched.map_err(|error| {
            let why = telemetry::chain(&error).to_string();
            let (trouble, after) = trouble_of(&error);
            (trouble, why, after)
        })?;
        let key = key(task, wanted.n, &fetched.sha256, fetched.media_type);
        let described = Described {
            bytes: fetched.bytes,
            sha256: &fetched.sha256,
            media_type: fetched.media_type,
        };
        let stored = self
            .storage
            .put_file(&key, fetched.file.path(), described)
            .await;
        stored.map_err(|error| {
            if matches!(error, StorageError::Refused { .. }) {
                tracing::error!(error = %telemetry::chain(&error), "storage refuses files");
            }
            (Trouble::Passing, telemetry::chain(&error).to_string(), None)
        })
    }
}

fn trouble_of(error: &FetchError) -> (Trouble, Option<Duration>) {
    match error {
        FetchError::Refused { .. } => (Trouble::Refused, None),
        FetchError::Gone { .. } => (Trouble::Gone, None),
        FetchError::BadContent { .. } => (Trouble::BadContent, None),
        FetchError::Retry { after, .. } => (Trouble::Passing, *after),
        FetchError::Spool(_) => (Trouble::Passing, None),
    }
}

fn name(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Refused => "refused",
        Trouble::Gone => "gone",
        Trouble::BadContent => "bad-content",
        Trouble::Passing => "interrupted",
        Trouble::Withdrawn => "withdrawn",
    }
}
