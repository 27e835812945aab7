//! `usage export`: each usage record, streamed.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::Range;
use crate::cli::ExportFormat;
use crate::decide::usage::{prompt_preview, record_of};
use crate::edge::nats::log::{Log, LogError};
use crate::model::usage::UsageRecord;
use crate::ops::output::Output;

/// Prompts that are looked up at once.
const LOOK_UPS: usize = 16;

/// The columns, in their order.
const COLUMNS: [&str; 21] = [
    "timestamp",
    "task_id",
    "credits",
    "unit",
    "model",
    "duration",
    "mode",
    "prompt_preview",
    "product",
    "audio",
    "tenant",
    "day",
    "kind",
    "outcome",
    "estimate",
    "saved",
    "saved_unit",
    "latency_seconds",
    "kling_task_id",
    "labels",
    "entry_id",
];

/// How records are written.
pub(super) struct How<'a> {
    pub(super) format: ExportFormat,
    pub(super) file: Option<&'a Path>,
    pub(super) prompt_preview: Option<u16>,
    pub(super) environment: &'a str,
}

/// Returns the form that was asked for.
pub(super) fn format(asked: Option<ExportFormat>, output: Output) -> ExportFormat {
    asked.unwrap_or(match output.is_json() {
        true => ExportFormat::Jsonl,
        false => ExportFormat::Csv,
    })
}

pub(super) async fn run(
    log: &Log,
    range: &Range,
    how: &How<'_>,
    output: Output,
) -> anyhow::Result<bool> {
    let Some(path) = how.file else {
        let quiet = io::stdout().is_terminal() || !output.is_lively();
        return match write_all(log, range, how, io::stdout(), quiet).await {
            // A reader that has gone away (`| head`) is no failure.
            Err(error) if is_broken_pipe(&error) => Ok(true),
            result => result.map(|_| true),
        };
    };
    let part = part_of(path);
    let file = File::create(&part).with_context(|| format!("cannot write {}", part.display()))?;
    let written = write_all(log, range, how, file, !output.is_lively()).await;
    let records = written.inspect_err(|_| {
        // Nobody should take it for the whole.
        let _ = std::fs::remove_file(&part);
    })?;
    std::fs::rename(&part, path).with_context(|| format!("cannot write {}", path.display()))?;
    let document = json!({ "records": records, "file": path });
    output.result(
        &document,
        &format!("{records} records in {}", path.display()),
    );
    Ok(true)
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        let csv = cause.downcast_ref::<csv::Error>().map(csv::Error::kind);
        let within = matches!(csv, Some(csv::ErrorKind::Io(error)) if broken(error));
        within || cause.downcast_ref::<io::Error>().is_some_and(broken)
    })
}

/// Writes every record of the range, by day and tenant; returns how many.
async fn write_all(
    log: &Log,
    range: &Range,
    how: &How<'_>,
    out: impl Write,
    quiet: bool,
) -> anyhow::Result<u64> {
    let mut out = Writer::new(BufWriter::new(out), how)?;
    let days = range.days(log).await?;
    let bar = match quiet {
        true => ProgressBar::hidden(),
        false => ProgressBar::new(days.iter().map(|day| day.entries).sum()),
    };
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} {percent:>3} %  {pos} of {len} ledger entries",
    )?);
    let mut written = 0;
    for day in days {
        let mut after = 0;
        loop {
            let found = log.ledger_after(&day.key, after).await?;
            let (count, is_full) = (found.entries.len(), found.is_full());
            after = found.entries.last().map_or(after, |(seq, _)| *seq);
            let records = found.entries.into_iter();
            let records = records.filter_map(|(_, entry)| record_of(entry));
            let records = records
                .filter(|record| range.takes(&record.labels))
                .collect();
            for record in with_prompts(log, records, how.prompt_preview).await? {
                out.write(&record)?;
                written += 1;
            }
            bar.inc(u64::try_from(count).unwrap_or_default());
            if !is_full {
                break;
            }
        }
    }
    out.finish()?;
    bar.finish_and_clear();
    Ok(written)
}

/// Looks the prompts up, if they were asked for; a task that has expired has none any more.
async fn with_prompts(
    log: &Log,
    records: Vec<UsageRecord>,
    characters: Option<u16>,
) -> Result<Vec<UsageRecord>, LogError> {
    let Some(characters) = characters else {
        return Ok(records);
    };
    let look_up = |mut record: UsageRecord| async move {
        if let Some(task) = record.task_id.as_ref() {
            let requested = log.requested(task).await?;
            let call = requested.and_then(|(event, _)| event.call);
            record.prompt_preview = call.and_then(|call| prompt_preview(&call, characters));
        }
        Ok(record)
    };
    stream::iter(records)
        .map(look_up)
        .buffered(LOOK_UPS)
        .try_collect()
        .await
}

/// Where records go, and in which form.
enum Writer<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Jsonl(W),
    CloudEvents(W, String),
}

impl<W: Write> Writer<W> {
    fn new(out: W, how: &How<'_>) -> anyhow::Result<Self> {
        Ok(match how.format {
            ExportFormat::Csv => {
                let mut out = csv::Writer::from_writer(out);
                out.write_record(COLUMNS)?;
                Writer::Csv(Box::new(out))
            }
            ExportFormat::Jsonl => Writer::Jsonl(out),
            ExportFormat::Cloudevents => {
                Writer::CloudEvents(out, format!("/kling-relay/{}", how.environment))
            }
        })
    }

    fn write(&mut self, record: &UsageRecord) -> anyhow::Result<()> {
        match self {
            Writer::Csv(out) => out.write_record(columns(record)?)?,
            Writer::Jsonl(out) => writeln!(out, "{}", serde_json::to_string(record)?)?,
            Writer::CloudEvents(out, source) => {
                writeln!(out, "{}", cloud_event(record, source)?)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Writer::Csv(mut out) => out.flush()?,
            Writer::Jsonl(mut out) | Writer::CloudEvents(mut out, _) => out.flush()?,
        }
        Ok(())
    }
}

/// Returns a record's cells in the order of [`COLUMNS`]; what there is not is empty.
fn columns(record: &UsageRecord) -> anyhow::Result<[String; 21]> {
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let kind = serde_json::to_value(record.kind)?;
    let labels = match record.labels.is_empty() {
        true => String::new(),
        false => serde_json::to_string(&record.labels)?,
    };
    Ok([
        record.timestamp.to_string(),
        text(record.task_id.as_ref()),
        record.credits.to_string(),
        text(record.unit),
        text(record.model.as_ref()),
        text(record.duration.as_ref()),
        text(record.mode.as_ref()),
        text(record.prompt_preview.as_ref()),
        text(record.product),
        text(record.audio),
        record.tenant.clone(),
        record.day.to_string(),
        kind.as_str().unwrap_or_default().to_owned(),
        text(record.outcome.as_ref()),
        text(record.estimate),
        text(record.saved.map(|saved| saved.amount)),
        text(record.saved.map(|saved| saved.unit)),
        text(record.latency_seconds),
        text(record.kling_task_id.as_ref()),
        labels,
        record.entry_id.clone(),
    ])
}

/// Makes a CloudEvent in the JSON format. The entry's id makes a second delivery harmless.
fn cloud_event(record: &UsageRecord, source: &str) -> anyhow::Result<Value> {
    let mut data = serde_json::to_value(record)?;
    if let Some(fields) = data.as_object_mut()
        && let Some(credits) = fields.remove("credits")
    {
        fields.insert("amount".to_owned(), credits);
    }
    Ok(json!({
        "specversion": "1.0",
        "id": record.entry_id,
        "source": source,
        "type": "dev.kling-relay.usage.v1",
        "subject": record.tenant,
        "time": record.timestamp,
        "datacontenttype": "application/json",
        "data": data,
    }))
}
