//! A task whose history was rebuilt: what is stored already is not downloaded again.

use super::Downloader;
use crate::decide::placement::Wanted;
use crate::edge::nats::log::Loaded;
use crate::model::task::Asset;
use crate::stage::runner::Outcome;
use crate::telemetry;

impl Downloader {
    /// Takes from what is wanted the outputs that were stored before the log was lost, and returns
    /// them. The digest stands in each key, and nothing was ever stored unchecked.
    pub(super) async fn stored_before(
        &self,
        loaded: &Loaded,
        wanted: &mut Vec<Wanted>,
    ) -> Result<Vec<(u32, Asset)>, Outcome> {
        let task = &loaded.task;
        if !task.relay.rebuilt {
            return Ok(Vec::new());
        }
        let folder = format!("{}/{}", task.tenant, task.task_id);
        let stored = self.home.storage.stored(&folder).await;
        let mut stored = stored.map_err(|error| {
            let why = telemetry::chain(&error);
            Outcome::Retry(format!("task {}: {why}", task.task_id))
        })?;
        stored.retain(|n, _| wanted.iter().any(|wanted| wanted.n == *n));
        wanted.retain(|wanted| !stored.contains_key(&wanted.n));
        Ok(stored.into_iter().collect())
    }
}
