//! What a refused or unanswered batch means for its wishes.
//!
//! Source: broker reference 4.

use super::{Attempt, Check, Next, Writer};
use crate::edge::nats::log::LogError;
use crate::edge::nats::money::job::Job;
use crate::edge::nats::wire::Refusal;

impl Writer {
    /// Decides what a refused or unanswered batch means for its wishes.
    pub(super) async fn after_refusal(
        &mut self,
        attempt: &mut Attempt,
        refusal: Refusal,
    ) -> Result<Next, LogError> {
        self.forget(&attempt.jobs);
        match refusal {
            Refusal::Conflict { last } => {
                attempt.check = self.whose_conflict(attempt, last).await?;
                // Without a number another write on the same text is in flight, on a cluster.
                let other = last.is_none() || attempt.check == Check::None;
                if other && !attempt.uncertain {
                    self.turns.lost();
                    return Ok(Next::Lost);
                }
            }
            Refusal::Incomplete | Refusal::Unavailable => {}
            Refusal::Unknown => attempt.uncertain = true,
            Refusal::Full => {
                attempt.jobs.drain(..).for_each(Job::refuse_full);
                return Ok(Next::Done);
            }
            Refusal::Refused { code, reason } => {
                tracing::error!(
                    code,
                    reason,
                    "the broker refuses the money writer's commits"
                );
                for job in attempt.jobs.drain(..) {
                    job.refuse(code, &reason);
                }
                return Ok(Next::Done);
            }
        }
        if attempt.uncertain {
            attempt.check = Check::All;
        }
        Ok(Next::Retry)
    }

    /// Finds out which check of the batch failed: a ledger's is cured by reading it again. Where
    /// one task has moved others have, since `stored` comes while a settlement waits: found one by
    /// one they would cost a try each.
    async fn whose_conflict(
        &self,
        attempt: &Attempt,
        last: Option<u64>,
    ) -> Result<Check, LogError> {
        let Some(seq) = last.filter(|seq| *seq > 0) else {
            // In flight on a cluster, or an empty prefix: after a few tries look at all.
            let all = last.is_some() || attempt.tries >= 2;
            return Ok(if all { Check::All } else { Check::None });
        };
        let Some(found) = self.log.get(seq).await? else {
            return Ok(Check::All);
        };
        Ok(match found.ledger_key() {
            Some(_) => Check::None,
            None => Check::All,
        })
    }
}
