//! `replay`: past events again, to one named consumer, marked, counted first, and never to anybody
//! else. What was delivered before an interruption is not delivered again.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use governor::DefaultDirectRateLimiter;
use indicatif::ProgressBar;
use jiff::Timestamp;
use serde_json::json;

use super::audit::Deed;
use super::connect::Connected;
use super::output::{Output, table};
use super::selection::{Chosen, PAGE};
use crate::cli::{ReplayArgs, interruption};
use crate::edge::clock::Clock;
use crate::edge::nats::log::{Log, LogError, ReadFrom};
use crate::edge::nats::record::Recorded;
use crate::edge::nats::replay::Again;
use crate::edge::nats::topology::{self, Consumer};
use crate::model::audit::{AuditAction, AuditState};

/// After so many messages it is recorded how far a replay has come. What it delivered tells as
/// well, but only for a day.
const RECORDED_EVERY: u64 = 1_000;
/// How far back the last sign of a replay that was stopped may lie.
const RESUME_MAX: jiff::SignedDuration = jiff::SignedDuration::from_hours(48);

/// Delivers the chosen events again. Returns whether all of them were.
///
/// # Errors
/// A flag that cannot be read, or that the log does not answer; the replay's id tells how to go on.
pub async fn run(
    link: &Connected,
    args: &ReplayArgs,
    pace: &DefaultDirectRateLimiter,
    clock: &Clock,
    output: Output,
) -> anyhow::Result<bool> {
    let log = &link.log;
    let mut plan = match &args.resume {
        Some(id) => Plan::resumed(log, args, id, clock.now()).await?,
        None => Plan::fresh(log, args).await?,
    };
    let counts = plan.count(log).await?;
    if args.dry_run {
        plan.report(&counts, true, output);
        return Ok(true);
    }
    let stop = interruption();
    plan.record(log, AuditState::Begun, clock).await?;
    let id = &plan.deed.id;
    let go_on = format!(
        "kling-relay replay --consumer {} --resume {id}",
        args.consumer
    );
    output.note(&format!("replay {id} begun; if it is stopped: {go_on}"));
    let total = counts.values().sum();
    let ended = tokio::select! {
        ended = plan.deliver(log, total, pace, clock, output) => ended,
        () = stop => Err(anyhow::anyhow!("interrupted")),
    };
    let state = match &ended {
        Ok(()) => AuditState::Ended,
        Err(_) => AuditState::Interrupted,
    };
    let recorded = plan.record(log, state, clock).await;
    let delivered = plan.delivered;
    ended.with_context(|| {
        format!("{delivered} of {total} events were delivered; go on with `{go_on}`")
    })?;
    recorded?;
    plan.report(&counts, false, output);
    Ok(true)
}

/// Checks the flags.
///
/// # Errors
/// Names the flag.
pub fn check(args: &ReplayArgs) -> anyhow::Result<()> {
    if !topology::is_token(&args.consumer) {
        bail!(
            "--consumer {:?}: use letters, digits, '-' and '_'",
            args.consumer
        );
    }
    if let Some(Consumer::Alerter | Consumer::Retrier) = Consumer::of_stage(&args.consumer) {
        bail!(
            "--consumer {:?}: this stage of ours takes no replay; give a consumer of yours \
             another name",
            args.consumer
        );
    }
    let chosen = Chosen::from_args(&args.range)?;
    if Consumer::of_stage(&args.consumer) == Some(Consumer::Completer) {
        chosen.callbacks()?;
    }
    if !args.dry_run && args.resume.is_none() {
        args.audit.check()?;
    }
    let open = args.range.from.is_none() && args.from_sequence.is_none();
    if open && args.range.task.is_none() && args.resume.is_none() {
        bail!("say what to replay: --from TIME, --from-sequence SEQ or --task ID");
    }
    Ok(())
}

/// What is delivered again: fixed at the beginning, so that it can be taken up again.
struct Plan {
    deed: Deed,
    chosen: Chosen,
    consumer: String,
    filter: String,
    callbacks: bool,
    /// How many were delivered in this run.
    delivered: u64,
}

impl Plan {
    async fn fresh(log: &Log, args: &ReplayArgs) -> anyhow::Result<Self> {
        let mut selection = Chosen::from_args(&args.range)?.selection;
        selection.from_sequence = args.from_sequence;
        let callbacks = takes_callbacks(&args.consumer);
        let last = match callbacks {
            true => log.last_callback_sequence().await?,
            false => log.last_sequence().await?,
        };
        // What happens from now on reaches the consumer anyway.
        let to = args.to_sequence.unwrap_or(last).min(last);
        selection.to_sequence = Some(to);
        let deed = Deed::new(
            AuditAction::Replay,
            &args.audit,
            selection,
            Some(&args.consumer),
        );
        Self::of(deed)
    }

    /// Takes up a replay where it stopped.
    async fn resumed(
        log: &Log,
        args: &ReplayArgs,
        id: &str,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let audits = log.audits(id, ReadFrom::Time(now - RESUME_MAX)).await?;
        let newest = audits.last();
        let Some(newest) = newest.filter(|audit| audit.action == AuditAction::Replay) else {
            bail!("there is no replay {id:?} of the last two days; begin a new one");
        };
        if newest.consumer.as_deref() != Some(args.consumer.as_str()) {
            let consumer = newest.consumer.as_deref().unwrap_or_default();
            bail!("replay {id} is for consumer {consumer:?}; use --consumer {consumer}");
        }
        if newest.state == AuditState::Ended {
            bail!("replay {id} has ended and nothing of it is left; begin a new one to repeat it");
        }
        let mut deed = Deed::again(newest, &args.audit);
        // The record may lag behind, and what was delivered goes after a day: the later one knows.
        let delivered = log.delivered_again(id, &args.consumer).await?;
        deed.last_sequence = deed.last_sequence.max(delivered);
        Self::of(deed)
    }

    fn of(deed: Deed) -> anyhow::Result<Self> {
        let chosen = Chosen::new(deed.selection.clone())?;
        let consumer = deed.consumer.clone().unwrap_or_default();
        let callbacks = takes_callbacks(&consumer);
        let filter = match callbacks {
            true => chosen.callbacks()?,
            false => chosen.events(),
        };
        Ok(Self {
            deed,
            chosen,
            consumer,
            filter,
            callbacks,
            delivered: 0,
        })
    }

    /// Returns where this run begins.
    fn begins(&self) -> ReadFrom {
        let last = self.deed.last_sequence;
        last.map_or_else(|| self.chosen.begins(), |last| ReadFrom::Sequence(last + 1))
    }

    async fn record(&self, log: &Log, state: AuditState, clock: &Clock) -> Result<(), LogError> {
        let deed = &self.deed;
        deed.record(log, state, self.delivered, clock.now()).await
    }

    /// Reads the next chosen messages and where to read on; `None` at the end.
    async fn page(
        &self,
        log: &Log,
        from: ReadFrom,
    ) -> Result<Option<(Vec<Recorded>, u64)>, LogError> {
        let page = match self.callbacks {
            true => log.read_callbacks(&self.filter, from, PAGE).await?,
            false => log.read(&self.filter, from, PAGE).await?,
        };
        let Some(next) = page.last().map(|last| last.seq + 1) else {
            return Ok(None);
        };
        let count = page.len();
        let chosen: Vec<Recorded> = page
            .into_iter()
            .take_while(|message| !self.chosen.ends_before(message))
            .collect();
        let over = chosen.len() < count;
        // A stage of ours gets what it reads anyway, and nothing else.
        let stage = Consumer::of_stage(&self.consumer);
        let chosen: Vec<Recorded> = chosen
            .into_iter()
            .filter(|message| stage.is_none_or(|stage| stage.reads(&message.subject)))
            .filter(|message| self.chosen.takes(message))
            .collect();
        // Past the end there is nothing to read on for.
        let next = if over { u64::MAX } else { next };
        Ok(Some((chosen, next)))
    }

    /// Counts by kind.
    async fn count(&self, log: &Log) -> Result<BTreeMap<&'static str, u64>, LogError> {
        let mut counts = BTreeMap::new();
        let mut from = self.begins();
        while from != ReadFrom::Sequence(u64::MAX) {
            let Some((messages, next)) = self.page(log, from).await? else {
                break;
            };
            for message in &messages {
                let kind = message.task_subject();
                let kind = kind.map_or("callback", |(_, kind)| kind.as_str());
                *counts.entry(kind).or_default() += 1;
            }
            from = ReadFrom::Sequence(next);
        }
        Ok(counts)
    }

    async fn deliver(
        &mut self,
        log: &Log,
        total: u64,
        pace: &DefaultDirectRateLimiter,
        clock: &Clock,
        output: Output,
    ) -> anyhow::Result<()> {
        let bar = match output.is_lively() {
            true => ProgressBar::new(total),
            false => ProgressBar::hidden(),
        };
        let mut from = self.begins();
        while from != ReadFrom::Sequence(u64::MAX) {
            let Some((messages, next)) = self.page(log, from).await? else {
                break;
            };
            for message in &messages {
                pace.until_ready().await;
                self.deliver_one(log, message).await?;
                self.delivered += 1;
                self.deed.last_sequence = Some(message.seq);
                bar.inc(1);
                if self.delivered.is_multiple_of(RECORDED_EVERY) {
                    self.record(log, AuditState::Begun, clock).await?;
                }
            }
            from = ReadFrom::Sequence(next);
        }
        bar.finish_and_clear();
        Ok(())
    }

    async fn deliver_one(&self, log: &Log, message: &Recorded) -> anyhow::Result<()> {
        let again = Again {
            replay: &self.deed.id,
            consumer: &self.consumer,
            subject: &message.subject,
            sequence: message.seq,
            letter: None,
        };
        match log.deliver_again(message, again).await {
            Err(error @ LogError::Full { .. }) => Err(error).with_context(|| {
                format!(
                    "what is delivered again stays for a day, read or not, and {stream} has no \
                     room for more; once {consumer} has read it, make room with `nats stream \
                     purge {stream} --subject '{subjects}'`, or raise nats.replay_max_bytes",
                    stream = topology::REPLAY,
                    consumer = self.consumer,
                    subjects = topology::replays_of(&self.consumer),
                )
            }),
            result => Ok(result?),
        }
    }

    fn report(&self, counts: &BTreeMap<&'static str, u64>, dry_run: bool, output: Output) {
        let total: u64 = counts.values().sum();
        let document = json!({
            "replay": self.deed.id,
            "consumer": self.consumer,
            "selection": self.chosen.selection,
            "counts": counts,
            "total": total,
            "delivered": self.delivered,
            "dry_run": dry_run,
        });
        let mut rows = vec![vec!["EVENT".to_owned(), "COUNT".to_owned()]];
        let row = |(kind, count): (&&str, &u64)| vec![(*kind).to_owned(), count.to_string()];
        rows.extend(counts.iter().map(row));
        let subject = topology::replays_of(&self.consumer);
        let (done, id) = (self.delivered, &self.deed.id);
        let last = match dry_run {
            true => format!("{total} would be delivered to {subject}; nothing was sent"),
            false => format!("{done} delivered to {subject} by replay {id}"),
        };
        output.result(&document, &format!("{}\n{last}", table(&rows)));
    }
}

/// The completer reads callbacks; everybody else reads events.
fn takes_callbacks(consumer: &str) -> bool {
    Consumer::of_stage(consumer) == Some(Consumer::Completer)
}
