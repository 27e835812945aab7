//! `replay`: past events again, to one named consumer, marked, counted first, and never to anybody
//! else. What was delivered before an interruption is not delivered again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use jiff::Timestamp;
use serde_json::json;

use super::audit::Deed;
use super::connect::Connected;
use super::output::{Output, table};
use super::selection::{Chosen, PAGE};
use crate::cli::ReplayArgs;
use crate::edge::clock::Clock;
use crate::edge::nats::log::{Log, LogError, ReadFrom};
use crate::edge::nats::record::Recorded;
use crate::edge::nats::replay::Again;
use crate::edge::nats::topology::{self, Consumer};
use crate::model::audit::{AuditAction, AuditState};

/// How long a replay waits for a consumer that does not keep up.
const FULL_MAX: Duration = Duration::from_secs(60);
/// Between two tries meanwhile.
const FULL_PAUSE: Duration = Duration::from_millis(500);
/// How far back an interrupted replay may lie: its events are kept for a day.
const RESUME_MAX: jiff::SignedDuration = jiff::SignedDuration::from_hours(48);

/// Delivers the chosen events again. Returns whether all of them were.
///
/// # Errors
/// A flag that cannot be read, or that the log does not answer; the replay's id tells how to go on.
pub async fn run(
    link: &Connected,
    args: &ReplayArgs,
    clock: &Clock,
    output: Output,
) -> anyhow::Result<bool> {
    let (log, now) = (&link.log, clock.now());
    let plan = match &args.resume {
        Some(id) => Plan::resumed(log, args, id, now).await?,
        None => Plan::fresh(log, args).await?,
    };
    let counts = plan.count(log).await?;
    if args.dry_run {
        plan.report(&counts, None, output);
        return Ok(true);
    }
    plan.deed.record(log, AuditState::Begun, 0, now).await?;
    let total = counts.values().sum();
    let mut delivered = 0;
    let all = plan.deliver(log, args.rate, total, clock, output, &mut delivered);
    let ended = tokio::select! {
        ended = all => ended,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let state = match &ended {
        Ok(()) => AuditState::Ended,
        Err(_) => AuditState::Interrupted,
    };
    let recorded = plan.deed.record(log, state, delivered, clock.now()).await;
    ended.with_context(|| {
        format!(
            "{delivered} of {total} events were delivered; go on with `kling-relay replay \
             --consumer {} --resume {}`",
            args.consumer, plan.deed.id
        )
    })?;
    recorded?;
    plan.report(&counts, Some(delivered), output);
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
        let Some(begun) = audits.first() else {
            bail!("there is no replay {id:?} of the last two days; begin a new one");
        };
        if begun.consumer.as_deref() != Some(args.consumer.as_str()) {
            let consumer = begun.consumer.as_deref().unwrap_or_default();
            bail!("replay {id} is for consumer {consumer:?}; use --consumer {consumer}");
        }
        let mut deed = Deed::again(begun, &args.audit);
        if let Some(last) = log.delivered_again(id, &args.consumer).await? {
            deed.selection.from_sequence = Some(last + 1);
        }
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
        })
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
        let mut from = self.chosen.begins();
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
        &self,
        log: &Log,
        rate: u32,
        total: u64,
        clock: &Clock,
        output: Output,
        delivered: &mut u64,
    ) -> anyhow::Result<()> {
        let bar = match output.is_lively() {
            true => ProgressBar::new(total),
            false => ProgressBar::hidden(),
        };
        let started = std::time::Instant::now();
        let mut from = self.chosen.begins();
        while from != ReadFrom::Sequence(u64::MAX) {
            let Some((messages, next)) = self.page(log, from).await? else {
                break;
            };
            for message in &messages {
                let count = u32::try_from(*delivered).unwrap_or(u32::MAX);
                let due = Duration::from_secs(1).saturating_mul(count) / rate;
                clock.sleep(due.saturating_sub(started.elapsed())).await;
                self.deliver_one(log, message, clock).await?;
                *delivered += 1;
                bar.inc(1);
            }
            from = ReadFrom::Sequence(next);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Waits for a consumer that does not keep up, but not for ever.
    async fn deliver_one(
        &self,
        log: &Log,
        message: &Recorded,
        clock: &Clock,
    ) -> anyhow::Result<()> {
        let again = Again {
            replay: &self.deed.id,
            consumer: &self.consumer,
            subject: &message.subject,
            sequence: message.seq,
            letter: None,
        };
        let waiting = std::time::Instant::now();
        loop {
            match log.deliver_again(message, again).await {
                Err(LogError::Full { .. }) if waiting.elapsed() < FULL_MAX => {
                    clock.sleep(FULL_PAUSE).await;
                }
                Err(error @ LogError::Full { .. }) => {
                    return Err(error).context(
                        "events delivered again are kept for a day and there is no room for \
                         more; raise nats.replay_max_bytes, or go on tomorrow",
                    );
                }
                result => return Ok(result?),
            }
        }
    }

    fn report(&self, counts: &BTreeMap<&'static str, u64>, done: Option<u64>, output: Output) {
        let total: u64 = counts.values().sum();
        let document = json!({
            "replay": self.deed.id,
            "consumer": self.consumer,
            "selection": self.chosen.selection,
            "counts": counts,
            "total": total,
            "delivered": done.unwrap_or(0),
            "dry_run": done.is_none(),
        });
        let mut rows = vec![vec!["EVENT".to_owned(), "COUNT".to_owned()]];
        let row = |(kind, count): (&&str, &u64)| vec![(*kind).to_owned(), count.to_string()];
        rows.extend(counts.iter().map(row));
        let subject = topology::replays_of(&self.consumer);
        let last = match done {
            None => format!("{total} would be delivered to {subject}; nothing was sent"),
            Some(done) => format!("{done} delivered to {subject} by replay {}", self.deed.id),
        };
        output.result(&document, &format!("{}\n{last}", table(&rows)));
    }
}

/// The completer reads callbacks; everybody else reads events.
fn takes_callbacks(consumer: &str) -> bool {
    Consumer::of_stage(consumer) == Some(Consumer::Completer)
}
