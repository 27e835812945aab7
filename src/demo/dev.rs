//! `dev`: the pipeline left running, to be used.

use std::time::Duration;

use serde_json::json;

use super::stand::{Pace, Stand};
use crate::config::Config;
use crate::edge::clock::Clock;
use crate::edge::development::TENANT;
use crate::ops::output::Output;
use crate::telemetry::Recorder;

const PACE: Pace = Pace {
    queue: Duration::from_secs(1),
    process: Duration::from_secs(4),
    spread: Duration::from_secs(3),
    quiet_after: Duration::from_secs(60),
    sweep_every: Duration::from_secs(5),
    lookup_delay: Duration::from_secs(2),
};

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// What cannot be had: a port, the broker, the data directory.
pub async fn dev(
    config: Config,
    seed: u64,
    recorder: Recorder,
    output: Output,
) -> anyhow::Result<bool> {
    let mut stop = std::pin::pin!(crate::cli::interruption());
    // What has not started has nothing to drain.
    let stand = tokio::select! {
        stand = Box::pin(Stand::start(config, PACE, seed, Clock::system(), recorder)) => stand?,
        () = &mut stop => return Ok(true),
    };
    let folder = stand.development.folder.display();
    let data_dir = &stand.config.data_dir;
    let admin = stand
        .app
        .address("admin")
        .map_or_else(String::new, |a| a.to_string());
    let lines = [
        format!(
            "submit API   {}  (key of tenant {TENANT}: {folder}/api.key)",
            stand.api_url()
        ),
        format!("metrics      http://{admin}/metrics"),
        format!(
            "broker       {}/nats.json says where, and how to enter",
            data_dir.display()
        ),
        format!("platform     {} (the simulator)", stand.sim.base_url()),
        format!("trust root   {folder}/ca.pem"),
        "try          kling-relay submit --prompt \"A paper boat at dawn\" --wait".to_owned(),
        "Ctrl-C drains and stops".to_owned(),
    ];
    let document = json!({
        "api_url": stand.api_url(),
        "api_key_file": stand.development.folder.join("api.key"),
        "operator_key_file": stand.development.folder.join("operator.key"),
        "admin_url": format!("http://{admin}"),
        "nats_file": data_dir.join("nats.json"),
        "platform_url": stand.sim.base_url(),
        "ca_file": stand.development.ca_file,
    });
    output.result(&document, &lines.join("\n"));
    stop.await;
    stand.stop().await;
    Ok(true)
}
