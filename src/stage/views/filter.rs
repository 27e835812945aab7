//! Which tasks a list shows, as callers ask for them.

use super::Listed;
use crate::model::problem::{Problem, ProblemCode};
use crate::model::task::Status;

/// Which tasks a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this status.
    pub status: Option<Status>,
    /// With this mark.
    pub label: Option<(String, String)>,
    /// From after this place on.
    pub cursor: Option<u64>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Filter {
    /// Reads `status`, `label` (`key:value`), `cursor` and `limit`.
    ///
    /// # Errors
    /// `invalid-request`, naming the parameter.
    pub fn parse(query: &[(String, String)]) -> Result<Self, Problem> {
        let mut filter = Filter::default();
        for (name, value) in query {
            let invalid = |expected: &str| {
                let detail = format!("{name:?} takes {expected}");
                Problem::new(ProblemCode::InvalidRequest, detail).field(name.clone())
            };
            match name.as_str() {
                "status" => {
                    let status = Status::from_name(value).ok_or_else(|| {
                        invalid(
                            "requested, dispatching, submitted, processing, succeeded or failed",
                        )
                    })?;
                    filter.status = Some(status);
                }
                "label" => {
                    let (key, value) = value
                        .split_once(':')
                        .ok_or_else(|| invalid("a label as key:value"))?;
                    filter.label = Some((key.to_owned(), value.to_owned()));
                }
                "cursor" => {
                    let place = value
                        .parse()
                        .map_err(|_| invalid("a next_cursor as given"))?;
                    filter.cursor = Some(place);
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=500).contains(limit));
                    filter.limit = Some(limit.ok_or_else(|| invalid("a number from 1 to 500"))?);
                }
                _ => return Err(invalid("nothing: there is no such parameter")),
            }
        }
        Ok(filter)
    }

    pub(super) fn shows(&self, task: &Listed) -> bool {
        let label = self.label.as_ref().is_none_or(|(key, value)| {
            task.labels.as_ref().and_then(|labels| labels.get(key)) == Some(value)
        });
        label && self.status.is_none_or(|status| status == task.status)
    }
}
