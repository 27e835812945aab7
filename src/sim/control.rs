//! The simulator's controls: change its faults, turn its knobs, see what it remembers.

use std::sync::Arc;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::callbacks::{self, Outgoing};
use super::catalogue::Pack;
use super::faults::FaultPlan;
use super::forge::{self, Forgery};
use super::server::Sim;
use super::state::Wanted;
use super::stats::SimStats;
use super::task::Task;
use super::{SimError, clock, lifecycle, signature};

/// The controls of one simulator.
#[derive(Clone)]
pub struct Control {
    sim: Arc<Sim>,
}

/// One task as the simulator remembers it, for comparison with somebody's ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimTask {
    /// The platform's id.
    pub id: String,
    /// The caller's id.
    pub external_id: Option<String>,
    /// `new` or `legacy`.
    pub standard: String,
    /// Such as `text-to-video`.
    pub product: String,
    /// As it was asked for; empty where the product has none.
    pub model: String,
    /// In the new standard's words.
    pub status: String,
    /// The body of the create that made it, as it was received.
    pub body: Value,
    /// Where its callbacks go.
    pub callback_url: Option<String>,
    /// Pack that pays.
    pub pack: String,
    /// List price in units of that pack.
    pub price: Decimal,
    /// Units that it says were deducted, once it has ended.
    pub deducted: Option<Decimal>,
    /// US dollars that it says were deducted beside them.
    pub paid_cash: Decimal,
    /// Signed URLs of its outputs.
    pub urls: Vec<String>,
    /// Created, Unix ms.
    pub created_ms: i64,
    /// Last status change, Unix ms.
    pub updated_ms: i64,
}

impl SimTask {
    fn of(task: &Task) -> Self {
        Self {
            id: task.id.to_string(),
            external_id: task.external_id.clone(),
            standard: task.standard.name().to_owned(),
            product: task.product.name.to_owned(),
            model: task.model.clone(),
            status: task.status.word().to_owned(),
            body: task.body.clone(),
            callback_url: task.callback_url.clone(),
            pack: task.product.pack.name().to_owned(),
            price: task.price,
            deducted: task.deducted,
            paid_cash: task.paid_cash,
            urls: task
                .outputs
                .iter()
                .flat_map(|output| output.urls.clone())
                .collect(),
            created_ms: task.created_ms,
            updated_ms: task.updated_ms,
        }
    }
}

impl Control {
    pub(super) fn new(sim: Arc<Sim>) -> Self {
        Self { sim }
    }

    /// The present fault plan, with what is left of its counts.
    pub fn faults(&self) -> FaultPlan {
        self.sim.state().plan.clone()
    }

    /// Replaces the fault plan. Tasks that exist keep their faults.
    ///
    /// # Errors
    /// When a tag in it is not understood; nothing has changed then.
    pub fn set_faults(&self, plan: FaultPlan) -> Result<(), SimError> {
        plan.check().map_err(SimError::Tag)?;
        self.sim.state().plan = plan;
        Ok(())
    }

    /// Replaces the webhook secrets: none, one, or two during a rotation.
    ///
    /// # Errors
    /// When one is not a `whsec_` value; nothing has changed then.
    pub fn set_webhook_secrets(&self, secrets: Vec<String>) -> Result<(), SimError> {
        if let Some(secret) = secrets
            .iter()
            .find(|secret| signature::key(secret).is_none())
        {
            return Err(SimError::Secret(secret.len()));
        }
        self.sim.state().secrets = secrets;
        Ok(())
    }

    /// Starts a standard rotation: `secret` signs first, the newest old one signs too.
    ///
    /// # Errors
    /// As [`Control::set_webhook_secrets`].
    pub fn rotate_webhook_secret(&self, secret: String) -> Result<(), SimError> {
        let old = self.sim.state().secrets.first().cloned();
        self.set_webhook_secrets(std::iter::once(secret).chain(old).collect())
    }

    /// Sets the units left in a pack (`video`, `image`, `try-on`); others are ignored.
    pub fn set_units(&self, pack: &str, units: Decimal) {
        let mut state = self.sim.state();
        for (known, balance) in &mut state.packs {
            if known.name() == pack {
                balance.remaining = units;
            }
        }
    }

    /// Units left in each pack, by name.
    pub fn units(&self) -> Vec<(String, Decimal)> {
        let state = self.sim.state();
        let name = |pack: &Pack| pack.name().to_owned();
        state
            .packs
            .iter()
            .map(|(pack, balance)| (name(pack), balance.remaining))
            .collect()
    }

    /// Sends the callbacks that were held, shuffled by `seed`; answers how many there were.
    /// Also lets later ones pass again.
    pub fn release_callbacks(&self, seed: u64) -> usize {
        let mut held: Vec<Outgoing> = {
            let mut state = self.sim.state();
            state.plan.hold_callbacks = false;
            state.stats.callbacks.in_flight += state.held.iter().map(Outgoing::length).sum::<u64>();
            std::mem::take(&mut state.held)
        };
        held.shuffle(&mut StdRng::seed_from_u64(seed));
        let count = held.len();
        callbacks::dispatch(&self.sim, held);
        count
    }

    /// Presses the console's test button; answers the receiver's status, `timeout` or `error`.
    pub async fn test_callback(&self, url: &str) -> String {
        callbacks::test_callback(&self.sim, url).await
    }

    /// Posts a forged callback; answers the receiver's status, `timeout` or `error`.
    ///
    /// # Errors
    /// When there is nothing to aim at.
    pub async fn forge(&self, forgery: &Forgery) -> Result<String, SimError> {
        forge::post(&self.sim, forgery).await
    }

    /// Every task, oldest first.
    pub fn tasks(&self) -> Vec<SimTask> {
        self.sim.state().tasks.values().map(SimTask::of).collect()
    }

    /// The task with this external id.
    pub fn task(&self, external_id: &str) -> Option<SimTask> {
        let state = self.sim.state();
        let id = state.external.get(external_id)?;
        state.tasks.get(id).map(SimTask::of)
    }

    /// Address and exact body of each callback that was answered with success, oldest first; the
    /// newest 4,096 are remembered.
    pub fn confirmed_callbacks(&self) -> Vec<(String, Bytes)> {
        self.sim.state().confirmed.iter().cloned().collect()
    }

    /// Ends a task now, stuck or not, as its faults would have it end; answers whether there was
    /// an open one with this external id.
    pub fn finish(&self, external_id: &str) -> bool {
        let id = {
            let state = self.sim.state();
            let id = state.external.get(external_id).copied();
            id.filter(|id| {
                state
                    .tasks
                    .get(id)
                    .is_some_and(|task| !task.status.is_terminal())
            })
        };
        let Some(id) = id else { return false };
        callbacks::dispatch(&self.sim, lifecycle::begin(&self.sim, id));
        callbacks::dispatch(&self.sim, lifecycle::end(&self.sim, id));
        true
    }

    /// Adds a text-to-video task that somebody else made with this account, ended and paid for;
    /// answers the platform's id.
    pub fn add_foreign(&self, external_id: Option<&str>, units: Decimal) -> String {
        let wanted = Wanted::foreign(external_id, units);
        let id = self
            .sim
            .state()
            .insert(wanted, Arc::default(), clock::now_ms());
        // Nobody is called back: it has no address.
        lifecycle::begin(&self.sim, id);
        lifecycle::end(&self.sim, id);
        id.to_string()
    }

    /// Whether every task has ended and no callback is under way or held.
    pub fn is_idle(&self) -> bool {
        let state = self.sim.state();
        state.stats.callbacks.in_flight == 0
            && state.held.is_empty()
            && state.tasks.values().all(|task| task.status.is_terminal())
    }

    /// A snapshot of all counters.
    pub fn stats(&self) -> SimStats {
        self.sim.state().stats()
    }
}
