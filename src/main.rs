//! The `kling-relay` program: parse arguments, start telemetry, run one command, set the exit code.

use std::process::ExitCode;

use clap::Parser;
use kling_relay::cli::Cli;

fn main() -> ExitCode {
    // Two providers in one process panic at the first handshake, so one is named before any.
    let _ = rustls::crypto::ring::default_provider().install_default();
    kling_relay::cli::run(Cli::parse())
}
