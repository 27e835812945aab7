//! Callbacks to `processing`, `succeeded` and `failed`: parse, trust, progress, commit.
//!
//! What the reconciler learns comes the same way. The only calls it makes are re-reads, at most one
//! per task and [`REREAD_EVERY`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::decide::progress::{self, LastWord, Progress};
use crate::decide::trust::{self, Belief, UnsignedPolicy};
use crate::edge::clock::Clock;
use crate::edge::kling::client::{Answer, Client, QueryReason};
use crate::edge::kling::wire;
use crate::edge::nats::callbacks::Callback;
use crate::edge::nats::log::{Committed, Loaded, Log};
use crate::model::event::NewEvent;
use crate::model::ids::{ACCOUNT, TaskId};
use crate::model::observation::{Observation, Proof};
use crate::stage::look_up::{look_up, terms};
use crate::stage::runner::{Handler, Message, Outcome};
use crate::telemetry;

/// Between two re-reads of one task, however many callbacks ask for one.
pub const REREAD_EVERY: Duration = Duration::from_secs(10);
/// Tasks whose last re-read is remembered; beyond it the oldest are forgotten.
const REREADS_REMEMBERED_MAX: usize = 50_000;
/// How far a look-up may lag behind an unsigned callback; a later one has the last word.
const LAG_MAX: SignedDuration = SignedDuration::from_secs(5);
/// How much later than a callback's arrival a re-read must have begun to answer for it: the arrival
/// is told by the broker's clock, the re-read by ours.
const COVER_MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// Decides what each stored callback means.
#[derive(Debug)]
pub struct Completer {
    log: Log,
    kling: Arc<Client>,
    clock: Clock,
    unsigned: UnsignedPolicy,
    rereads: Rereads,
}

impl Completer {
    /// Makes the stage.
    #[must_use]
    pub fn new(log: Log, kling: Arc<Client>, clock: Clock, unsigned: UnsignedPolicy) -> Self {
        Self {
            log,
            kling,
            clock,
            unsigned,
            rereads: Rereads::default(),
        }
    }
}

/// One observation on its way to a decision.
struct Sight {
    task_id: TaskId,
    observation: Observation,
    proof: Proof,
    /// How it came, before anybody asked again.
    came_by: Proof,
    /// Whether Kling was asked again for what is missing, and had no more to say.
    asked: bool,
    /// Whether Kling was asked about an ending so soon that its answer may lag behind it.
    lags: bool,
    stored_at: Timestamp,
}

/// Why the way ends before a decision.
enum Stop {
    /// Kling had nothing to add; what that means is for whoever asked.
    NoNews(Outcome),
    /// The message ends so.
    Ends(Outcome),
}

impl Handler for Completer {
    const STAGE: &'static str = "completer";

    async fn handle(&self, message: &Message) -> Outcome {
        let callback = match Callback::read(&message.recorded) {
            Ok(callback) => callback,
            Err(error) => return decided("malformed", error.into()),
        };
        if callback.tenant == ACCOUNT {
            // The console's test button, or a task made elsewhere: kept, and nothing of ours moves.
            return decided("not-ours", Outcome::Done);
        }
        let task_id = match TaskId::parse(&callback.task) {
            Ok(task_id) => task_id,
            Err(error) => return decided("malformed", Outcome::SetAside(error.to_string())),
        };
        let loaded = match self.load(&task_id).await {
            Ok(loaded) => loaded,
            Err(Stop::Ends(outcome) | Stop::NoNews(outcome)) => return outcome,
        };
        let terms = terms(&loaded.task, &self.kling);
        let observation = match wire::parse_callback(&callback.body, terms) {
            Ok(observation) => observation,
            Err(error) => {
                let reason = format!("task {task_id}: {}", telemetry::chain(&error));
                return decided("malformed", Outcome::SetAside(reason));
            }
        };
        let (proof, stored_at) = (callback.proof, message.recorded.stored_at);
        let mut sight = Sight {
            task_id,
            observation,
            proof,
            came_by: proof,
            asked: false,
            lags: false,
            stored_at,
        };
        match self.decide(loaded, &mut sight).await {
            Ok(Outcome::Done) if sight.lags => {
                let why = format!("Kling does not show the end of task {} yet", sight.task_id);
                Outcome::RetryAt(REREAD_EVERY, why)
            }
            Ok(outcome) => {
                if sight.asked && outcome == Outcome::Done {
                    self.rereads.applied(&sight.task_id);
                }
                outcome
            }
            Err(Stop::Ends(outcome) | Stop::NoNews(outcome)) => outcome,
        }
    }
}

impl Completer {
    async fn load(&self, task_id: &TaskId) -> Result<Loaded, Stop> {
        match self.log.load(task_id).await {
            Ok(Some(loaded)) => Ok(loaded),
            Ok(None) => {
                let reason = format!(
                    "task {task_id} is not in the log: it has expired, or the log was lost; \
                     a callback never revives a task"
                );
                Err(Stop::Ends(decided(
                    "unknown-task",
                    Outcome::SetAside(reason),
                )))
            }
            Err(error) => Err(Stop::Ends(error.into())),
        }
    }

    async fn decide(&self, mut loaded: Loaded, sight: &mut Sight) -> Result<Outcome, Stop> {
        match self.believe(&loaded, sight) {
            Belief::Believe => {}
            Belief::Ignore(why) => {
                tracing::info!(task.id = %sight.task_id, why, "callback ignored");
                return Ok(decided("ignored", Outcome::Done));
            }
            Belief::SetAside(why) => {
                let reason = format!("task {}: {why}", sight.task_id);
                return Ok(decided("not-bound", Outcome::SetAside(reason)));
            }
            Belief::ReReadFirst => {
                let says_ended = sight.observation.status.is_terminal();
                self.ask(&loaded, sight, QueryReason::Confirm).await?;
                let age = self.clock.now().duration_since(sight.stored_at);
                let lags = says_ended && !sight.observation.status.is_terminal();
                sight.lags = lags && age < LAG_MAX;
            }
        }
        loop {
            let now = self.clock.now();
            let last_word = if sight.asked || sight.proof == Proof::Read {
                LastWord::Yes
            } else {
                LastWord::No
            };
            let next = progress::next(&loaded.task, &sight.observation, last_word, now);
            let (event, again) = match next {
                Progress::Commit(event) => (event, false),
                Progress::CommitThenAgain(event) => (event, true),
                Progress::NothingNew => return Ok(decided("nothing-new", Outcome::Done)),
                Progress::ReReadFirst(_) => {
                    self.ask_for_the_rest(&loaded, sight).await?;
                    continue;
                }
                Progress::Contradiction(why) => {
                    tracing::error!(task.id = %sight.task_id, %why, "Kling contradicts the log");
                    let reason = format!("task {}: {why}", sight.task_id);
                    return Ok(decided("contradiction", Outcome::SetAside(reason)));
                }
            };
            match self.log.commit(&loaded, event.clone()).await {
                Ok(Committed::Stored { .. }) => {
                    self.announce(&event, sight);
                    if !again {
                        return Ok(decided("moved", Outcome::Done));
                    }
                }
                Ok(Committed::MovedOn) => {}
                Err(error) => return Ok(error.into()),
            }
            loaded = self.load(&sight.task_id).await?;
        }
    }

    /// Asks Kling for the bill or results that a believed ending lacks. The ending itself stands,
    /// whatever a re-read can add: a look-up may lag behind it, or Kling may have forgotten the
    /// task.
    async fn ask_for_the_rest(&self, loaded: &Loaded, sight: &mut Sight) -> Result<(), Stop> {
        let (ending, proof) = (sight.observation.clone(), sight.proof);
        match self.ask(loaded, sight, QueryReason::Billing).await {
            Ok(()) if sight.observation.status == ending.status => {}
            Ok(()) | Err(Stop::NoNews(_)) => {
                sight.observation = ending;
                sight.proof = proof;
                sight.asked = true;
            }
            Err(Stop::Ends(outcome)) => return Err(Stop::Ends(outcome)),
        }
        Ok(())
    }

    /// Asks Kling for the truth, and puts it in the place of what was sighted.
    async fn ask(
        &self,
        loaded: &Loaded,
        sight: &mut Sight,
        reason: QueryReason,
    ) -> Result<(), Stop> {
        match self
            .rereads
            .permit(&sight.task_id, sight.stored_at, self.clock.now())
        {
            Permit::Go => {}
            // Kling was asked after this callback had come, so its word is already applied.
            Permit::Covered => return Err(Stop::NoNews(decided("covered", Outcome::Done))),
            Permit::Wait(wait) => {
                let why = format!("task {} was re-read a moment ago", sight.task_id);
                return Err(Stop::Ends(Outcome::LaterAt(wait, why)));
            }
        }
        let look_up = look_up(&loaded.task, &self.kling);
        let answer = match self
            .kling
            .query(std::slice::from_ref(&look_up), reason)
            .await
        {
            Ok(mut answers) => answers.pop(),
            Err(failure) => {
                let why = format!("task {} cannot be re-read: {failure}", sight.task_id);
                return Err(Stop::Ends(Outcome::Retry(why)));
            }
        };
        sight.asked = true;
        match answer {
            Some(Answer::Seen(seen)) => {
                sight.observation = seen.observation;
                sight.proof = Proof::Read;
            }
            Some(Answer::NotThere) | None => {
                tracing::warn!(task.id = %sight.task_id, "Kling does not show the task");
                let why = format!("Kling does not show task {}", sight.task_id);
                let again = Outcome::RetryAt(REREAD_EVERY, why);
                return Err(Stop::NoNews(decided("not-shown", again)));
            }
            Some(Answer::Unreadable(error)) => {
                let why = format!("task {} cannot be read at Kling: {error}", sight.task_id);
                return Err(Stop::Ends(Outcome::Retry(why)));
            }
        }
        match self.believe(loaded, sight) {
            Belief::Believe => Ok(()),
            Belief::Ignore(why) | Belief::SetAside(why) => {
                let reason = format!("task {}: {why}", sight.task_id);
                Err(Stop::Ends(decided("not-bound", Outcome::SetAside(reason))))
            }
            // Our own read is never asked about again.
            Belief::ReReadFirst => Ok(()),
        }
    }

    fn believe(&self, loaded: &Loaded, sight: &Sight) -> Belief {
        let task = Some(&loaded.task);
        trust::believe(
            sight.proof,
            self.unsigned,
            &sight.task_id,
            task,
            &sight.observation,
        )
    }

    fn announce(&self, event: &NewEvent, sight: &Sight) {
        let task = &event.body.task;
        tracing::info!(task.id = %task.task_id, tenant.id = %task.tenant,
            kling.task_id = task.kling_task_id.as_ref().map(tracing::field::display),
            event = event.kind.as_str(), proof = sight.proof.as_str(),
            task_status_msg = task.error.as_ref().map(|error| error.message.as_str()),
            "task moved");
        if task.status.is_terminal() {
            if sight.came_by == Proof::Read {
                metrics::counter!(telemetry::RECOVERED).increment(1);
            }
            let waited = self.clock.now().duration_since(sight.stored_at);
            metrics::histogram!(telemetry::CALLBACK_TO_COMPLETION).record(waited.as_secs_f64());
            let (status, model) = (task.status.as_str(), task.model.clone());
            metrics::counter!(telemetry::TASKS_ENDED, "status" => status, "model" => model)
                .increment(1);
        }
    }
}

fn decided(decision: &'static str, outcome: Outcome) -> Outcome {
    metrics::counter!(telemetry::CALLBACKS_DECIDED, "decision" => decision).increment(1);
    outcome
}

/// When each task was last re-read.
#[derive(Debug, Default)]
struct Rereads(Mutex<HashMap<TaskId, Reread>>);

#[derive(Debug)]
struct Reread {
    started_at: Timestamp,
    /// Whether what Kling said is in the log.
    applied: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Permit {
    Go,
    Covered,
    Wait(Duration),
}

impl Rereads {
    fn permit(&self, task_id: &TaskId, stored_at: Timestamp, now: Timestamp) -> Permit {
        let mut last = self.lock();
        if let Some(reread) = last.get(task_id) {
            if reread.applied && reread.started_at.duration_since(stored_at) > COVER_MARGIN {
                return Permit::Covered;
            }
            let wait = every() - now.duration_since(reread.started_at);
            if wait.is_positive() {
                return Permit::Wait(wait.unsigned_abs());
            }
        }
        if last.len() >= REREADS_REMEMBERED_MAX {
            last.retain(|_, reread| now.duration_since(reread.started_at) < every());
        }
        last.insert(
            task_id.clone(),
            Reread {
                started_at: now,
                applied: false,
            },
        );
        Permit::Go
    }

    /// Notes that what the re-read said is in the log.
    fn applied(&self, task_id: &TaskId) {
        if let Some(reread) = self.lock().get_mut(task_id) {
            reread.applied = true;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Reread>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn every() -> SignedDuration {
    SignedDuration::try_from(REREAD_EVERY).unwrap_or_default()
}
