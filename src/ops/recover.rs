//! `recover`: what callbacks never said, found in Kling's own list and sent the callbacks' own way.
//! With `--rebuild` histories that the log has lost are begun anew first. Tasks of the account that
//! are none of ours are counted and never adopted.

mod report;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, bail};
use governor::DefaultDirectRateLimiter;
use jiff::{SignedDuration, Timestamp};

use super::audit::Deed;
use super::connect::Connected;
use super::output::Output;
use crate::cli::RecoverArgs;
use crate::decide::products::ProductRow;
use crate::edge::clock::Clock;
use crate::edge::kling::client::{Client, PAGE_MAX, PageOf, QueryReason, Span};
use crate::edge::kling::wire::{Entry, Terms};
use crate::edge::nats::callbacks::CallbackToStore;
use crate::edge::nats::topology;
use crate::model::amount::{Amount, Unit, sum_by_unit};
use crate::model::answer::Rebuilt;
use crate::model::audit::{AuditAction, AuditState, Selection};
use crate::model::ids::{KlingTaskId, TaskId, Tenant};
use crate::model::observation::{Observation, ObservedStatus, Proof};
use crate::model::operator::{LostTask, Rebuild};
use crate::model::request::Product;
use crate::model::task::{Generation, Status, Task};

/// How long Kling lists a task, days. Source: platform reference 2.4.
const LISTED_DAYS: i64 = 30;
/// Pages of one list: 500 tasks each.
const PAGES_MAX: u32 = 4_000;
/// Tasks that one report names.
const NAMED_MAX: usize = 10_000;
/// Deduction records kept for a rebuild.
const RECORDS_MAX: usize = 1_000_000;
/// Lost tasks in one call to the service.
const REBUILD_MAX: usize = 100;

/// What a listed task is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// Nothing is missing.
    Known,
    /// Kling has moved it, and the log does not know: it is told.
    Missed,
    /// Its id is ours, and the log has no history of it.
    Lost,
    /// Not one of ours.
    Foreign,
    /// Kling's words cannot be read.
    Unreadable,
}

impl Found {
    fn as_str(self) -> &'static str {
        match self {
            Found::Known => "known",
            Found::Missed => "missed",
            Found::Lost => "lost",
            Found::Foreign => "foreign",
            Found::Unreadable => "unreadable",
        }
    }
}

/// One run over Kling's list.
pub struct Recovery<'a> {
    /// The broker, and the service behind it for a rebuild.
    pub link: &'a Connected,
    /// Kling.
    pub kling: Arc<Client>,
    /// Its bound on queries.
    pub limiter: Arc<DefaultDirectRateLimiter>,
    /// Time.
    pub clock: &'a Clock,
    /// The flags.
    pub args: &'a RecoverArgs,
}

/// What has been found.
#[derive(Default)]
struct Findings {
    counts: BTreeMap<&'static str, u64>,
    named: Vec<(Found, TaskId)>,
    told: u64,
    rebuilt: Rebuilt,
    records: HashMap<KlingTaskId, Vec<Amount>>,
}

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
    if to < oldest {
        bail!("Kling lists tasks for {LISTED_DAYS} days; --to {to} lies before that");
    }
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
        if !self.args.dry_run {
            deed.record(log, AuditState::Begun, 0, self.clock.now())
                .await?;
        }
        let searched = self.search(span, &mut findings).await;
        let state = match &searched {
            Ok(()) => AuditState::Ended,
            Err(_) => AuditState::Interrupted,
        };
        if !self.args.dry_run {
            deed.record(log, state, findings.told, self.clock.now())
                .await?;
        }
        searched
            .with_context(|| format!("{} tasks were told of; run the same again", findings.told))?;
        self.report(span, &findings, output);
        Ok(true)
    }

    async fn search(&self, span: Span, findings: &mut Findings) -> anyhow::Result<()> {
        if self.args.rebuild {
            self.records(span, findings).await?;
        }
        if self.kling.serves(Generation::New) {
            let mut cursor: Option<String> = None;
            for _ in 0..PAGES_MAX {
                let page = match &cursor {
                    Some(cursor) => PageOf::After(cursor),
                    None => PageOf::First(span),
                };
                self.limiter.until_ready().await;
                let page = self.kling.tasks_page(page, PAGE_MAX, QueryReason::Recover);
                let page = page.await.context("Kling's list of tasks")?;
                self.page("", Product::TextToVideo, page.tasks, findings)
                    .await?;
                if page.next_cursor.is_none() || page.next_cursor == cursor {
                    return Ok(());
                }
                cursor = page.next_cursor;
            }
            bail!("Kling's list has no end; choose a shorter --from and --to");
        }
        let mut paths = BTreeMap::new();
        for product in Product::ALL {
            let row = ProductRow::of(product);
            paths
                .entry(row.legacy.path)
                .or_insert((product, row.pack.unit()));
        }
        for (path, (product, unit)) in paths {
            self.legacy(path, product, unit, span, findings).await?;
        }
        Ok(())
    }

    /// The same from one legacy list, newest first.
    async fn legacy(
        &self,
        path: &str,
        product: Product,
        unit: Unit,
        span: Span,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let terms = Terms::new(unit, self.kling.cash_unit());
        for page in 1..=PAGES_MAX {
            self.limiter.until_ready().await;
            let reason = QueryReason::Recover;
            let entries = self.kling.legacy_page(path, page, PAGE_MAX, terms, reason);
            let entries = entries.await.with_context(|| format!("the list {path}"))?;
            let created = |entry: &Entry| entry.observation.as_ref().ok()?.created_at;
            let old = |entry: &Entry| created(entry).is_some_and(|at| at < span.from);
            let last = entries.len() < PAGE_MAX || entries.iter().all(old);
            let within = |at| span.from <= at && at <= span.to;
            let chosen = |entry: &Entry| created(entry).is_none_or(within);
            let entries = entries.into_iter().filter(chosen).collect();
            self.page(path, product, entries, findings).await?;
            if last {
                return Ok(());
            }
        }
        bail!("the list {path} has no end; choose a shorter --from and --to");
    }

    async fn page(
        &self,
        path: &str,
        product: Product,
        entries: Vec<Entry>,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let mut lost = Vec::new();
        for entry in entries {
            let (found, task_id) = self.judge(&entry).await?;
            *findings.counts.entry(found.as_str()).or_default() += 1;
            let Some(task_id) = task_id else {
                continue;
            };
            if found != Found::Known && findings.named.len() < NAMED_MAX {
                findings.named.push((found, task_id.clone()));
            }
            if self.args.dry_run {
                continue;
            }
            match (found, &entry.observation) {
                (Found::Missed, Ok(_)) => self.tell(&task_id, &entry, findings).await?,
                (Found::Lost, Ok(seen)) if self.args.rebuild => {
                    let product = by_pack(seen).unwrap_or(product);
                    let hold = self.hold(seen, product, findings);
                    let task = LostTask {
                        task_id: task_id.clone(),
                        kling_task_id: seen.kling_task_id.clone(),
                        created_at: seen.created_at.unwrap_or(self.clock.now()),
                        product,
                        path: path.to_owned(),
                        hold,
                    };
                    lost.push((task, entry));
                }
                (_, _) => {}
            }
        }
        for part in lost.chunks(REBUILD_MAX) {
            self.rebuild(part, findings).await?;
        }
        Ok(())
    }

    async fn judge(&self, entry: &Entry) -> anyhow::Result<(Found, Option<TaskId>)> {
        let external = entry.external_id.as_deref().unwrap_or_default();
        let Ok(task_id) = TaskId::parse(external) else {
            return Ok((Found::Foreign, None));
        };
        let tenant = task_id.tenant();
        if self
            .args
            .tenant
            .as_deref()
            .is_some_and(|wanted| wanted != tenant.as_str())
        {
            return Ok((Found::Foreign, None));
        }
        let Ok(seen) = &entry.observation else {
            return Ok((Found::Unreadable, Some(task_id)));
        };
        let found = match self.link.log.load(&task_id).await? {
            None => Found::Lost,
            Some(loaded) if knows(&loaded.task, seen) => Found::Known,
            Some(_) => Found::Missed,
        };
        Ok((found, Some(task_id)))
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
            who: self.args.audit.who().unwrap_or_default(),
            reason: self.args.audit.reason.clone().unwrap_or_default(),
        };
        let body = serde_json::to_vec(&wish)?;
        let subject = topology::REBUILD.to_owned();
        let answer: Rebuilt = self.link.ask(subject, body, None).await?;
        findings.rebuilt.begun += answer.begun;
        findings.rebuilt.known += answer.known;
        for (task, entry) in lost {
            self.tell(&task.task_id, entry, findings).await?;
        }
        Ok(())
    }

    /// What Kling took for a task: its own bill, else its deduction records; in the unit of the
    /// task's pack where it names several, the others follow when it is settled.
    fn hold(&self, seen: &Observation, product: Product, findings: &Findings) -> Amount {
        let unit = ProductRow::of(product).pack.unit();
        let recorded = findings.records.get(&seen.kling_task_id);
        let billed = seen.billing.as_ref().or(recorded).cloned();
        let sums = sum_by_unit(billed.unwrap_or_default());
        let own = sums.iter().find(|amount| amount.unit == unit);
        let any = sums.iter().find(|amount| !amount.amount.is_zero());
        own.or(any).copied().unwrap_or(Amount::zero(unit))
    }

    async fn records(&self, span: Span, findings: &mut Findings) -> anyhow::Result<()> {
        for source in self.kling.record_sources() {
            let mut cursor: Option<String> = None;
            loop {
                let page = match &cursor {
                    Some(cursor) => PageOf::After(cursor),
                    None => PageOf::First(span),
                };
                self.limiter.until_ready().await;
                let reason = QueryReason::Recover;
                let page = self.kling.records_page(source, page, PAGE_MAX, reason);
                let page = page.await.context("Kling's deduction records")?;
                for record in page.records {
                    let of_task = findings.records.entry(record.kling_task_id).or_default();
                    of_task.extend(record.amount);
                }
                if findings.records.len() > RECORDS_MAX {
                    bail!("more than {RECORDS_MAX} deduction records; choose a shorter --from");
                }
                if page.next_cursor.is_none() || page.next_cursor == cursor {
                    break;
                }
                cursor = page.next_cursor;
            }
        }
        Ok(())
    }
}

/// Tells whether the log knows what Kling says: its end, or that it was created at all.
fn knows(task: &Task, seen: &Observation) -> bool {
    match (task.status, seen.status) {
        (Status::Succeeded | Status::Failed, _) => true,
        (_, ObservedStatus::Succeeded | ObservedStatus::Failed) => false,
        (Status::Requested | Status::Dispatching, _) => false,
        (Status::Submitted | Status::Processing, _) => true,
    }
}

/// What was made, by the unit of its bill: that is all that the new lists say.
fn by_pack(seen: &Observation) -> Option<Product> {
    let billed = seen.billing.as_ref()?.first()?;
    match billed.unit {
        Unit::Image => Some(Product::ImageGeneration),
        Unit::TryOn => Some(Product::VirtualTryOn),
        Unit::Video => Some(Product::TextToVideo),
        _ => None,
    }
}
