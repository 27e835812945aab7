//! File descriptors: as many as the system lets us have, and listeners that fit into them. Without
//! a descriptor a connection can be neither taken nor refused, the broker's own included.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Role};

/// For the broker, the store, downloads and calls to Kling.
const RESERVED: u64 = 512;

/// Raises the soft limit to the hard one, and lowers the listeners' bounds if even that is too
/// little for them.
pub(super) fn fit(config: &mut Config, roles: &[Role]) {
    let limit = raise();
    let mut bounds = vec![&mut config.admin.limits.connections_max];
    if roles.contains(&Role::Intake) {
        bounds.push(&mut config.api.limits.connections_max);
    }
    if roles.contains(&Role::Receiver) {
        bounds.push(&mut config.receiver.limits.connections_max);
    }
    let room = usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
    let wanted: usize = bounds.iter().map(|bound| **bound).sum();
    if wanted <= room {
        return;
    }
    for bound in &mut bounds {
        let share = **bound as u128 * room as u128 / wanted as u128;
        **bound = usize::try_from(share).unwrap_or(usize::MAX).max(1);
    }
    tracing::warn!(
        limit,
        wanted,
        room,
        "the limit of open files is too low for the listeners; their connections_max is lowered: \
         raise the hard limit (LimitNOFILE, ulimit -Hn)"
    );
}

/// Returns how many there may be; no limit is a very high one.
fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let (had, hard) = (
        limit.current.unwrap_or(u64::MAX),
        limit.maximum.unwrap_or(u64::MAX),
    );
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, had, hard, "the limit of open files cannot be raised");
            had
        }
    }
}
