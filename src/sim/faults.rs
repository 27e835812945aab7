//! Faults: what can go wrong, asked for by tags in a prompt or by a plan.
//!
//! A tag is `[sim:key=value]`; several may stand in one prompt, or in one pair of brackets
//! separated by commas: `[sim:callback=drop,slow=2s]`. A tag that is not understood refuses the
//! create with 1201, so that a misspelt test fails loudly. Everything a tag can say, a
//! [`FaultPlan`] can say too: for each create, for the n-th create, or by chance.
//!
//! | tag | effect |
//! |---|---|
//! | `fail=moderation` | ends `failed`, content refused, costs nothing |
//! | `fail=input`, `fail=size`, `fail` | the same with another reason |
//! | `slow=30s` | processing takes this long |
//! | `stuck` | the task never ends |
//! | `outputs=3` | this many outputs (0 to 20) |
//! | `create=1303` | every create with this external id is refused with this code |
//! | `create=1303x2` | its first 2 creates are; any code of the error table works |
//! | `create=504-after` | the task is created, the answer is a 504/5002 |
//! | `create=504-before` | the same without a task; likewise `500`, `502`, `503` |
//! | `create=garbage` | answer is 200 with a body that is no JSON; or `garbage-before` |
//! | `create=badgateway` | answer is 502 with an HTML page; or `badgateway-before` |
//! | `create=reset` | connection cut instead of an answer; or `reset-before` |
//! | `create=timeout` | cut after `timing.silence`; or `timeout-before` |
//! | `lookup=lag:3s` | look-ups and lists miss the task for this long |
//! | `lookup=5000x2` | its first 2 look-ups by id are refused with this code |
//! | `billing=none` | callbacks carry no billing, look-ups do |
//! | `billing=never` | neither carries billing |
//! | `billing=over:2.5` | 2.5 units more than the list price |
//! | `billing=amount:7` | exactly 7 units, even when failed |
//! | `billing=split` | the amount in two entries (new standard) |
//! | `billing=cash` | paid from the cash balance instead, at list price |
//! | `billing=mixed:0.5` | 0.5 units from the pack, the rest from the cash balance |
//! | `record=missing` | no deduction record; the task's own bill stays as it is, here and below |
//! | `record=amount:7` | the record says 7 units |
//! | `record=twice` | the record stands there twice |
//! | `record=split` | two records, of two packs, that add up |
//! | `record=cash`, `record=pack:image` | the record is one of cash, or of another pack |
//! | `cdn=truncate` | full `Content-Length`, half the bytes, then cut |
//! | `cdn=500x2` | any error status, here for the first 2 requests of each file |
//! | `cdn=slow:5s` | the body trickles over this time |
//! | `cdn=expired` | URLs handed out are expired already |
//! | `cdn=wrong-type`, `cdn=empty` | 200 with an HTML page; 200 with no bytes |
//! | `cdn=redirect:http://x/` | 302 to that URL |
//! | `callback=drop` | not sent |
//! | `callback=duplicate` | sent twice at once; `duplicate:3` thrice |
//! | `callback=duplicate-new-id` | the same, each copy with its own `webhook-id` |
//! | `callback=reorder` | `processing` is sent after the terminal one was answered |
//! | `callback=delay:2s` | sent this much later |
//! | `callback=truncate` | half the body is missing; what is sent is signed |
//! | `callback=bad-signature` | signed with another key |
//! | `callback=stale` | signed well, 10 minutes ago |
//! | `callback=unsigned` | not signed |
//! | `callback=early` | `processing` is called back before the create is answered |
//! | `callback=early-terminal` | the whole task is |
//! | `callback=wrapped` | inside `{code, message, request_id, data}` |
//! | `callback=submitted` | the `submitted` status is called back too |
//! | `callback=nulls` | empty containers are `null`, amounts are numbers |
//!
//! Every `callback` value may end in `@submitted`, `@processing` or `@terminal` to hit only that
//! one. `x2` (the first 2 times) works on every `create`, `lookup` and `cdn` value; without it
//! `create` faults other than codes happen once, the others always.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::tags::Faults;

/// Faults beyond those in prompts. Can be replaced while the simulator runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultPlan {
    /// Tags that every create gets, such as `"callback=drop"`.
    pub always: Vec<String>,
    /// Tags that the n-th create gets.
    pub script: Vec<ScriptedFault>,
    /// Tags that a create gets by chance, reproducible by the seed.
    pub random: Vec<RandomFault>,
    /// The next `times` creates, whatever they are, are refused with `code`.
    pub refuse_creates: Vec<Refuse>,
    /// Every API call answers this code (503/5001 is maintenance) until it is taken away.
    pub outage: Option<u32>,
    /// Callbacks are not sent at all.
    pub drop_callbacks: bool,
    /// Callbacks are collected until they are released.
    pub hold_callbacks: bool,
}

/// Tags for one particular create.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedFault {
    /// Which create, counted from 1; repeats of an external id do not count.
    pub create: u64,
    /// Its tags, separated by commas.
    pub tags: String,
}

/// Tags with a probability.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomFault {
    /// Between 0 and 1.
    pub probability: f64,
    /// The tags, separated by commas.
    pub tags: String,
}

/// A code that the next creates answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refuse {
    /// A code of the platform's error table.
    pub code: u32,
    /// How many creates.
    pub times: u32,
}

impl FaultPlan {
    /// Checks that every tag in it is understood.
    ///
    /// # Errors
    /// The first tag that is not.
    pub fn check(&self) -> Result<(), String> {
        let scripted = self.script.iter().map(|fault| &fault.tags);
        let random = self.random.iter().map(|fault| &fault.tags);
        let mut faults = Faults::default();
        self.always
            .iter()
            .chain(scripted)
            .chain(random)
            .try_for_each(|tags| faults.add(tags))
    }

    /// The faults of the `ordinal`-th create with this prompt.
    pub(super) fn faults(&self, seed: u64, ordinal: u64, prompt: &str) -> Result<Faults, String> {
        let mut faults = Faults::default();
        for rest in prompt.split("[sim:").skip(1) {
            let tags = rest.split_once(']').map(|(tags, _)| tags);
            faults.add(tags.ok_or_else(|| format!("[sim:{rest}"))?)?;
        }
        for tags in &self.always {
            faults.add(tags)?;
        }
        for fault in self.script.iter().filter(|fault| fault.create == ordinal) {
            faults.add(&fault.tags)?;
        }
        for (index, fault) in self.random.iter().enumerate() {
            if chance(seed, ordinal, index) < fault.probability {
                faults.add(&fault.tags)?;
            }
        }
        Ok(faults)
    }
}

/// A number in [0, 1) fixed by seed, create and fault, so that one roll never shifts another.
pub(super) fn chance(seed: u64, ordinal: u64, index: usize) -> f64 {
    let digest = Sha256::digest(format!("{seed}/{ordinal}/{index}"));
    let mut first = [0_u8; 4];
    first.copy_from_slice(&digest[..4]);
    f64::from(u32::from_be_bytes(first)) / (f64::from(u32::MAX) + 1.0)
}
