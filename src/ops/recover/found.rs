//! What listed tasks are to us: counted, and named as far as a report has room.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::model::ids::TaskId;

/// Ids of one kind that a report names.
const NAMED_MAX: usize = 1_000;
/// Other tenants that a report names.
const TENANTS_MAX: usize = 1_000;

/// What a listed task is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    /// Nothing is missing.
    Known,
    /// Kling has moved it, and the log does not know: it is told.
    Missed,
    /// It ended otherwise here, and an ending stands for ever.
    Contradicts,
    /// Its id has our form, and the log has no history of it.
    NotInLog,
    /// The same, and now there is one.
    Rebuilt,
    /// Its id has our form, and its tenant is none of those asked for.
    OtherTenant,
    /// Not one of ours.
    Foreign,
    /// Kling's words cannot be read, or its history was written by a newer version.
    Unreadable,
}

impl Found {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Found::Known => "known",
            Found::Missed => "missed",
            Found::Contradicts => "contradicts",
            Found::NotInLog => "not-in-log",
            Found::Rebuilt => "rebuilt",
            Found::OtherTenant => "other-tenant",
            Found::Foreign => "foreign",
            Found::Unreadable => "unreadable",
        }
    }
}

/// What has been found.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) counts: BTreeMap<Found, u64>,
    /// Our ids; of foreign tasks, which have none, Kling's.
    pub(super) named: BTreeMap<Found, Vec<String>>,
    pub(super) other_tenants: BTreeMap<String, u64>,
    pub(super) told: u64,
    pub(super) begun: u64,
    /// Tasks that were judged, by Kling's ids: the lists overlap, and numbered pages move.
    judged: HashSet<String>,
    /// Tasks that the list of all tasks shows without their external id.
    nameless: BTreeSet<String>,
}

impl Findings {
    pub(super) fn note(&mut self, found: Found, id: &str) {
        *self.counts.entry(found).or_default() += 1;
        let named = self.named.entry(found).or_default();
        if found != Found::Known && named.len() < NAMED_MAX {
            named.push(id.to_owned());
        }
    }

    pub(super) fn note_other_tenant(&mut self, task_id: &TaskId) {
        *self.counts.entry(Found::OtherTenant).or_default() += 1;
        let tenant = task_id.tenant().to_string();
        if self.other_tenants.len() < TENANTS_MAX || self.other_tenants.contains_key(&tenant) {
            *self.other_tenants.entry(tenant).or_default() += 1;
        }
    }

    /// Tells whether a task is met for the first time.
    pub(super) fn is_new(&mut self, kling_id: &str) -> bool {
        self.judged.insert(kling_id.to_owned())
    }

    pub(super) fn note_nameless(&mut self, kling_id: &str) {
        self.nameless.insert(kling_id.to_owned());
    }

    pub(super) fn has_nameless(&self) -> bool {
        !self.nameless.is_empty()
    }

    /// What no list gives an id of ours is nobody's of ours.
    pub(super) fn close(&mut self) {
        for kling_id in std::mem::take(&mut self.nameless) {
            if self.is_new(&kling_id) {
                self.note(Found::Foreign, &kling_id);
            }
        }
    }
}
