//! The log: sealed payloads in raft-log's write-ahead files, one fdatasync per batch.
//!
//! `open` decides whether what is on disk may be trusted, `wal` opens raft-log's files, `store` is what openraft calls, `witness` is the small file
//! that remembers how far the log had been synced, `record` is the stored form. Nothing here applies entries.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod open;
mod record;
mod store;
#[cfg(not(chancery_sim))]
mod wal;
mod witness;

#[cfg(chancery_sim)]
use crate::simulation::wal;

pub(crate) use open::open;
#[cfg(chancery_sim)]
pub(crate) use record::{Ballot, Flushed, LogTypes, Place, Sealed};
pub(crate) use store::{LogStore, Released};
#[cfg(chancery_sim)]
pub(crate) use witness::Seen;
