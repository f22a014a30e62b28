//! The agent's clock: certificates are judged by the wall clock of the machine that uses them.

use std::time::{SystemTime, UNIX_EPOCH};

use types::Time;

/// The time now; the epoch when the clock stands before it, so that nothing is valid then.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
