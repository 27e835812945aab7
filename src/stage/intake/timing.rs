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
        if request.off_peak && self.rules.off_peak.is_none() {
            let detail = "there is no off-peak window here: set dispatcher.off_peak, for example \
                          \"22:00-06:00\", or leave off_peak out";
            return Err(Problem::new(ProblemCode::InvalidRequest, detail).field("off_peak"));
        }
        let earliest = request.not_before.map_or(now, |at| at.max(now));
        Ok(self.first_moment(request.off_peak, earliest))
    }

    /// Returns the first moment from `earliest` on, inside the window if there is one and the task
    /// wants it.
    pub(super) fn first_moment(&self, off_peak: bool, earliest: Timestamp) -> Timestamp {
        let window = self.rules.off_peak.as_ref().filter(|_| off_peak);
        window.map_or(earliest, |window| window.first_from(earliest))
    }
}
