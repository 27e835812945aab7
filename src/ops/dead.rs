//! `dead`: messages that were set aside: list, show, give back to their stage, throw away.

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::audit::Deed;
use super::connect::Connected;
use super::output::{Output, table};
use super::selection::Chosen;
use crate::cli::{AuditArgs, DeadCommand, LetterArgs, RangeArgs, interruption};
use crate::edge::clock::Clock;
use crate::edge::nats::dead::read_dead_letter;
use crate::edge::nats::log::{Log, ReadFrom};
use crate::edge::nats::record::Recorded;
use crate::edge::nats::replay::Again;
use crate::edge::nats::topology::Consumer;
use crate::model::audit::{AuditAction, AuditState};
use crate::model::dead_letter::DeadLetter;

/// Reasons in a table are cut here, characters.
const REASON_SHOWN_MAX: usize = 60;
/// Messages read at once: bodies are in memory, and may be large.
const PAGE: usize = 100;
/// Numbers in one command: all of them stand in its record.
const NUMBERS_MAX: usize = 100;

/// A message that was set aside.
struct Letter {
    message: Recorded,
    letter: DeadLetter,
}

/// Carries out the command. Returns whether everything asked for was there.
///
/// # Errors
/// A flag that cannot be read, or that the log does not answer.
pub async fn run(
    link: &Connected,
    command: &DeadCommand,
    clock: &Clock,
    output: Output,
) -> anyhow::Result<bool> {
    let log = &link.log;
    match command {
        DeadCommand::List { which, limit } => {
            let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
            list(Search::new(log, which)?, limit, clock.now(), output).await
        }
        DeadCommand::Show { letter, payload } => {
            let found = one(log, *letter).await?;
            show(&found, *payload, clock.now(), output);
            Ok(true)
        }
        DeadCommand::Requeue {
            which,
            dry_run,
            audit,
        } => {
            let work = Work::new(which, *dry_run, audit, AuditAction::Requeue);
            work.run(log, clock, output).await
        }
        DeadCommand::Discard {
            which,
            dry_run,
            audit,
        } => {
            let work = Work::new(which, *dry_run, audit, AuditAction::Discard);
            work.run(log, clock, output).await
        }
    }
}

/// Checks the flags.
///
/// # Errors
/// Names the flag.
pub fn check(command: &DeadCommand) -> anyhow::Result<()> {
    match command {
        DeadCommand::List { which, .. } => chosen(which).map(|_| ()),
        DeadCommand::Show { .. } => Ok(()),
        DeadCommand::Requeue {
            which,
            dry_run,
            audit,
        }
        | DeadCommand::Discard {
            which,
            dry_run,
            audit,
        } => {
            chosen(which)?;
            if which.letters.is_empty() && !which.all {
                bail!("say which: numbers as `dead list` shows them, or --all with filters");
            }
            if *dry_run { Ok(()) } else { audit.check() }
        }
    }
}

fn chosen(which: &LetterArgs) -> anyhow::Result<Chosen> {
    if which.letters.len() > NUMBERS_MAX {
        bail!("at most {NUMBERS_MAX} numbers at once; use --all with filters for more");
    }
    if let Some(stage) = &which.stage
        && Consumer::of_stage(stage).is_none()
    {
        let stages = Consumer::stages().map(Consumer::name).collect::<Vec<_>>();
        bail!("--stage {stage:?}: use one of {}", stages.join(", "));
    }
    let mut chosen = Chosen::from_args(&RangeArgs {
        from: which.from.clone(),
        to: which.to.clone(),
        tenant: which.tenant.clone(),
        task: which.task.clone(),
        ..RangeArgs::default()
    })?;
    let selection = &mut chosen.selection;
    selection.stage.clone_from(&which.stage);
    selection.matching.clone_from(&which.matching);
    selection.letters.clone_from(&which.letters);
    selection.letters.sort_unstable();
    selection.letters.dedup();
    Ok(chosen)
}

async fn one(log: &Log, seq: u64) -> anyhow::Result<Letter> {
    let message = log.letter(seq).await?;
    let message = message.with_context(|| format!("there is no letter {seq}; see `dead list`"))?;
    let letter = read_dead_letter(&message)
        .with_context(|| format!("letter {seq} does not say why it was set aside"))?;
    Ok(Letter { message, letter })
}

/// What the flags choose, oldest first, a page at a time.
struct Search<'a> {
    log: &'a Log,
    chosen: Chosen,
    next: Option<ReadFrom>,
}

impl<'a> Search<'a> {
    fn new(log: &'a Log, which: &LetterArgs) -> anyhow::Result<Self> {
        let chosen = chosen(which)?;
        let next = Some(chosen.begins());
        Ok(Self { log, chosen, next })
    }

    /// Returns the next page; `None` at the end.
    async fn page(&mut self) -> anyhow::Result<Option<Vec<Letter>>> {
        let Some(from) = self.next.take() else {
            return Ok(None);
        };
        let selection = &self.chosen.selection;
        let mut found = Vec::new();
        if !selection.letters.is_empty() {
            for seq in &selection.letters {
                found.push(one(self.log, *seq).await?);
            }
            return Ok(Some(found));
        }
        let page = self.log.letters(&self.chosen.letters(), from, PAGE).await?;
        let last = page.last();
        let last = last.filter(|last| !self.chosen.ends_before(last));
        self.next = last.map(|last| ReadFrom::Sequence(last.seq + 1));
        let text = selection.matching.as_deref();
        for message in page {
            if let Some(letter) = read_dead_letter(&message)
                && text.is_none_or(|text| letter.reason.contains(text))
                && !self.chosen.ends_before(&message)
            {
                found.push(Letter { message, letter });
            }
        }
        Ok(Some(found))
    }
}

impl Letter {
    fn task(&self) -> &str {
        let mut tokens = self.message.subject.rsplit('.');
        tokens.next().unwrap_or_default()
    }

    fn document(&self, now: Timestamp) -> Value {
        let age = now.duration_since(self.message.stored_at).as_secs().max(0);
        json!({
            "letter": self.message.seq,
            "stage": self.letter.stage,
            "task_id": self.task(),
            "reason": self.letter.reason,
            "attempts": self.letter.attempts,
            "age_seconds": age,
            "set_aside_at": self.message.stored_at,
            "subject": self.letter.subject,
            "sequence": self.letter.sequence,
            "bytes": self.message.payload.len(),
        })
    }

    fn row(&self, now: Timestamp) -> Vec<String> {
        let reason = self.letter.reason.chars().take(REASON_SHOWN_MAX);
        vec![
            self.message.seq.to_string(),
            self.letter.stage.clone(),
            self.task().to_owned(),
            self.letter.attempts.to_string(),
            age(now.duration_since(self.message.stored_at).as_secs()),
            reason.collect(),
        ]
    }
}

/// Prints at most so many.
async fn list(
    mut search: Search<'_>,
    limit: usize,
    now: Timestamp,
    output: Output,
) -> anyhow::Result<bool> {
    let heading = ["LETTER", "STAGE", "TASK", "ATTEMPTS", "AGE", "REASON"];
    let (mut count, mut rows) = (0, vec![heading.map(str::to_owned).to_vec()]);
    while count < limit
        && let Some(page) = search.page().await?
    {
        for letter in page.iter().take(limit - count) {
            count += 1;
            match output.is_json() {
                true => output.result(&letter.document(now), ""),
                false => rows.push(letter.row(now)),
            }
        }
    }
    if count == 0 {
        output.say("nothing is set aside");
    } else if !output.is_json() {
        output.print(&table(&rows));
    }
    Ok(true)
}

fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{}s", seconds.max(0)),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn show(letter: &Letter, payload: bool, now: Timestamp, output: Output) {
    let mut document = letter.document(now);
    if payload {
        document["payload"] = match serde_json::from_slice(&letter.message.payload) {
            Ok(value) => value,
            Err(_) => Value::from(String::from_utf8_lossy(&letter.message.payload)),
        };
    }
    let line = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name:<13} {text}"),
        value => format!("{name:<13} {value}"),
    };
    let lines: Vec<String> = document
        .as_object()
        .into_iter()
        .flatten()
        .map(line)
        .collect();
    output.result(&document, &lines.join("\n"));
}

/// Something done to the letters that the flags choose.
struct Work<'a> {
    which: &'a LetterArgs,
    dry_run: bool,
    audit: &'a AuditArgs,
    action: AuditAction,
}

impl<'a> Work<'a> {
    fn new(
        which: &'a LetterArgs,
        dry_run: bool,
        audit: &'a AuditArgs,
        action: AuditAction,
    ) -> Self {
        Self {
            which,
            dry_run,
            audit,
            action,
        }
    }

    async fn run(&self, log: &Log, clock: &Clock, output: Output) -> anyhow::Result<bool> {
        let mut search = Search::new(log, self.which)?;
        if self.which.all {
            // What is set aside from now on, anew perhaps, is for another time.
            search.chosen.selection.to_sequence = Some(log.last_letter_sequence().await?);
        }
        if self.dry_run {
            return list(search, usize::MAX, clock.now(), output).await;
        }
        // A number that is not there is told before anything is done.
        let mut page = search.page().await?;
        let selection = search.chosen.selection.clone();
        let deed = Deed::new(self.action, self.audit, selection, None);
        let stop = interruption();
        deed.record(log, AuditState::Begun, 0, clock.now()).await?;
        let mut done = 0;
        let work = async {
            while let Some(letters) = page {
                for letter in &letters {
                    self.one(log, &deed, letter).await?;
                    done += 1;
                }
                page = search.page().await?;
            }
            anyhow::Ok(())
        };
        let result = tokio::select! {
            result = work => result,
            () = stop => Err(anyhow::anyhow!("interrupted")),
        };
        let state = match &result {
            Ok(()) => AuditState::Ended,
            Err(_) => AuditState::Interrupted,
        };
        let recorded = deed.record(log, state, done, clock.now()).await;
        result.with_context(|| {
            format!("{done} messages are done; `kling-relay dead list` shows what is left")
        })?;
        recorded?;
        let document = json!({ "audit_id": deed.id, "messages": done });
        let text = match self.action {
            AuditAction::Requeue => {
                format!("{done} given to their stages; they leave the list once handled")
            }
            _ => format!("{done} thrown away"),
        };
        output.result(&document, &text);
        Ok(true)
    }

    async fn one(&self, log: &Log, deed: &Deed, letter: &Letter) -> anyhow::Result<()> {
        let (seq, subject) = (letter.message.seq, letter.letter.subject.as_str());
        match self.action {
            AuditAction::Requeue => {
                let stage = letter.letter.stage.as_str();
                if Consumer::of_stage(stage).is_none() {
                    bail!("letter {seq} is of stage {stage:?}, which is not there any more");
                }
                let again = Again {
                    replay: &deed.id,
                    consumer: stage,
                    subject,
                    sequence: letter.letter.sequence,
                    letter: Some(seq),
                };
                Ok(log.deliver_again(&letter.message, again).await?)
            }
            _ => Ok(log.forget_letter(seq, subject).await?),
        }
    }
}
