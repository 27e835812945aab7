//! Requests from flags, JSON Lines and CSV.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde_json::{Map, Value};

use crate::cli::RequestArgs;
use crate::model::request::TaskRequest;
use crate::model::submission::parse_value;

/// Lines of one batch file.
const LINES_MAX: usize = 100_000;

/// Makes a request from flags.
///
/// # Errors
/// Names the flag.
pub fn from_args(args: &RequestArgs) -> anyhow::Result<TaskRequest> {
    let mut fields = Map::new();
    let texts = [
        ("product", Some(&args.product)),
        ("model", args.model.as_ref()),
        ("prompt", args.prompt.as_ref()),
        ("negative_prompt", args.negative_prompt.as_ref()),
        ("duration", args.duration.as_ref()),
        ("mode", args.mode.as_ref()),
        ("aspect_ratio", args.aspect_ratio.as_ref()),
        ("purpose", args.purpose.as_ref()),
        ("not_before", args.not_before.as_ref()),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            fields.insert(name.to_owned(), Value::from(value.as_str()));
        }
    }
    if args.off_peak {
        fields.insert("off_peak".to_owned(), Value::from(true));
    }
    if let Some(audio) = args.audio {
        fields.insert("audio".to_owned(), Value::from(audio));
    }
    if args.reuse {
        fields.insert("reuse".to_owned(), Value::from(true));
    }
    if !args.labels.is_empty() {
        let labels = args.labels.iter().map(|label| {
            let (key, value) = label
                .split_once('=')
                .with_context(|| format!("--label {label:?}: use key=value"))?;
            Ok((key.to_owned(), Value::from(value)))
        });
        fields.insert(
            "labels".to_owned(),
            Value::Object(labels.collect::<anyhow::Result<_>>()?),
        );
    }
    if let Some(parameters) = &args.parameters {
        let parameters =
            serde_json::from_str(parameters).context("--parameters: use a JSON object")?;
        fields.insert("parameters".to_owned(), parameters);
    }
    parse(Value::Object(fields))
}

/// Reads a batch file: `.csv` with a heading row, else JSON Lines.
///
/// # Errors
/// Names the line and the field.
pub fn from_file(path: &Path) -> anyhow::Result<Vec<TaskRequest>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
    let requests = if path.extension().is_some_and(|extension| extension == "csv") {
        from_csv(&text)?
    } else {
        from_json_lines(&text)?
    };
    if requests.is_empty() {
        bail!("{path:?} holds no request");
    }
    Ok(requests)
}

/// Reads a batch file whose tasks all wait for the off-peak window, if that is asked for.
///
/// # Errors
/// As [`from_file`].
pub fn from_file_at(path: &Path, off_peak: bool) -> anyhow::Result<Vec<TaskRequest>> {
    let mut tasks = from_file(path)?;
    tasks.iter_mut().for_each(|task| task.off_peak |= off_peak);
    Ok(tasks)
}

/// Reads JSON Lines; empty lines are passed over.
///
/// # Errors
/// Names the line and the field.
pub fn from_json_lines(text: &str) -> anyhow::Result<Vec<TaskRequest>> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .take(LINES_MAX + 1)
        .enumerate()
        .map(|(n, (i, line))| {
            if n == LINES_MAX {
                bail!("more than {LINES_MAX} requests; split the file");
            }
            let value = serde_json::from_str(line).map_err(|error| {
                anyhow!(
                    "line {}: no JSON document (column {})",
                    i + 1,
                    error.column()
                )
            })?;
            parse(value).with_context(|| format!("line {}", i + 1))
        })
        .collect()
}

fn from_csv(text: &str) -> anyhow::Result<Vec<TaskRequest>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headings = reader
        .headers()
        .context("the first row must name the columns")?
        .clone();
    reader
        .records()
        .enumerate()
        .map(|(i, record)| {
            if i == LINES_MAX {
                bail!("more than {LINES_MAX} requests; split the file");
            }
            let record = record.with_context(|| format!("row {}", i + 2))?;
            let fields = headings
                .iter()
                .zip(record.iter())
                .filter(|(_, cell)| !cell.is_empty());
            row(fields)
                .and_then(parse)
                .with_context(|| format!("row {}", i + 2))
        })
        .collect()
}

/// `label:<key>` columns are marks; `audio`, `reuse` and `off_peak` are true or false; `parameters`
/// is a JSON object; everything else is text.
fn row<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> anyhow::Result<Value> {
    let mut request = Map::new();
    let mut labels = Map::new();
    for (heading, cell) in fields {
        let value = match heading {
            "audio" | "reuse" | "off_peak" | "parameters" => serde_json::from_str(cell)
                .with_context(|| format!("column {heading:?}: use true, false or JSON"))?,
            _ => Value::from(cell),
        };
        match heading.strip_prefix("label:") {
            Some(key) => labels.insert(key.to_owned(), value),
            None => request.insert(heading.to_owned(), value),
        };
    }
    if !labels.is_empty() {
        request.insert("labels".to_owned(), Value::Object(labels));
    }
    Ok(Value::Object(request))
}

fn parse(value: Value) -> anyhow::Result<TaskRequest> {
    parse_value(value).map_err(|problem| match &problem.field {
        Some(field) => anyhow!("{field}: {}", problem.detail),
        None => anyhow!("{}", problem.detail),
    })
}
