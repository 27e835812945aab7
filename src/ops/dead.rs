//! `dead`: messages that were set aside: list, show, give back to their stage, throw away.

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::audit::Deed;
use super::connect::Connected;
use super::output::{Output, table};
use super::selection::Chosen;
use crate::cli::{AuditArgs, DeadCommand, LetterArgs, RangeArgs};
use crate::edge::clock::Clock;
use crate::edge::nats::dead::read_dead_letter;
use crate::edge::nats::log::Log;
use crate::edge::nats::record::Recorded;
use crate::edge::nats::replay::Again;
use crate::edge::nats::topology::Consumer;
use crate::model::audit::{AuditAction, AuditState};
use crate::model::dead_letter::DeadLetter;

/// Reasons in a table are cut here, characters.
const REASON_SHOWN_MAX: usize = 60;

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
            let letters = find(log, which, limit).await?;
            list(&letters, clock.now(), output);
            Ok(true)
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
    chosen.selection.stage.clone_from(&which.stage);
    Ok(chosen)
}

async fn one(log: &Log, seq: u64) -> anyhow::Result<Letter> {
    let message = log.letter(seq).await?;
    let message = message.with_context(|| format!("there is no letter {seq}; see `dead list`"))?;
    let letter = read_dead_letter(&message)
        .with_context(|| format!("letter {seq} does not say why it was set aside"))?;
    Ok(Letter { message, letter })
}

/// Finds what the flags choose, oldest first.
async fn find(log: &Log, which: &LetterArgs, limit: usize) -> anyhow::Result<Vec<Letter>> {
    let mut found = Vec::new();
    if !which.letters.is_empty() {
        for seq in &which.letters {
            found.push(one(log, *seq).await?);
        }
        return Ok(found);
    }
    let chosen = chosen(which)?;
    let mut next = 1;
    while found.len() < limit {
        let page = log.letters(&chosen.letters(), next).await?;
        let Some(last) = page.last() else {
            break;
        };
        next = last.seq + 1;
        for message in page {
            let early = chosen
                .selection
                .from
                .is_some_and(|from| message.stored_at < from);
            let Some(letter) = read_dead_letter(&message) else {
                continue;
            };
            let text = which.matching.as_deref();
            let matches = text.is_none_or(|text| letter.reason.contains(text));
            if !early && matches && !chosen.ends_before(&message) && found.len() < limit {
                found.push(Letter { message, letter });
            }
        }
    }
    Ok(found)
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
}

fn list(letters: &[Letter], now: Timestamp, output: Output) {
    if output.is_json() {
        for letter in letters {
            output.result(&letter.document(now), "");
        }
        return;
    }
    if letters.is_empty() {
        output.say("nothing is set aside");
        return;
    }
    let heading = ["LETTER", "STAGE", "TASK", "ATTEMPTS", "AGE", "REASON"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for letter in letters {
        let reason: String = letter
            .letter
            .reason
            .chars()
            .take(REASON_SHOWN_MAX)
            .collect();
        rows.push(vec![
            letter.message.seq.to_string(),
            letter.letter.stage.clone(),
            letter.task().to_owned(),
            letter.letter.attempts.to_string(),
            age(now.duration_since(letter.message.stored_at).as_secs()),
            reason,
        ]);
    }
    output.print(&table(&rows));
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
        let letters = find(log, self.which, usize::MAX).await?;
        if self.dry_run {
            list(&letters, clock.now(), output);
            return Ok(true);
        }
        let selection = chosen(self.which)?.selection;
        let deed = Deed::new(self.action, self.audit, selection, None);
        deed.record(log, AuditState::Begun, 0, clock.now()).await?;
        let mut done = 0;
        let mut result = Ok(());
        for letter in &letters {
            result = self.one(log, &deed, letter).await;
            if result.is_err() {
                break;
            }
            done += 1;
        }
        let state = match &result {
            Ok(()) => AuditState::Ended,
            Err(_) => AuditState::Interrupted,
        };
        let recorded = deed.record(log, state, done, clock.now()).await;
        result.with_context(|| format!("{done} of {} messages are done", letters.len()))?;
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
