//! Snapshots: own files of sealed records, written beside the apply task and read back before the log may go.
//!
//! `file` is the format, `shelf` the folder (newest good one, keep two), `durable` the fsync dance. What a snapshot
//! holds is the [`crate::Machine`]'s business; when one is taken is `duties.rs`'s.

pub(crate) mod durable;
mod file;
mod shelf;

pub(crate) use file::{Cipher, SnapshotWriter};
pub(crate) use shelf::{Shelf, SnapshotFile};
