//! What stands in for the system when this crate is built with `--cfg chancery_sim` (tests/sim-raft): turmoil's network
//! and files, a log disk that loses what was not synced, and chance that one seed decides.
//!
//! No build that ships contains this module. It replaces only what `system.rs` and `log/wal.rs` name: openraft, the log
//! store, the witness, the snapshots, the applier and the peer port are the ones that run in production.

pub mod chance;
pub mod disk;
mod envelope;
pub(crate) mod system;
pub(crate) mod wal;

pub use disk::{Bug, Disk, Event, Quorums, plant};
pub use envelope::envelope;

use crate::error::ChangeError;
use crate::handle::RaftHandle;
use crate::machine::Machine;

/// A planted bug: purges the log up to the newest snapshot, as if one readable snapshot were enough.
///
/// # Errors
/// When the member has stopped.
pub async fn purge_to_the_newest_snapshot<M: Machine>(handle: &RaftHandle<M>) -> Result<(), ChangeError> {
    let Some(newest) = handle.status().snapshot else { return Ok(()) };
    handle.raft().trigger().purge_log(newest).await.map_err(|error| ChangeError::Fatal(error.to_string()))
}
