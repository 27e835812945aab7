//! A task whose history was rebuilt: what is stored already is not downloaded again.

use super::Downloader;
use crate::edge::nats::log::Loaded;
use crate::model::task::Asset;
use crate::stage::runner::Outcome;
use crate::telemetry;

impl Downloader {
    /// Finds what was stored before the log was lost, in Kling's order; `None` unless all of it is
    /// there. The digest stands in each key, and nothing was ever stored unchecked.
    pub(super) async fn stored_before(
        &self,
        loaded: &Loaded,
    ) -> Result<Option<Vec<Asset>>, Outcome> {
        let task = &loaded.task;
        let folder = format!("{}/{}", task.tenant, task.task_id);
        let stored = self.home.storage.stored(&folder).await;
        let stored = stored.map_err(|error| {
            let why = telemetry::chain(&error);
            Outcome::Retry(format!("task {}: {why}", task.task_id))
        })?;
        let outputs = usize::try_from(task.relay.outputs).unwrap_or(usize::MAX);
        let complete = outputs > 0 && stored.len() == outputs;
        Ok(complete.then(|| stored.into_values().collect()))
    }
}
