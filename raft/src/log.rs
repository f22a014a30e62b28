//! The log: sealed payloads in raft-log's write-ahead files, one fdatasync per batch.
//!
//! `open` decides whether what is on disk may be trusted, `store` is what openraft calls, `witness` is the small file
//! that remembers how far the log had been synced, `record` is the stored form. Nothing here applies entries.

mod open;
mod record;
mod store;
mod witness;

pub(crate) use open::open;
pub(crate) use store::{LogStore, Released};
