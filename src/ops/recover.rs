//! `recover`: what callbacks never said, found in Kling's own list and sent the callbacks' own way.
//! With `--rebuild` histories that the log has lost are begun anew first. Tasks of the account that
//! are none of ours are counted and never adopted.

mod found;
mod report;

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};

use self::found::{Findings, Found};
use super::audit::Deed;
use super::connect::Connected;
use super::output::Output;
use crate::cli::{RecoverArgs, interruption};
use crate::decide::products::ProductRow;
use crate::decide::progress::{self, LastWord, Progress};
use crate::edge::clock::Clock;
use crate::edge::kling::client::Span;
use crate::edge::kling::lists::Lists;
use crate::edge::kling::wire::{Entry, Terms};
use crate::edge::nats::callbacks::CallbackToStore;
use crate::edge::nats::log::LogError;
use crate::edge::nats::topology;
use crate::model::amount::{Amount, Unit, sum_by_unit};
use crate::model::answer::Rebuilt;
use crate::model::audit::{AuditAction, AuditState, Selection};
use crate::model::ids::{KlingTaskId, TaskId, Tenant};
use crate::model::observation::{Observation, Proof};
use crate::model::operator::{LostTask, Rebuild};
use crate::model::request::Product;
use crate::model::task::Generation;

/// How long Kling lists a task, days. Source: platform reference 2.4.
const LISTED_DAYS: i64 = 30;
/// Deduction records kept for a rebuild.
const RECORDS_MAX: usize = 1_000_000;
/// Lost tasks in one call to the service.
const REBUILD_MAX: usize = 100;

/// What Kling's deduction records say it took, by task.
type Records = HashMap<KlingTaskId, Vec<Amount>>;

/// One run over Kling's list.
pub struct Recovery<'a> {
    /// The broker, and the service behind it for a rebuild.
    pub link: &'a Connected,
    /// Kling's lists.
    pub lists: Lists,
    /// Time.
    pub clock: &'a Clock,
    /// The flags.
    pub args: &'a RecoverArgs,
}

/// A legacy list: its path, and what is made there.
type Legacy = (&'static str, Product);

/// Checks the flags.
///
/// # Errors
/// Names the flag.
pub fn check(args: &RecoverArgs, now: Timestamp) -> anyhow::Result<()> {
    span(args, now)?;
    args.tenant.as_deref().map(Tenant::parse).transpose()?;
    if args.dry_run {
        Ok(())
    } else {
        args.audit.check()
    }
}

fn span(args: &RecoverArgs, now: Timestamp) -> anyhow::Result<Span> {
    let time = |flag: &str, text: &str| {
        text.parse::<Timestamp>()
            .with_context(|| format!("{flag} {text:?} is no time; use 2026-11-21T08:00:00Z"))
    };
    let oldest = now - SignedDuration::from_hours(24 * LISTED_DAYS);
    let from = args.from.as_deref().map(|text| time("--from", text));
    let from = from.transpose()?.unwrap_or(oldest);
    let to = args.to.as_deref().map(|text| time("--to", text));
    let to = to.transpose()?.unwrap_or(now);
    if from >= to {
        bail!("--from {from} must lie before --to {to}");
    }
    if to <= oldest {
        bail!("Kling lists tasks for {LISTED_DAYS} days; --to {to} lies before that");
    }
    let from = from.max(oldest);
    Ok(Span { from, to })
}

impl Recovery<'_> {
    /// Searches the list, and tells the log what it does not know.
    ///
    /// # Errors
    /// What Kling or the log did not answer; the same again goes on where it stopped, since what
    /// is known by then is passed over.
    pub async fn run(&self, output: Output) -> anyhow::Result<bool> {
        let span = span(self.args, self.clock.now())?;
        let action = match self.args.rebuild {
            true => AuditAction::Rebuild,
            false => AuditAction::Recover,
        };
        let mut selection = Selection::default();
        (selection.from, selection.to) = (Some(span.from), Some(span.to));
        selection.tenant.clone_from(&self.args.tenant);
        let deed = Deed::new(action, &self.args.audit, selection, None);
        let (log, mut findings) = (&self.link.log, Findings::default());
        let stop = interruption();
        if !self.args.dry_run {
            deed.record(log, AuditState::Begun, 0, self.clock.now())
                .await?;
        }
        let searched = tokio::select! {
            searched = self.search(span, &mut findings) => searched,
            () = stop => Err(anyhow::anyhow!("interrupted")),
        };
        let state = match &searched {
            Ok(()) => AuditState::Ended,
            Err(_) => AuditState::Interrupted,
        };
        let recorded = match self.args.dry_run {
            true => Ok(()),
            false => {
                let now = self.clock.now();
                // A history that was begun is told of next; an interruption may come between.
                let messages = findings.told.max(findings.begun);
                deed.record(log, state, messages, now).await
            }
        };
        searched
            .with_context(|| format!("{} tasks were told of; run the same again", findings.told))?;
        recorded?;
        self.report(span, &findings, output);
        Ok(true)
    }

    async fn search(&self, span: Span, findings: &mut Findings) -> anyhow::Result<()> {
        let records = match self.args.rebuild {
            true => self.records(span).await?,
            false => Records::new(),
        };
        if self.lists.kling.serves(Generation::New) {
            let mut walk = self.lists.tasks(span);
            while let Some(entries) = walk.next().await? {
                self.page(None, entries, &records, findings).await?;
            }
            if !findings.has_nameless() {
                return Ok(());
            }
        }
        // The legacy lists alone give the external id of every legacy task.
        // Source: platform reference 2.4.
        let mut paths = BTreeMap::new();
        for product in Product::ALL {
            let row = ProductRow::of(product);
            paths
                .entry(row.legacy.path)
                .or_insert((product, row.pack.unit()));
        }
        for (path, (product, unit)) in paths {
            let terms = Terms::new(unit, self.lists.kling.cash_unit());
            let mut walk = self.lists.legacy(path, terms, span);
            while let Some(entries) = walk.next().await? {
                let list = Some((path, product));
                self.page(list, entries, &records, findings).await?;
            }
        }
        findings.close();
        Ok(())
    }

    async fn page(
        &self,
        list: Option<Legacy>,
        entries: Vec<Entry>,
        records: &Records,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let mut lost = Vec::new();
        for entry in entries {
            if let Some(kling_id) = entry.kling_id.as_deref() {
                if list.is_none() && entry.external_id.is_none() {
                    findings.note_nameless(kling_id);
                    continue;
                }
                if !findings.is_new(kling_id) {
                    continue;
                }
            }
            let Some(task_id) = ours(&entry) else {
                let kling_id = entry.kling_id.as_deref().unwrap_or_default();
                findings.note(Found::Foreign, kling_id);
                continue;
            };
            if !self.is_asked_for(&task_id) {
                findings.note_other_tenant(&task_id);
                continue;
            }
            match (self.judge(&task_id, &entry).await?, &entry.observation) {
                (Found::NotInLog, Ok(seen)) if self.args.rebuild => {
                    lost.push((self.lost(task_id, seen, list, records), entry));
                }
                (found, _) => {
                    findings.note(found, task_id.as_str());
                    if found == Found::Missed && !self.args.dry_run {
                        self.tell(&task_id, &entry, findings).await?;
                    }
                }
            }
        }
        for part in lost.chunks(REBUILD_MAX) {
            self.rebuild(part, findings).await?;
        }
        Ok(())
    }

    fn is_asked_for(&self, task_id: &TaskId) -> bool {
        let wanted = self.args.tenant.as_deref();
        wanted.is_none_or(|wanted| wanted == task_id.tenant().as_str())
    }

    async fn judge(&self, task_id: &TaskId, entry: &Entry) -> anyhow::Result<Found> {
        let Ok(seen) = &entry.observation else {
            return Ok(Found::Unreadable);
        };
        let loaded = match self.link.log.load(task_id).await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return Ok(Found::NotInLog),
            // A newer version may have written it; the others are still to be found.
            Err(LogError::Corrupt { .. }) => return Ok(Found::Unreadable),
            Err(error) => return Err(error.into()),
        };
        let next = progress::next(&loaded.task, seen, LastWord::Yes, self.clock.now());
        Ok(match next {
            Progress::NothingNew => Found::Known,
            Progress::Commit(_) | Progress::CommitThenAgain(_) | Progress::ReReadFirst(_) => {
                Found::Missed
            }
            Progress::Contradiction(_) => Found::Contradicts,
        })
    }

    fn lost(
        &self,
        task_id: TaskId,
        seen: &Observation,
        list: Option<Legacy>,
        records: &Records,
    ) -> LostTask {
        let (path, product) = match list {
            Some((path, product)) => (path, product),
            None => ("", by_pack(seen).unwrap_or(Product::TextToVideo)),
        };
        let recorded = records.get(&seen.kling_task_id).cloned();
        let recorded = recorded
            .filter(|records| is_whole(records))
            .unwrap_or_default();
        LostTask {
            task_id,
            kling_task_id: seen.kling_task_id.clone(),
            created_at: seen.created_at.unwrap_or(self.clock.now()),
            product,
            path: path.to_owned(),
            hold: hold(seen, product, &recorded),
            recorded,
        }
    }

    /// Stores what Kling says, as an answer to a query of ours.
    async fn tell(
        &self,
        task_id: &TaskId,
        entry: &Entry,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let callback = CallbackToStore {
            tenant: task_id.tenant().to_string(),
            task: task_id.to_string(),
            body: entry.raw.to_string().into(),
            proof: Proof::Read,
            received_at: self.clock.now(),
            webhook_id: None,
        };
        self.link.log.store_callback(callback).await?;
        findings.told += 1;
        Ok(())
    }

    async fn rebuild(
        &self,
        lost: &[(LostTask, Entry)],
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let wish = Rebuild {
            tasks: lost.iter().map(|(task, _)| task.clone()).collect(),
            tenant: self.args.tenant.as_deref().map(Tenant::parse).transpose()?,
            dry_run: self.args.dry_run,
            who: self.args.audit.who().unwrap_or_default(),
            reason: self.args.audit.reason.clone().unwrap_or_default(),
        };
        let body = serde_json::to_vec(&wish)?;
        let subject = topology::REBUILD.to_owned();
        let answer: Rebuilt = self.link.ask(subject, body, None).await?;
        findings.begun += answer.begun;
        for (task, entry) in lost {
            if answer.other_tenants.contains(&task.task_id.tenant()) {
                findings.note_other_tenant(&task.task_id);
            } else if self.args.dry_run {
                findings.note(Found::NotInLog, task.task_id.as_str());
            } else {
                findings.note(Found::Rebuilt, task.task_id.as_str());
                self.tell(&task.task_id, entry, findings).await?;
            }
        }
        Ok(())
    }

    async fn records(&self, span: Span) -> anyhow::Result<Records> {
        let mut by_task = Records::new();
        for source in self.lists.kling.record_sources() {
            let mut walk = self.lists.records(source, span);
            while let Some(records) = walk.next().await? {
                for record in records {
                    let of_task = by_task.entry(record.kling_task_id).or_default();
                    of_task.extend(record.amount);
                }
                if by_task.len() > RECORDS_MAX {
                    bail!("more than {RECORDS_MAX} deduction records; choose a shorter --from");
                }
            }
        }
        Ok(by_task)
    }
}

/// A refund whose charge lies before the records that were read does not say what was charged.
fn is_whole(records: &[Amount]) -> bool {
    let sums = sum_by_unit(records.iter().copied());
    sums.iter().all(|sum| !sum.amount.is_sign_negative())
}

fn ours(entry: &Entry) -> Option<TaskId> {
    TaskId::parse(entry.external_id.as_deref()?).ok()
}

/// What Kling took for a task, in the unit of its pack where it names several: its own bill, else
/// its deduction records. The other units follow when the task is settled.
fn hold(seen: &Observation, product: Product, recorded: &[Amount]) -> Amount {
    let unit = ProductRow::of(product).pack.unit();
    let billed = seen.billing.as_deref().unwrap_or(recorded);
    let sums = sum_by_unit(billed.iter().copied());
    let own = sums.iter().find(|amount| amount.unit == unit);
    let any = sums.iter().find(|amount| !amount.amount.is_zero());
    own.or(any).copied().unwrap_or(Amount::zero(unit))
}

/// What was made, by the unit of its bill: that is all that the list of all tasks says.
fn by_pack(seen: &Observation) -> Option<Product> {
    let billed = seen.billing.as_ref()?.first()?;
    match billed.unit {
        Unit::Image => Some(Product::ImageGeneration),
        Unit::TryOn => Some(Product::VirtualTryOn),
        Unit::Video => Some(Product::TextToVideo),
        _ => None,
    }
}
