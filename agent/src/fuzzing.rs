//! Doors for `fuzz/`: what unprivileged processes and the cluster send to an agent. Only with `--cfg fuzzing`.

use proto::ca::v1::{IssueX509SvidResponse, WatchResponse};

use crate::wire;

pub use crate::authority::mended;

/// A state as the watch sends it: how many entries could be read.
#[must_use]
pub fn snapshot(state: WatchResponse) -> Option<usize> {
    wire::snapshot(state).ok().map(|snapshot| snapshot.registrations().len())
}

/// A certificate as the cluster sends it: when it ends.
#[must_use]
pub fn issued(answer: IssueX509SvidResponse) -> Option<u64> {
    wire::issued(answer).ok().map(|issued| issued.expires.0)
}

/// The `status` of a process as the kernel shows it.
#[must_use]
pub fn credentials(status: &str) -> bool {
    crate::attest::has_credentials(status)
}
