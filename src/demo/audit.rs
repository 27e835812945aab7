//! Were the guarantees kept? Read from the log, the ledger, the files and the simulator, not from
//! what the service says of itself.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use futures::StreamExt;
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};
use url::Url;

use super::stand::Stand;
use crate::edge::nats::topology;
use crate::model::amount::Unit;
use crate::model::answer::Accepted;
use crate::model::event::EventKind;
use crate::model::ids::TaskId;
use crate::model::ledger::Balance;
use crate::model::task::{Status, Task};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Guarantees that were broken, in words; empty is good.
    pub(super) broken: Vec<String>,
    /// The balance of the day.
    pub(super) balance: Balance,
    /// Files checked on disk.
    pub(super) files: usize,
    /// Their size.
    pub(super) bytes: u64,
}

impl Findings {
    fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(otherwise());
        }
    }
}

pub(super) async fn audit(
    stand: &Stand,
    submitted: &[Accepted],
    ended: &HashMap<TaskId, Task>,
) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    let completions = history(stand).await?;
    for accepted in submitted {
        let task = accepted.task_id.clone();
        let count = completions.get(&task).copied().unwrap_or(0);
        findings.must(count == 1, || format!("{task} has {count} completions"));
    }
    spending(stand, ended, &mut findings);
    money(stand, ended, &mut findings).await?;
    files(ended, &mut findings)?;
    Ok(findings)
}

/// Counts the completions in the log, from its start.
async fn history(stand: &Stand) -> anyhow::Result<HashMap<TaskId, u32>> {
    let last = stand.app.log().last_event_sequence().await?;
    let mut events = stand
        .app
        .log()
        .follow(vec![topology::TASK_EVENTS.to_owned()], 1)
        .await?;
    let mut completions = HashMap::new();
    loop {
        let recorded = events.next().await.context("the log ended")??;
        if let Some((task, EventKind::Succeeded | EventKind::Failed)) = recorded.task_subject() {
            *completions.entry(task).or_default() += 1;
        }
        if recorded.seq >= last {
            return Ok(completions);
        }
    }
}

/// One request made at most one task at the platform.
fn spending(stand: &Stand, ended: &HashMap<TaskId, Task>, findings: &mut Findings) {
    let mut created: BTreeMap<String, u32> = BTreeMap::new();
    for task in stand.sim.control().tasks() {
        *created
            .entry(task.external_id.unwrap_or_default())
            .or_default() += 1;
    }
    for (id, count) in &created {
        findings.must(*count == 1, || format!("{id} was created {count} times"));
        let ours = TaskId::parse(id).is_ok_and(|id| ended.contains_key(&id));
        findings.must(ours, || {
            format!("the platform made {id:?}, which nobody asked for")
        });
    }
    for (id, task) in ended {
        let made = created.contains_key(id.as_str());
        let known = task.kling_task_id.is_some();
        findings.must(made == known, || {
            format!("{id}: created there {made}, known here {known}")
        });
    }
}

/// Every hold is closed, and what was deducted is what the platform took.
async fn money(
    stand: &Stand,
    ended: &HashMap<TaskId, Task>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let mut deducted: BTreeMap<Unit, Decimal> = BTreeMap::new();
    let mut days: Vec<_> = ended
        .values()
        .map(|task| (task.tenant.clone(), task.relay.day))
        .collect();
    days.sort_by_key(|(tenant, day)| (tenant.to_string(), *day));
    days.dedup();
    for (tenant, day) in days {
        let owner = crate::model::ledger::LedgerOwner::Tenant(tenant);
        let key = crate::model::ledger::LedgerKey { owner, day };
        let balance = stand.app.log().balance(&key).await?.unwrap_or_default();
        for (unit, of_unit) in &balance {
            findings.must(of_unit.held.is_zero(), || {
                format!("{} {unit} are still held on {day}", of_unit.held)
            });
            *deducted.entry(*unit).or_default() += of_unit.deducted;
        }
        findings.balance = balance;
    }
    let taken = stand.sim.stats().deductions;
    let packs = [
        (Unit::Video, "video"),
        (Unit::Image, "image"),
        (Unit::TryOn, "try-on"),
    ];
    for (unit, pack) in packs {
        let ours = deducted.get(&unit).copied().unwrap_or_default();
        let theirs = taken.get(pack).copied().unwrap_or_default();
        findings.must(ours == theirs, || {
            format!("{unit}: our ledger says {ours}, the platform took {theirs}")
        });
    }
    Ok(())
}

/// Every output is on disk, and is what its name says.
fn files(ended: &HashMap<TaskId, Task>, findings: &mut Findings) -> anyhow::Result<()> {
    for task in ended
        .values()
        .filter(|task| task.status == Status::Succeeded)
    {
        findings.must(!task.assets.is_empty(), || {
            format!("{} has no file", task.task_id)
        });
        for asset in &task.assets {
            let path = Url::parse(&asset.uri)
                .ok()
                .and_then(|uri| uri.to_file_path().ok());
            let path = path.with_context(|| format!("{} is no file", asset.uri))?;
            let content = std::fs::read(&path).unwrap_or_default();
            let sha256 = hex::encode(Sha256::digest(&content));
            findings.must(sha256 == asset.sha256, || {
                format!("{} is not what was stored: sha256 {sha256}", path.display())
            });
            findings.files += 1;
            findings.bytes += asset.bytes;
        }
    }
    Ok(())
}
