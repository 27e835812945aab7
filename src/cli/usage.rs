//! Flags of the usage commands.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Which usage: all of what is given.
#[derive(Clone, Debug, Default, Args)]
pub struct UsageArgs {
    /// From this budget day on, as 2026-11-21, or from the one of this time (2026-11-21T08:00:00Z);
    /// the last 30 days without it.
    #[arg(long, value_name = "DAY")]
    pub from: Option<String>,
    /// Up to this budget day, itself included; today without it.
    #[arg(long, value_name = "DAY")]
    pub to: Option<String>,
    /// Of this tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// With this mark.
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Option<String>,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A heading, then a line for each record.
    Csv,
    /// A JSON object for each record.
    Jsonl,
    /// A CloudEvent (JSON, structured mode) for each record, for metering systems.
    Cloudevents,
}

/// `usage`
#[derive(Debug, Subcommand)]
pub enum UsageCommand {
    /// Report what ended tasks used, by group. A settlement belongs to the budget day of its hold.
    Report {
        /// Which.
        #[command(flatten)]
        which: UsageArgs,
        /// By `day`, `model`, `tenant`, `product` or `label:KEY`; several with commas.
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "day",
            value_name = "WHAT,…"
        )]
        group_by: Vec<String>,
    },
    /// Write each usage record: one for each task that ended, and one for each correction.
    Export {
        /// Which.
        #[command(flatten)]
        which: UsageArgs,
        /// In which form; `csv` without it, `jsonl` with --json.
        #[arg(long)]
        format: Option<ExportFormat>,
        /// Into this file, which is there once it is whole; to stdout without it.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// With the first characters of each prompt, as long as the task is kept. Prompts are user
        /// data: whoever gets the file reads them.
        #[arg(long, value_name = "CHARACTERS",
              value_parser = clap::value_parser!(u16).range(1..=2_500))]
        prompt_preview: Option<u16>,
    },
    /// Compare Kling's deductions with our estimates, and say what to correct in a price book.
    Drift {
        /// Which.
        #[command(flatten)]
        which: UsageArgs,
    },
}
