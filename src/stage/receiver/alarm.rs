//! Tells a person when callbacks on right addresses are not signed as they should be: once in a
//! while, since they come by the thousand.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

use crate::edge::kling::signature::{BadSignature, TOLERANCE_S};

/// Between two alarms of one kind.
const ALARM_EVERY_MS: i64 = 10 * 60 * 1_000;

/// What has been said when.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    unsigned: Alarm,
    stale: Alarm,
    mismatch: Alarm,
}

/// When it was raised last, milliseconds; 0 for never.
#[derive(Debug, Default)]
struct Alarm(AtomicI64);

impl Alarm {
    fn is_due(&self, now: Timestamp) -> bool {
        let (now_ms, last_ms) = (now.as_millisecond(), self.0.load(Ordering::Relaxed));
        let due = last_ms == 0 || now_ms - last_ms >= ALARM_EVERY_MS;
        let (set, failed) = (Ordering::Relaxed, Ordering::Relaxed);
        due && self
            .0
            .compare_exchange(last_ms, now_ms, set, failed)
            .is_ok()
    }
}

impl Alarms {
    /// Signatures are missing though the account is known to sign: it may have lost its secret, or
    /// somebody else calls.
    pub(super) fn unsigned(&self, now: Timestamp) {
        if self.unsigned.is_due(now) {
            tracing::error!(
                "callbacks come without a signature though receiver.webhook_secrets is set: look \
                 at the Webhook Secret in Kling's console"
            );
        }
    }

    /// Signatures do not hold.
    pub(super) fn bad_signature(&self, reason: BadSignature, now: Timestamp) {
        match reason {
            BadSignature::Stale if self.stale.is_due(now) => tracing::error!(
                reason = reason.as_str(),
                tolerance_seconds = TOLERANCE_S,
                "callbacks are refused: their signed time is too far from this machine's; set its \
                 clock right"
            ),
            BadSignature::Headers | BadSignature::Timestamp | BadSignature::Mismatch
                if self.mismatch.is_due(now) =>
            {
                tracing::error!(
                    reason = reason.as_str(),
                    "callbacks are refused: their signature fits no secret of \
                     receiver.webhook_secrets; compare them with the Webhook Secret of the account"
                );
            }
            BadSignature::Headers
            | BadSignature::Timestamp
            | BadSignature::Stale
            | BadSignature::Mismatch => {}
        }
    }
}
