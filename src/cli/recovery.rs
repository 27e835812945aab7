//! Flags of the commands for the day after: replay, and messages that were set aside.

use clap::{Args, Subcommand};

/// Which messages: all of what is given.
#[derive(Clone, Debug, Default, Args)]
pub struct RangeArgs {
    /// From this time on (2026-11-21T08:00:00Z).
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Until this time.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Of this tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Of this task.
    #[arg(long)]
    pub task: Option<String>,
    /// Of this kind, for example `succeeded`.
    #[arg(long, value_name = "KIND")]
    pub event: Option<String>,
    /// With this mark.
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Option<String>,
}

/// Who does it and why: kept with the money.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// Who does it; your user name without it.
    #[arg(long, value_name = "NAME")]
    pub who: Option<String>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// To whom: a name of your own, or `completer`, `downloader`, `accountant`.
    #[arg(long, value_name = "NAME")]
    pub consumer: String,
    /// Which events.
    #[command(flatten)]
    pub range: RangeArgs,
    /// From this sequence of the stream on.
    #[arg(long, value_name = "SEQ", conflicts_with = "from")]
    pub from_sequence: Option<u64>,
    /// Up to this sequence of the stream.
    #[arg(long, value_name = "SEQ")]
    pub to_sequence: Option<u64>,
    /// Count what would be delivered, and deliver nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Events a second.
    #[arg(long, default_value_t = 200, value_name = "PER SECOND",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: u32,
    /// Go on with a replay that was interrupted: its id.
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to", "tenant", "task", "event",
          "label", "from_sequence", "to_sequence", "dry_run"])]
    pub resume: Option<String>,
    /// Who and why.
    #[command(flatten)]
    pub audit: AuditArgs,
}

/// `recover`
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Of tasks that Kling created from this time on (2026-11-21T08:00:00Z); 30 days ago without
    /// it. A task that ended late was created early.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Until this time; now without it.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Of this tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Begin histories anew that the log has lost: state, deductions and assets. Nothing is
    /// created at Kling.
    #[arg(long)]
    pub rebuild: bool,
    /// Who and why.
    #[command(flatten)]
    pub audit: AuditArgs,
}

/// Which messages that were set aside.
#[derive(Clone, Debug, Args)]
pub struct LetterArgs {
    /// Their numbers, as `dead list` shows them; then no filter.
    #[arg(conflicts_with_all = ["all", "stage", "tenant", "task", "from", "to", "matching"])]
    pub letters: Vec<u64>,
    /// Every one that the filters leave.
    #[arg(long)]
    pub all: bool,
    /// Of this stage.
    #[arg(long)]
    pub stage: Option<String>,
    /// Of this tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Of this task.
    #[arg(long)]
    pub task: Option<String>,
    /// Set aside from this time on (2026-11-21T08:00:00Z).
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Set aside until this time.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Whose reason holds this text.
    #[arg(long, value_name = "TEXT")]
    pub matching: Option<String>,
}

/// `dead`
#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List messages that were set aside: reason, attempts, age.
    List {
        /// Which.
        #[command(flatten)]
        which: LetterArgs,
        /// At most so many.
        #[arg(long, default_value_t = 50,
              value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show one of them.
    Show {
        /// Its number.
        letter: u64,
        /// With its body, which may hold a prompt or signed addresses.
        #[arg(long)]
        payload: bool,
    },
    /// Give them to their stage again; they leave the list once they are handled.
    Requeue {
        /// Which.
        #[command(flatten)]
        which: LetterArgs,
        /// Say which they are, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Who and why.
        #[command(flatten)]
        audit: AuditArgs,
    },
    /// Throw them away, for a reason.
    Discard {
        /// Which.
        #[command(flatten)]
        which: LetterArgs,
        /// Say which they are, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Who and why.
        #[command(flatten)]
        audit: AuditArgs,
    },
}
