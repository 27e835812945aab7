//! `succeeded` and `failed` to the money writer and `settled`: the hold closes on evidence.

use crate::decide::ledger::closing;
use crate::edge::nats::log::{Committed, Log};
use crate::edge::nats::money::Money;
use crate::stage::runner::{Handler, Message, Outcome};

/// Closes the hold of every task that has ended.
#[derive(Clone, Debug)]
pub struct Accountant {
    log: Log,
    money: Money,
}

impl Accountant {
    /// Makes the stage over the log and the money writer.
    #[must_use]
    pub fn new(log: Log, money: Money) -> Self {
        Self { log, money }
    }
}

impl Handler for Accountant {
    const STAGE: &'static str = "accountant";

    async fn handle(&self, message: &Message) -> Outcome {
        let Some((task_id, _)) = message.recorded.task_subject() else {
            return Outcome::SetAside(format!("{:?} is no task event", message.recorded.subject));
        };
        loop {
            let loaded = match self.log.load(&task_id).await {
                Ok(Some(loaded)) => loaded,
                Ok(None) => {
                    return Outcome::SetAside(format!(
                        "task {task_id} has expired with its hold open; see its day's ledger"
                    ));
                }
                Err(error) => return error.into(),
            };
            if loaded.task.relay.settled_at.is_some() {
                return Outcome::Done;
            }
            if !loaded.task.status.is_terminal() {
                // The read is as new as the message, which says that the task has ended.
                return Outcome::Retry(format!("task {task_id} is not seen as ended yet"));
            }
            let closing = closing(
                loaded.task.estimate,
                loaded.task.status,
                loaded.task.billing.as_deref(),
            );
            match self.money.settle(&loaded, closing).await {
                Ok(Committed::Stored { .. }) => {
                    tracing::info!(task.id = %task_id, "settled");
                    return Outcome::Done;
                }
                Ok(Committed::MovedOn) => {}
                Err(error) => return error.into(),
            }
        }
    }
}
