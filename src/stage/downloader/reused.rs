//! An earlier result as the answer: nothing is downloaded, what is stored already is looked at.

use super::Downloader;
use crate::edge::nats::log::Loaded;
use crate::edge::storage::StorageError;
use crate::stage::runner::Outcome;
use crate::telemetry;

impl Downloader {
    /// Says of a task that reuses a result that its outputs are stored, once they are seen there:
    /// somebody may have tidied up.
    pub(super) async fn take_over(&self, loaded: Loaded) -> Outcome {
        let (task_id, storage) = (&loaded.task.task_id, &self.home.storage);
        for asset in &loaded.task.assets {
            // What another storage holds, from before a move, cannot be looked at.
            if storage.uri(&asset.key) != asset.uri {
                continue;
            }
            let lost = match storage.size(&asset.key).await {
                Ok(size) => size != Some(asset.bytes),
                // Some policies forbid the look: then only the log tells.
                Err(StorageError::Refused { .. }) => false,
                Err(error) => {
                    let why = telemetry::chain(&error);
                    return Outcome::Retry(format!("task {task_id}: {why}"));
                }
            };
            if lost {
                return Outcome::SetAside(format!(
                    "task {task_id} reuses {}, which is no longer in the storage as it was; put \
                     it back and requeue this message, or submit the request without reuse",
                    asset.key
                ));
            }
        }
        let assets = loaded.task.assets.clone();
        self.commit(loaded, assets).await
    }
}
