//! Tests of the audit store through its own front: what is durable, what is refused, what is found again.

mod crash;
mod faults;
mod search;
mod store;

use std::path::Path;
use std::sync::Arc;

use audit::{Event, Head, LogName, Text};
use types::{Action, NodeId, OperatorName, Principal, Time};

use super::disk::{Disk, RealDisk};
use super::writer::Writer;
use super::{AuditStore, OpenError};

const NODE: NodeId = NodeId(1);
/// Two pieces: the third time that a disk is full, it is full.
const RESERVE_BYTES: u64 = 2 * 1_024 * 1_024;
const LOG: LogName = LogName::Node(NODE);

fn operator(name: &str) -> Principal {
    Principal::Operator(OperatorName::parse(name).expect("a name"))
}

fn event(n: u64) -> Event {
    let resource = Text::clipped(&format!("namespaces/default/keys/key-{}", n % 7));
    Event { resource, ..Event::allowed(Time(1_000 + n), operator("root"), Action::Decrypt) }
}

fn cluster_leaf(index: u64) -> Vec<u8> {
    let rotate = Event::allowed(Time(index), operator("root"), Action::RotateKey);
    rotate.into_record(LogName::Cluster, index).to_leaf()
}

fn open(dir: &Path, anchored: &[Head]) -> Result<AuditStore, OpenError> {
    AuditStore::open(dir, NODE, anchored, 0)
}

/// A store whose files are closed after a few records.
fn open_small(dir: &Path, anchored: &[Head], segment_bytes: u64) -> Result<AuditStore, OpenError> {
    open_on(Arc::new(RealDisk), dir, anchored, segment_bytes)
}

fn open_on(disk: Arc<dyn Disk>, dir: &Path, anchored: &[Head], segment_bytes: u64) -> Result<AuditStore, OpenError> {
    AuditStore::open_with(dir, NODE, anchored, &disk, RESERVE_BYTES, |writer: Writer| {
        writer.with_segment_bytes(segment_bytes)
    })
}

/// Appends so many events, one after the other.
async fn fill(store: &AuditStore, from: u64, count: u64) {
    for n in from..from + count {
        let position = store.append(event(n)).await.expect("recorded");
        assert_eq!((position.log, position.index), (LOG, n));
    }
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    files_of(dir, LOG)
}

fn files_of(dir: &Path, log: LogName) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join(log.to_string()))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}
