//! Which past messages are meant: the range flags that several commands share, as one value.

use anyhow::{Context, bail};
use jiff::Timestamp;

use crate::cli::RangeArgs;
use crate::edge::nats::log::{Log, LogError};
use crate::edge::nats::read::ReadFrom;
use crate::edge::nats::record::Recorded;
use crate::edge::nats::topology;
use crate::model::audit::Selection;
use crate::model::event::EventKind;
use crate::model::ids::{TaskId, Tenant};

/// Messages read at once.
pub const PAGE: usize = 1_000;

/// A selection that has been read: its parts fit.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// As it was given.
    pub selection: Selection,
    tenant: Option<Tenant>,
    task: Option<TaskId>,
    kind: Option<EventKind>,
    label: Option<(String, String)>,
}

impl Chosen {
    /// Reads the flags.
    ///
    /// # Errors
    /// Names the flag.
    pub fn from_args(args: &RangeArgs) -> anyhow::Result<Self> {
        Self::new(Selection {
            from: args.from.as_deref().map(time).transpose()?,
            to: args.to.as_deref().map(time).transpose()?,
            tenant: args.tenant.clone(),
            task: args.task.clone(),
            event: args.event.clone(),
            label: args.label.clone(),
            ..Selection::default()
        })
    }

    /// Reads a selection.
    ///
    /// # Errors
    /// Names what does not fit.
    pub fn new(selection: Selection) -> anyhow::Result<Self> {
        let task = selection.task.as_deref().map(TaskId::parse).transpose()?;
        let tenant = selection.tenant.as_deref().map(Tenant::parse).transpose()?;
        if let (Some(task), Some(tenant)) = (&task, &tenant)
            && task.tenant() != *tenant
        {
            bail!("task {task} is none of tenant {tenant}");
        }
        if selection.from >= selection.to && selection.to.is_some() && selection.from.is_some() {
            bail!("--from must lie before --to");
        }
        Ok(Self {
            tenant,
            task,
            kind: selection.event.as_deref().map(kind).transpose()?,
            label: selection.label.as_deref().map(pair).transpose()?,
            selection,
        })
    }

    /// Returns the narrowest filter of task events.
    #[must_use]
    pub fn events(&self) -> String {
        match (&self.task, self.kind, &self.tenant) {
            (Some(task), Some(kind), _) => topology::task_subject(task, kind),
            (Some(task), None, _) => topology::task_prefix(task),
            (None, Some(kind), tenant) => topology::events_of_kind(tenant.as_ref(), kind),
            (None, None, Some(tenant)) => topology::tenant_tasks(tenant),
            (None, None, None) => topology::TASK_EVENTS.to_owned(),
        }
    }

    /// Returns the filter of stored callbacks.
    ///
    /// # Errors
    /// Callbacks have neither kind nor label.
    pub fn callbacks(&self) -> anyhow::Result<String> {
        if self.kind.is_some() || self.label.is_some() {
            bail!("callbacks have no --event and no --label; choose by time, tenant or task");
        }
        let tenant = self.tenant.as_ref().map(Tenant::as_str);
        let tenant = self.task.as_ref().map_or_else(
            || tenant.unwrap_or("*").to_owned(),
            |task| task.tenant().to_string(),
        );
        let task = self.task.as_ref().map_or("*", TaskId::as_str);
        Ok(topology::callback_subject(&tenant, task))
    }

    /// Returns the filter of messages that were set aside.
    #[must_use]
    pub fn letters(&self) -> String {
        let tenant = self.task.as_ref().map(|task| task.tenant().to_string());
        let tenant = tenant.or_else(|| self.selection.tenant.clone());
        topology::dead_filter(
            self.selection.stage.as_deref(),
            tenant.as_deref(),
            self.selection.task.as_deref(),
        )
    }

    /// Returns where to begin reading.
    #[must_use]
    pub fn begins(&self) -> ReadFrom {
        match (self.selection.from_sequence, self.selection.from) {
            (Some(seq), _) => ReadFrom::Sequence(seq),
            (None, Some(from)) => ReadFrom::Time(from),
            (None, None) => ReadFrom::Sequence(1),
        }
    }

    /// Tells whether a message and all after it lie behind the selection.
    #[must_use]
    pub fn ends_before(&self, message: &Recorded) -> bool {
        self.selection
            .to_sequence
            .is_some_and(|to| message.seq > to)
            || self.selection.to.is_some_and(|to| message.stored_at >= to)
    }

    /// Tells whether a task event that matches the filter has the label.
    #[must_use]
    pub fn takes(&self, message: &Recorded) -> bool {
        let Some((key, value)) = &self.label else {
            return true;
        };
        message
            .task_event()
            .is_ok_and(|event| event.task.labels.get(key) == Some(value))
    }

    /// Finds where the selection begins in the log, without a scan from its start.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub async fn first_event(&self, log: &Log) -> Result<u64, LogError> {
        let first = log.read(&self.events(), self.begins(), 1).await?;
        match first.first() {
            Some(first) => Ok(first.seq),
            None => Ok(log.last_sequence().await? + 1),
        }
    }
}

fn kind(name: &str) -> anyhow::Result<EventKind> {
    let names = EventKind::ALL.map(EventKind::as_str).join(", ");
    EventKind::from_name(name).with_context(|| format!("--event {name:?}: use one of {names}"))
}

fn pair(label: &str) -> anyhow::Result<(String, String)> {
    let (key, value) = label
        .split_once('=')
        .with_context(|| format!("--label {label:?}: use key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn time(text: &str) -> anyhow::Result<Timestamp> {
    text.parse()
        .with_context(|| format!("{text:?} is no time; use 2026-11-21T08:00:00Z"))
}
