//! Snapshots: own files of sealed records, written beside the apply task and read back before the log may go.
//!
//! `file` is the format, `shelf` the folder (newest good one, keep two), `incoming` one that a member sends, `sum` what
//! both sides of that compare, `durable` the fsync dance. What a snapshot holds is the [`crate::Machine`]'s business; when one is taken is `duties.rs`'s.

pub(crate) mod durable;
mod file;
mod incoming;
mod shelf;
mod sum;

#[cfg(fuzzing)]
pub(crate) use file::SnapshotWriter;
pub(crate) use file::{Cipher, SnapshotReader};
pub(crate) use incoming::Incoming;
pub(crate) use shelf::{Shelf, SnapshotFile};
pub(crate) use sum::{Sum, Tally, checksum};
