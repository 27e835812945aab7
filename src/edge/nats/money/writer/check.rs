//! What became of the wishes of a fold: read from the leader, each on its own.
//!
//! The exact subject of a commit's event tells whether it was stored; the task's last event does
//! not, since others may have moved on. An entry without a task is looked for where its batch
//! would stand. Source: broker reference 4.

use futures::StreamExt;
use serde_json::json;

use crate::edge::nats::log::{Loaded, Log, LogError};
use crate::edge::nats::money::job::{Job, Try, Work};
use crate::edge::nats::topology;
use crate::model::event::EventKind;
use crate::model::ids::{CommitId, TaskId};
use crate::model::ledger::LedgerKey;

/// Reads in flight at once.
const CONCURRENCY: usize = 32;

enum Verdict {
    /// As the wish expects it.
    Open,
    /// An earlier try of this very commit was stored, at this sequence.
    Mine(u64),
    /// Somebody else moved the task.
    Other,
    /// It cannot be read.
    Broken(LogError),
}

/// Answers the wishes whose outcome is known by now, and returns the others.
///
/// # Errors
/// [`LogError::Unavailable`] when the leader does not answer; nothing has been answered then.
pub(super) async fn check(log: &Log, jobs: &mut Vec<Job>) -> Result<Vec<Job>, LogError> {
    let mut questions = Vec::new();
    for (job_index, job) in jobs.iter().enumerate() {
        for (task_index, question) in questions_of(job).into_iter().enumerate() {
            questions.extend(question.map(|question| (job_index, task_index, question)));
        }
    }
    let verdicts: Vec<_> = futures::stream::iter(questions)
        .map(|(job, task, question)| async move { (job, task, question.ask(log).await) })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let mut per_job: Vec<Vec<(usize, Verdict)>> = jobs.iter().map(|_| Vec::new()).collect();
    for (job, task, verdict) in verdicts {
        per_job[job].push((task, verdict?));
    }
    let answered = jobs.drain(..).zip(per_job);
    Ok(answered
        .filter_map(|(job, verdicts)| apply(job, verdicts))
        .collect())
}

/// Answers a wish with its success if an earlier try of it was stored, or with the task's existence
/// if somebody else's was, and returns it otherwise. A commit is all or nothing, so its first task
/// tells.
pub(super) async fn unless_stored(log: &Log, job: Job) -> Option<Job> {
    let mut questions = questions_of(&job).into_iter().enumerate();
    let Some((index, first)) = questions.find_map(|(index, first)| Some((index, first?))) else {
        return Some(job);
    };
    match first.ask(log).await {
        Ok(Verdict::Open | Verdict::Broken(_)) => return Some(job),
        Ok(Verdict::Mine(_)) => {}
        // It may be this very task that fills the budget.
        Ok(Verdict::Other) => {
            job.moved_on(index);
            return None;
        }
        Err(_) => {
            job.give_up();
            return None;
        }
    }
    let mut jobs = vec![job];
    match check(log, &mut jobs).await {
        Ok(open) => open.into_iter().next(),
        Err(_) => {
            jobs.into_iter().for_each(Job::give_up);
            None
        }
    }
}

/// What a wish asks the log about itself.
enum Question {
    /// Has the task an event of this commit?
    Event {
        task: TaskId,
        kind: EventKind,
        commit_id: CommitId,
        on: Option<Box<Loaded>>,
    },
    /// Has a ledger an entry of this commit?
    Entry {
        key: LedgerKey,
        commit_id: CommitId,
        tries: Vec<Try>,
    },
}

fn questions_of(job: &Job) -> Vec<Option<Question>> {
    match &job.work {
        Work::Accept { tasks, stored, .. } => {
            let question = |task: &super::super::NewTask| Question::Event {
                task: task.event.task.task_id.clone(),
                kind: EventKind::Requested,
                commit_id: task.commit_id.clone(),
                on: None,
            };
            let of_open =
                |(task, stored): (_, &Option<u64>)| stored.is_none().then(|| question(task));
            tasks.iter().zip(stored).map(of_open).collect()
        }
        Work::Settle { on, commit_id, .. } => vec![Some(Question::Event {
            task: on.task.task_id.clone(),
            kind: EventKind::Settled,
            commit_id: commit_id.clone(),
            on: Some(on.clone()),
        })],
        Work::SetLimit {
            change,
            commit_id,
            tries,
            ..
        } => vec![Some(Question::Entry {
            key: change.key.clone(),
            commit_id: commit_id.clone(),
            tries: tries.all().to_vec(),
        })],
        // Before each try it reads what stands, its own entries among it.
        Work::Adjust { .. } => Vec::new(),
    }
}

impl Question {
    async fn ask(&self, log: &Log) -> Result<Verdict, LogError> {
        let verdict = match self {
            Question::Event {
                task,
                kind,
                commit_id,
                on,
            } => event(log, task, *kind, commit_id, on.as_deref()).await,
            Question::Entry {
                key,
                commit_id,
                tries,
            } => entry(log, key, commit_id, tries).await,
        };
        match verdict {
            Err(LogError::Unavailable { operation }) => Err(LogError::Unavailable { operation }),
            Err(error) => Ok(Verdict::Broken(error)),
            Ok(verdict) => Ok(verdict),
        }
    }
}

async fn event(
    log: &Log,
    task: &TaskId,
    kind: EventKind,
    commit_id: &CommitId,
    on: Option<&Loaded>,
) -> Result<Verdict, LogError> {
    let query = json!({ "last_by_subj": topology::task_prefix(task) });
    let last = log.read_leader("check a task", &query).await?;
    let expected = on.map_or(0, |on| on.seq);
    if last.as_ref().map_or(0, |last| last.seq) == expected {
        return Ok(Verdict::Open);
    }
    match log.last(task, kind).await? {
        Some(found) if found.commit_id() == Some(commit_id.as_str()) => {
            Ok(Verdict::Mine(found.seq))
        }
        Some(_) | None => Ok(Verdict::Other),
    }
}

/// Looks at the entries right behind those that the tries expected to be the last, as far as they
/// are of a tried batch.
async fn entry(
    log: &Log,
    key: &LedgerKey,
    commit_id: &CommitId,
    tries: &[Try],
) -> Result<Verdict, LogError> {
    let subject = topology::ledger_subject(key);
    for tried in tries {
        let mut seq = tried.expected + 1;
        loop {
            let query = json!({ "next_by_subj": subject, "seq": seq });
            let Some(found) = log.read_leader("check an entry", &query).await? else {
                break;
            };
            if found
                .batch()
                .is_none_or(|(batch, _, _)| batch != tried.batch)
            {
                break;
            }
            if found.commit_id() == Some(commit_id.as_str()) {
                return Ok(Verdict::Mine(found.seq));
            }
            seq = found.seq + 1;
        }
    }
    Ok(Verdict::Open)
}

/// Answers a wish if its verdicts allow it, and returns it otherwise.
fn apply(mut job: Job, verdicts: Vec<(usize, Verdict)>) -> Option<Job> {
    for (index, verdict) in verdicts {
        match verdict {
            Verdict::Open => {}
            Verdict::Mine(seq) => job.mark_stored(index, seq),
            Verdict::Other => {
                job.moved_on(index);
                return None;
            }
            Verdict::Broken(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "what a money commit wrote cannot be read"
                );
                job.refuse(0, "a stored event cannot be read");
                return None;
            }
        }
    }
    if !job.is_stored() {
        return Some(job);
    }
    let seqs = job.already_stored().into_iter().flatten().collect();
    job.succeed(seqs);
    None
}
