//! Everything the platform remembers, behind one lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rust_decimal::Decimal;
use serde_json::Value;

use super::callbacks::Outgoing;
use super::catalogue::{PRODUCTS, Pack, Product, Standard};
use super::config::SimConfig;
use super::deduct::Deduction;
use super::faults::FaultPlan;
use super::price::Ask;
use super::reply::Refusal;
use super::stats::{SimStats, count};
use super::tags::{self, CreateFault, Faults};
use super::task::{Status, Task};

/// The platform's ids are milliseconds since this moment, shifted left by 22 bits: so the two ids
/// that were seen live tell, and so ours sort by time and have 18 digits.
///
/// Source: platform reference 1.3.
const ID_EPOCH_MS: i64 = 1_568_028_518_000;
/// Callbacks answered with success that are remembered: the newest.
const CONFIRMED_MAX: usize = 4_096;

/// A create that has been read and found well-formed.
pub(super) struct Wanted {
    pub(super) standard: Standard,
    pub(super) product: &'static Product,
    pub(super) model: String,
    pub(super) version: String,
    pub(super) external_id: Option<String>,
    pub(super) callback_url: Option<String>,
    pub(super) watermark: bool,
    pub(super) key_name: String,
    pub(super) ask: Ask,
    pub(super) body: Value,
    pub(super) price: Decimal,
}

impl Wanted {
    /// What somebody else asked for beside us: a text-to-video task at this price.
    pub(super) fn foreign(external_id: Option<&str>, price: Decimal) -> Self {
        let product = &PRODUCTS[0];
        Self {
            standard: Standard::New,
            product,
            model: "kling-2.6".to_owned(),
            version: "kling-2.6".to_owned(),
            external_id: external_id.map(str::to_owned),
            callback_url: None,
            watermark: false,
            key_name: "somebody-else".to_owned(),
            body: Value::Null,
            ask: Ask::plain(),
            price,
        }
    }
}

/// What became of a create.
pub(super) enum Admission {
    Created { id: u64, fault: Option<CreateFault> },
    NotCreated(CreateFault),
    Refused(Refusal),
}

/// One pool of slots.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub(super) used: u32,
    pub(super) most: u32,
}

/// One resource pack.
#[derive(Debug, Clone)]
pub(super) struct Balance {
    pub(super) total: Decimal,
    pub(super) remaining: Decimal,
    /// Prices of unfinished tasks.
    pub(super) reserved: Decimal,
}

/// Everything the platform remembers.
pub(super) struct State {
    pub(super) tasks: BTreeMap<u64, Task>,
    pub(super) external: HashMap<String, u64>,
    pub(super) pools: BTreeMap<String, Pool>,
    pub(super) packs: BTreeMap<Pack, Balance>,
    /// What is left of the cash balance, in US dollars.
    pub(super) cash: Decimal,
    /// Every deduction, oldest first.
    pub(super) records: Vec<Deduction>,
    pub(super) plan: FaultPlan,
    pub(super) secrets: Vec<String>,
    pub(super) held: Vec<Outgoing>,
    /// Address and body of callbacks that were answered with success.
    pub(super) confirmed: VecDeque<(String, Bytes)>,
    pub(super) stats: SimStats,
    attempts: HashMap<String, (u32, Arc<Faults>)>,
    creates: u64,
    last_id: u64,
    last_webhook_id: u64,
}

impl State {
    /// An empty account.
    pub(super) fn new(config: &SimConfig) -> Self {
        let balance = |units: Decimal| Balance {
            total: units,
            remaining: units,
            reserved: Decimal::ZERO,
        };
        Self {
            tasks: BTreeMap::new(),
            external: HashMap::new(),
            pools: BTreeMap::new(),
            packs: BTreeMap::from([
                (Pack::Video, balance(config.packs.video)),
                (Pack::Image, balance(config.packs.image)),
                (Pack::TryOn, balance(config.packs.try_on)),
            ]),
            cash: config.packs.cash,
            records: Vec::new(),
            plan: config.faults.clone(),
            secrets: config.webhook_secrets.clone(),
            held: Vec::new(),
            confirmed: VecDeque::new(),
            stats: SimStats::default(),
            attempts: HashMap::new(),
            creates: 0,
            last_id: 0,
            last_webhook_id: 0,
        }
    }

    /// A fresh 18-digit id, larger than all before.
    pub(super) fn mint_id(&mut self, now_ms: i64) -> u64 {
        let elapsed_ms = u64::try_from(now_ms - ID_EPOCH_MS).unwrap_or(0);
        self.last_id = (elapsed_ms << 22).max(self.last_id + 1);
        self.last_id
    }

    /// Remembers a callback that was answered with success.
    pub(super) fn note_confirmed(&mut self, url: String, body: Bytes) {
        if self.confirmed.len() == CONFIRMED_MAX {
            self.confirmed.pop_front();
        }
        self.confirmed.push_back((url, body));
    }

    /// A fresh numeric `webhook-id`.
    pub(super) fn mint_webhook_id(&mut self, now_ms: i64) -> String {
        let by_time = u64::try_from(now_ms).unwrap_or(0) * 1000;
        self.last_webhook_id = by_time.max(self.last_webhook_id + 1);
        self.last_webhook_id.to_string()
    }

    /// Decides a create: faults that come first, then the platform's own checks in its order.
    pub(super) fn admit(&mut self, config: &SimConfig, wanted: Wanted, now_ms: i64) -> Admission {
        if let Some(code) = self.planned_refusal() {
            return Admission::Refused(Refusal::of(code));
        }
        let (attempt, faults) = match self.attempt(config.seed, &wanted) {
            Ok(known) => known,
            Err(tag) => {
                let message = format!("simulator tag not understood: {tag}");
                return Admission::Refused(Refusal::new(1201, message));
            }
        };
        let fault = tags::at(&faults.create, attempt).cloned();
        match fault {
            Some(CreateFault::Refuse(code)) => return Admission::Refused(Refusal::of(code)),
            Some(fault) if !fault.is_after() => return Admission::NotCreated(fault),
            _ => {}
        }
        if let Err(refusal) = self.room_for(config, &wanted) {
            return Admission::Refused(refusal);
        }
        Admission::Created {
            id: self.insert(wanted, faults, now_ms),
            fault,
        }
    }

    fn planned_refusal(&mut self) -> Option<u32> {
        let index = self
            .plan
            .refuse_creates
            .iter()
            .position(|refuse| refuse.times > 0)?;
        self.plan.refuse_creates[index].times -= 1;
        Some(self.plan.refuse_creates[index].code)
    }

    /// How often this create was tried before, and its faults, which stay the same.
    fn attempt(&mut self, seed: u64, wanted: &Wanted) -> Result<(u32, Arc<Faults>), String> {
        let prompt = &wanted.ask.prompt;
        let key = wanted
            .external_id
            .clone()
            .unwrap_or_else(|| format!("\n{prompt}"));
        if let Some((attempts, faults)) = self.attempts.get_mut(&key) {
            *attempts += 1;
            return Ok((*attempts, faults.clone()));
        }
        self.creates += 1;
        let faults = Arc::new(self.plan.faults(seed, self.creates, prompt)?);
        self.attempts.insert(key, (0, faults.clone()));
        Ok((0, faults))
    }

    /// Source: platform reference 5 (slots), 4 (1102, 1303), 0 (point 7: account-wide ids).
    fn room_for(&mut self, config: &SimConfig, wanted: &Wanted) -> Result<(), Refusal> {
        if let Some(external_id) = &wanted.external_id
            && self.external.contains_key(external_id)
        {
            self.stats.creates.duplicate_external_ids += 1;
            let message = format!("external_task_id already exists: {external_id}");
            return Err(Refusal::new(1201, message));
        }
        let pack = wanted.product.pack;
        let balance = &self.packs[&pack];
        let out_of_units = balance.remaining - balance.reserved < wanted.price
            || balance.remaining <= Decimal::ZERO;
        if out_of_units {
            return Err(Refusal::of(1102));
        }
        let pool = pool_name(pack, &wanted.version);
        let limit = config
            .slots
            .pools
            .get(&pool)
            .copied()
            .unwrap_or(match pack {
                Pack::Video => config.slots.video,
                Pack::Image => config.slots.image,
                Pack::TryOn => config.slots.try_on,
            });
        let used = self.pools.get(&pool).map_or(0, |pool| pool.used);
        if used + slots(wanted) > limit {
            return Err(Refusal::of(1303));
        }
        Ok(())
    }

    /// Adds a task whose create has passed every check.
    pub(super) fn insert(&mut self, wanted: Wanted, faults: Arc<Faults>, now_ms: i64) -> u64 {
        let id = self.mint_id(now_ms);
        let slots = slots(&wanted);
        let pool = pool_name(wanted.product.pack, &wanted.version);
        let counts = self.pools.entry(pool.clone()).or_default();
        counts.used += slots;
        counts.most = counts.most.max(counts.used);
        if let Some(balance) = self.packs.get_mut(&wanted.product.pack) {
            balance.reserved += wanted.price;
        }
        self.stats.creates.accepted += 1;
        count(&mut self.stats.creates.by_product, wanted.product.name);
        count(
            &mut self.stats.creates.by_generation,
            wanted.standard.name(),
        );
        if let Some(external_id) = &wanted.external_id {
            self.external.insert(external_id.clone(), id);
        }
        let lag_ms = faults
            .lag
            .map_or(0, |lag| i64::try_from(lag.as_millis()).unwrap_or(0));
        let task = Task {
            id,
            standard: wanted.standard,
            product: wanted.product,
            model: wanted.model,
            external_id: wanted.external_id,
            callback_url: wanted.callback_url,
            key_name: wanted.key_name,
            watermark: wanted.watermark,
            ask: wanted.ask,
            body: wanted.body,
            price: wanted.price,
            pool,
            slots,
            faults,
            status: Status::Submitted,
            message: String::new(),
            created_ms: now_ms,
            updated_ms: now_ms,
            visible_ms: now_ms + lag_ms,
            outputs: Vec::new(),
            deducted: None,
            paid_cash: Decimal::ZERO,
            lookups: 0,
            downloads: Vec::new(),
            deferred: None,
            last_turn: None,
        };
        self.tasks.insert(id, task);
        id
    }

    /// The counters, with those that are worked out on demand.
    pub(super) fn stats(&self) -> SimStats {
        let mut stats = self.stats.clone();
        for task in self.tasks.values() {
            count(&mut stats.tasks, task.status.word());
        }
        for (name, pool) in &self.pools {
            stats.max_slots.insert(name.clone(), pool.most);
        }
        for line in &self.records {
            let purse = line.purse.name().to_owned();
            *stats.deductions.entry(purse).or_default() += line.amount;
        }
        for amount in stats.deductions.values_mut() {
            *amount = amount.normalize();
        }
        stats.callbacks.held = self.held.len() as u64;
        stats
    }
}

/// Source: platform reference 5 (an image task takes as many slots as images).
fn slots(wanted: &Wanted) -> u32 {
    if wanted.product.pack == Pack::Image {
        wanted.ask.count
    } else {
        1
    }
}

/// The name of a pool: pack type and model version.
fn pool_name(pack: Pack, version: &str) -> String {
    format!("{}:{version}", pack.name())
}
