//! The node's wall clock: the only place of this crate, beside the lease, that reads one.

use types::Time;

/// Milliseconds since the Unix epoch, as this machine believes.
#[must_use]
pub(crate) fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
