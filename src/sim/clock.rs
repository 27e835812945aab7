//! The simulator's own clock: the only place in `sim` that reads the time of day or sleeps.
#![expect(
    clippy::disallowed_methods,
    reason = "the simulator imports nothing of ours, so it carries its own one clock"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, in Unix milliseconds.
pub(super) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// Now, in Unix seconds.
pub(super) fn now_s() -> i64 {
    now_ms() / 1000
}

/// Sleeps for `duration`; returns at once for zero.
pub(super) async fn sleep(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}
