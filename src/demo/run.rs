//! `demo`: submit, watch, attack, check, sum up.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use secrecy::ExposeSecret;

use super::audit::audit;
use super::stand::{Pace, Stand};
use super::summary::Summary;
use crate::cli::DemoArgs;
use crate::config::Config;
use crate::edge::clock::Clock;
use crate::edge::nats::topology;
use crate::model::answer::Accepted;
use crate::model::event::EventKind;
use crate::model::ids::TaskId;
use crate::model::request::TaskRequest;
use crate::model::task::{Status, Task};
use crate::ops::output::Output;
use crate::ops::requests;
use crate::sim::{Forgery, ForgeryKind};
use crate::telemetry::Recorder;

/// Shipped with the program, so that the demo needs no file.
const TASKS: &str = include_str!("../../deploy/demo/tasks.jsonl");
/// Longer than the slowest of it takes.
const DEADLINE: Duration = Duration::from_secs(120);
const PACE: Pace = Pace {
    queue: Duration::from_millis(200),
    process: Duration::from_millis(1_200),
    spread: Duration::from_millis(800),
    quiet_after: Duration::from_secs(4),
    sweep_every: Duration::from_millis(500),
    lookup_delay: Duration::from_secs(1),
};

/// Runs the demo; returns whether every guarantee held.
///
/// # Errors
/// What kept it from running to its end.
pub async fn demo(
    mut config: Config,
    args: &DemoArgs,
    recorder: Recorder,
    output: Output,
) -> anyhow::Result<bool> {
    let started = Instant::now();
    let tasks = match &args.prompts {
        Some(file) => requests::from_file(file)?,
        None => requests::from_json_lines(TASKS)?,
    };
    // Its own folder, fresh each time: the figures are those of this run.
    config.data_dir = config.data_dir.join("demo");
    fresh(&config.data_dir)?;
    output.say(&format!(
        "starting: broker, simulator, service in {}",
        config.data_dir.display()
    ));
    let stand = Box::pin(Stand::start(
        config,
        PACE,
        args.seed,
        Clock::system(),
        recorder,
    ))
    .await?;
    let follow = stand
        .app
        .log()
        .follow(vec![topology::TASK_EVENTS.to_owned()], 1)
        .await?;
    output.say(&format!(
        "submitting {} tasks to {}",
        tasks.len(),
        stand.api_url()
    ));
    let submitted = submit(&stand, &tasks).await?;
    let run = async {
        let (ended, attacks) = tokio::join!(
            watch(follow, submitted.len(), output),
            attack(&stand, &submitted)
        );
        attacks?;
        ended
    };
    let ended = tokio::time::timeout(DEADLINE, run).await;
    let ended = match ended {
        Ok(ended) => ended?,
        Err(_) => bail!(
            "not all tasks came to their end within {} s",
            DEADLINE.as_secs()
        ),
    };
    let findings = audit(&stand, &submitted, &ended).await?;
    let summary = Summary::of(&stand, &ended, findings, started.elapsed());
    let good = summary.broken.is_empty();
    output.result(&summary, &summary.text());
    stand.stop().await;
    Ok(good)
}

fn fresh(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot clear {}", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Submits over HTTP, as a caller would.
async fn submit(stand: &Stand, tasks: &[TaskRequest]) -> anyhow::Result<Vec<Accepted>> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{}/v1/tasks", stand.api_url());
    let key = stand.development.api_key.expose_secret();
    let mut accepted = Vec::with_capacity(tasks.len());
    for (i, task) in tasks.iter().enumerate() {
        let request = client.post(&url).bearer_auth(key).json(task);
        let answer = request
            .header("idempotency-key", format!("demo-{i}"))
            .send()
            .await?;
        let status = answer.status();
        let body = answer.text().await?;
        if !status.is_success() {
            bail!("task {} was refused: {body}", i + 1);
        }
        accepted.push(serde_json::from_str(&body)?);
    }
    Ok(accepted)
}

/// Follows the events until every task is finished; returns the tasks as they ended.
async fn watch(
    mut events: crate::edge::nats::read::Follow,
    count: usize,
    output: Output,
) -> anyhow::Result<HashMap<TaskId, Task>> {
    let board = Board::new(count, output);
    let mut tasks: HashMap<TaskId, Task> = HashMap::new();
    while tasks.len() < count || !tasks.values().all(Task::is_finished) {
        let recorded = events.next().await.context("the log ended")??;
        let Some((task_id, kind)) = recorded.task_subject() else {
            continue;
        };
        let task = recorded.task_event()?.task;
        board.note(&task, kind, output);
        tasks.insert(task_id, task);
    }
    board.clear();
    Ok(tasks)
}

/// Live progress: bars on a terminal, lines elsewhere.
struct Board {
    bars: Vec<(EventKind, ProgressBar)>,
    all: MultiProgress,
}

impl Board {
    fn new(count: usize, output: Output) -> Self {
        let all = MultiProgress::new();
        let length = u64::try_from(count).unwrap_or(u64::MAX);
        let style = ProgressStyle::with_template("{prefix:>11} [{bar:32}] {pos}/{len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let kinds = [
            EventKind::Submitted,
            EventKind::Succeeded,
            EventKind::Failed,
            EventKind::Stored,
            EventKind::Settled,
        ];
        let bars = kinds
            .into_iter()
            .filter(|_| output.is_lively())
            .map(|kind| {
                let bar = all.add(ProgressBar::new(length).with_style(style.clone()));
                bar.set_prefix(kind.as_str());
                bar.tick();
                (kind, bar)
            });
        Self {
            bars: bars.collect(),
            all: all.clone(),
        }
    }

    fn note(&self, task: &Task, kind: EventKind, output: Output) {
        match self.bars.iter().find(|(of, _)| *of == kind) {
            Some((_, bar)) => bar.inc(1),
            None if self.bars.is_empty() => {
                output.say(&format!(
                    "{:<11}  {}  {}",
                    kind.as_str(),
                    task.task_id,
                    task.model
                ));
            }
            None => {}
        }
    }

    fn clear(&self) {
        // A terminal that cannot be cleared keeps its bars.
        let _ = self.all.clear();
    }
}

/// Posts forgeries while the pipeline is busy: each claims a success with somebody else's video.
async fn attack(stand: &Stand, submitted: &[Accepted]) -> anyhow::Result<()> {
    let control = stand.sim.control();
    let kinds = [
        ForgeryKind::BadPath,
        ForgeryKind::SignedBadPath,
        ForgeryKind::BadSignature,
        ForgeryKind::Unsigned,
        ForgeryKind::Stale,
        ForgeryKind::OtherTask,
        ForgeryKind::NotJson,
        ForgeryKind::NoShape,
    ];
    for (kind, task) in kinds.into_iter().zip(submitted) {
        let external_id = task.task_id.to_string();
        wait_for_create(stand, &task.task_id).await?;
        let forgery = Forgery {
            kind,
            external_id: Some(external_id),
            url: None,
            video_url: "https://attacker.example/video.mp4".to_owned(),
        };
        control.forge(&forgery).await?;
    }
    Ok(())
}

/// The simulator knows a callback URL once the task is created.
async fn wait_for_create(stand: &Stand, task_id: &TaskId) -> anyhow::Result<()> {
    let mut changes = stand.app.views().changes();
    loop {
        let task = stand.app.log().load(task_id).await?;
        if task.is_some_and(|loaded| loaded.task.status.rank() >= Status::Submitted.rank()) {
            return Ok(());
        }
        changes.changed().await?;
    }
}
