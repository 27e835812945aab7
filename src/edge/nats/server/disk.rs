//! How much the private server's store may grow.
//!
//! A full disk stops the streams until the server restarts, even after room is made, so the
//! bounds stay below the disk. Source: broker reference 11.

use std::path::Path;
use std::process::Command;

use super::ServerError;
use crate::config;

/// No stream is of use with less.
const BOUND_MIN_BYTES: i64 = 1 << 20;
/// Consumers' state and the server's own files beside the streams.
const MARGIN_BYTES: u64 = 64 << 20;

/// Shrinks the streams' bounds in proportion if the disk under the data directory cannot hold
/// them; for a private server on a small machine. Returns whether it did.
pub fn fit_to_disk(nats: &mut config::Nats, data_dir: &Path) -> bool {
    let store = super::paths(data_dir).store;
    let Some(available) = available_bytes(data_dir, &store) else {
        return false;
    };
    let needed = needed_bytes(nats);
    if needed <= available || needed == 0 {
        return false;
    }
    // Other programs write to the disk as well.
    let usable = (available / 10 * 9).saturating_sub(MARGIN_BYTES);
    for bound in [
        &mut nats.log_max_bytes,
        &mut nats.callbacks_max_bytes,
        &mut nats.dead_max_bytes,
        &mut nats.replay_max_bytes,
    ] {
        let share = u128::from(bytes(*bound)) * u128::from(usable) / u128::from(needed);
        // A bound of 0 would be none at all.
        *bound = i64::try_from(share)
            .unwrap_or(i64::MAX)
            .max(BOUND_MIN_BYTES);
    }
    tracing::warn!(
        available_bytes = available,
        needed_bytes = needed,
        "the disk is too small for the configured streams; their bounds are lowered"
    );
    true
}

/// Returns the bound of the whole store.
pub(super) fn store_max_bytes(
    data_dir: &Path,
    store: &Path,
    nats: &config::Nats,
) -> Result<u64, ServerError> {
    let needed = needed_bytes(nats);
    match available_bytes(data_dir, store) {
        Some(available) if available < needed => Err(ServerError::DiskTooSmall {
            data_dir: data_dir.to_owned(),
            needed_bytes: needed,
            available_bytes: available,
        }),
        Some(_) | None => Ok(needed),
    }
}

fn needed_bytes(nats: &config::Nats) -> u64 {
    let bounds = [
        nats.log_max_bytes,
        nats.callbacks_max_bytes,
        nats.dead_max_bytes,
        nats.replay_max_bytes,
    ];
    bounds.map(bytes).iter().sum::<u64>() + MARGIN_BYTES
}

fn bytes(bound: i64) -> u64 {
    u64::try_from(bound).unwrap_or_default()
}

/// Returns four fifths of what the store has or could have; `None` if the system does not say.
fn available_bytes(data_dir: &Path, store: &Path) -> Option<u64> {
    let free_bytes = free_bytes(data_dir)?;
    Some(free_bytes.saturating_add(size_bytes(store)) / 5 * 4)
}

/// Returns what is free on the disk that holds a directory; `None` if the system does not say.
pub(super) fn free_bytes(dir: &Path) -> Option<u64> {
    let existing = dir.ancestors().find(|dir| dir.exists())?;
    let answer = Command::new("df").arg("-Pk").arg(existing).output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let free_kib: u64 = text
        .lines()
        .nth(1)?
        .split_whitespace()
        .nth(3)?
        .parse()
        .ok()?;
    Some(free_kib.saturating_mul(1_024))
}

fn size_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size_bytes(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}
