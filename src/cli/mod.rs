//! Sub-commands and flags as types; each calls one function.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Role;

mod command;
mod reconcile;
mod recovery;
mod usage;

pub use self::command::{interruption, run};
pub use self::reconcile::ReconcileArgs;
pub use self::recovery::{AuditArgs, DeadCommand, LetterArgs, RangeArgs, RecoverArgs, ReplayArgs};
pub use self::usage::{ExportFormat, UsageArgs, UsageCommand};

/// The heading of the flags that every command takes.
const EVERYWHERE: &str = "Everywhere";
const FIRST_STEPS: &str = "\
First steps:
  kling-relay demo                                   see it work, in half a minute
  kling-relay dev                                    leave it running, and beside it:
  kling-relay submit --prompt \"A paper boat\" --wait
  kling-relay events tail

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.";

/// Event backbone between your services and the Kling AI video platform.
#[derive(Debug, Parser)]
#[command(name = "kling-relay", version, max_term_width = 100, after_help = FIRST_STEPS)]
pub struct Cli {
    /// Configuration file (TOML); the environment goes over it.
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    pub config: Option<PathBuf>,
    /// Print JSON on stdout: one document, or JSON Lines.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
    /// Print nothing but results and errors.
    #[arg(long, short, global = true, help_heading = EVERYWHERE)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole pipeline on this machine with the simulator, and print a summary.
    Demo(DemoArgs),
    /// Run the whole pipeline with the simulator, and leave it running; Ctrl-C drains and stops.
    Dev(DevArgs),
    /// Run the service.
    Serve(ServeArgs),
    /// Run the stand-in Kling platform alone.
    Simulator(SimulatorArgs),
    /// Submit one task.
    Submit(SubmitArgs),
    /// Submit a file of tasks (JSON Lines or CSV): estimate first, refuse if over budget.
    Batch(BatchArgs),
    /// Price a request or a batch file, without submitting.
    Estimate(EstimateArgs),
    /// List, show, watch or cancel tasks.
    #[command(subcommand)]
    Tasks(TasksCommand),
    /// Follow events.
    #[command(subcommand)]
    Events(EventsCommand),
    /// Deliver past events again, to one consumer.
    Replay(Box<ReplayArgs>),
    /// Find at Kling what callbacks never said.
    Recover(RecoverArgs),
    /// List, show, requeue or discard messages that were set aside.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Report or export usage, or compare it with the price book.
    #[command(subcommand)]
    Usage(UsageCommand),
    /// Show a day's budget, or change its limits.
    #[command(subcommand)]
    Budget(BudgetCommand),
    /// Compare our ledger with Kling's deduction records; exit 1 when they differ.
    Reconcile(ReconcileArgs),
    /// Execute the production checklist (not there yet).
    Doctor(LaterArgs),
    /// Make one cheap real generation, end to end (not there yet).
    Smoke(LaterArgs),
    /// Write the JSON Schema of every event and body.
    Schemas(SchemasArgs),
    /// Print the effective configuration, secrets redacted.
    Config,
}

/// `demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// A file of prompts (JSON Lines) instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// Seed of the simulator's faults.
    #[arg(long, default_value_t = 20_261_121)]
    pub seed: u64,
}

/// `dev`
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Seed of the simulator.
    #[arg(long, default_value_t = 20_261_121)]
    pub seed: u64,
}

/// `serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Which roles to run: intake, dispatcher, receiver, completer, downloader, accountant,
    /// reconciler; every role without it.
    #[arg(long, value_delimiter = ',', value_name = "ROLE,…")]
    pub role: Vec<Role>,
}

/// `simulator`
#[derive(Debug, Args)]
pub struct SimulatorArgs {
    /// The simulator's own configuration (TOML).
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Where to listen (HTTPS).
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
    /// Where to listen with plain HTTP as well.
    #[arg(long, value_name = "ADDRESS")]
    pub plain_listen: Option<std::net::SocketAddr>,
}

/// Who submits, and to which server.
#[derive(Debug, Args)]
pub struct TenantArg {
    /// The tenant to act for.
    #[arg(long, default_value = "dev")]
    pub tenant: String,
}

/// One request as flags.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// For example `text-to-video`.
    #[arg(long, default_value = "text-to-video")]
    pub product: String,
    /// Kling's spelling of the model, for example `kling-2.6`; the product's default without it.
    #[arg(long)]
    pub model: Option<String>,
    /// What to show.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// What not to show.
    #[arg(long, value_name = "TEXT")]
    pub negative_prompt: Option<String>,
    /// Length in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<String>,
    /// `standard`, `professional`, `720p`, `1080p` or `4k`.
    #[arg(long)]
    pub mode: Option<String>,
    /// For example `16:9`.
    #[arg(long, value_name = "RATIO")]
    pub aspect_ratio: Option<String>,
    /// Whether to generate sound.
    #[arg(long)]
    pub audio: Option<bool>,
    /// `draft` or `final`.
    #[arg(long)]
    pub purpose: Option<String>,
    /// A mark that every event carries; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// Further fields as a JSON object.
    #[arg(long, value_name = "JSON")]
    pub parameters: Option<String>,
    /// The earliest time of dispatch, at most 7 days ahead, as 2026-11-21T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub not_before: Option<String>,
    /// Wait for the configured off-peak window; with a file, every task of it.
    #[arg(long)]
    pub off_peak: bool,
    /// Let an earlier result of the same request answer: nothing is made and nothing spent then.
    #[arg(long)]
    pub reuse: bool,
}

/// `submit`
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The request.
    #[command(flatten)]
    pub request: RequestArgs,
    /// Whose.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The same key is the same task, so that a submission can be repeated.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Follow the task to its end; exit 1 if it failed.
    #[arg(long)]
    pub wait: bool,
}

/// `batch`
#[derive(Debug, Args)]
pub struct BatchArgs {
    /// JSON Lines or CSV.
    pub file: PathBuf,
    /// Whose.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// Every task waits for the configured off-peak window.
    #[arg(long)]
    pub off_peak: bool,
    /// Stop after the estimate; exit 1 if the budget does not allow it.
    #[arg(long)]
    pub estimate_only: bool,
    /// The same key is the same tasks, so that a file can be submitted again.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// `estimate`
#[derive(Debug, Args)]
pub struct EstimateArgs {
    /// A batch file instead of one request.
    pub file: Option<PathBuf>,
    /// List what would be cheaper, with price and saving.
    #[arg(long)]
    pub advise: bool,
    /// The request.
    #[command(flatten)]
    pub request: RequestArgs,
    /// Whose.
    #[command(flatten)]
    pub tenant: TenantArg,
}

/// `tasks`
#[derive(Debug, Subcommand)]
pub enum TasksCommand {
    /// List tasks, newest first.
    List {
        /// Whose.
        #[command(flatten)]
        tenant: TenantArg,
        /// Of this status.
        #[arg(long)]
        status: Option<String>,
        /// With this mark.
        #[arg(long, value_name = "KEY=VALUE")]
        label: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
        limit: u16,
        /// From after this page on: the `next_cursor` of the page before.
        #[arg(long)]
        cursor: Option<u64>,
    },
    /// Show one task and its history.
    Show {
        /// The task's id.
        task: String,
    },
    /// Follow one task to its end.
    Watch {
        /// The task's id.
        task: String,
    },
    /// Cancel a task that has not been dispatched.
    Cancel {
        /// The task's id.
        task: String,
    },
}

/// `events`
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Print events as they happen, or from `--from` on; `--to` ends it.
    Tail(RangeArgs),
}

/// `budget`
#[derive(Debug, Subcommand)]
pub enum BudgetCommand {
    /// Show held, deducted and remaining by unit.
    Show {
        /// The tenant, or `_account`.
        #[arg(long, default_value = "dev")]
        tenant: String,
        /// The day, as 2026-11-21; today without it.
        #[arg(long, value_name = "DAY")]
        day: Option<String>,
        /// Show how the day's limits came about as well: who changed what, and why.
        #[arg(long)]
        history: bool,
    },
    /// Change one limit of one day, through the running service.
    Set(SetLimitArgs),
}

/// `budget set`
#[derive(Debug, Args)]
pub struct SetLimitArgs {
    /// The tenant, or `_account` for the limit over all tenants.
    #[arg(long)]
    pub tenant: String,
    /// The day, as 2026-11-21; today without it.
    #[arg(long, value_name = "DAY")]
    pub day: Option<String>,
    /// The unit, for example `video-unit`.
    #[arg(long)]
    pub unit: String,
    /// The limit from now on; below what is used, nothing more is accepted.
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub limit: rust_decimal::Decimal,
    /// Why; it stands in the ledger.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Who; it stands in the ledger.
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub who: String,
}

/// Anything: the command is documented and not there yet.
#[derive(Debug, Args)]
pub struct LaterArgs {
    /// Ignored.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<String>,
}

/// `schemas`
#[derive(Debug, Args)]
pub struct SchemasArgs {
    /// Where to write them.
    #[arg(default_value = "schemas")]
    pub directory: PathBuf,
}
