//! From when on a task may be dispatched: the moment whose budget day holds its money.

use jiff::Timestamp;

use super::Intake;
use crate::model::problem::{Problem, ProblemCode};
use crate::model::request::TaskRequest;

impl Intake {
    /// Returns the first moment at which the request may be dispatched, `now` at the earliest: its
    /// `not_before`, and with `off_peak` the first moment of the window from then on.
    ///
    /// # Errors
    /// `invalid-request` for `off_peak` where the configuration has no window.
    pub(super) fn ready_at(
        &self,
        request: &TaskRequest,
        now: Timestamp,
    ) -> Result<Timestamp, Problem> {
        let earliest = request.not_before.map_or(now, |at| at.max(now));
        match (&self.rules.off_peak, request.off_peak) {
            (_, false) => Ok(earliest),
            (Some(window), true) => Ok(window.first_from(earliest)),
            (None, true) => {
                let detail = "there is no off-peak window here: set dispatcher.off_peak, for \
                              example \"22:00-06:00\", or leave off_peak out";
                Err(Problem::new(ProblemCode::InvalidRequest, detail).field("off_peak"))
            }
        }
    }
}
