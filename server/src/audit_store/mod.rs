//! The node's audit store: no answer leaves before its record is durable here (invariant 6).
//!
//! Two logs: `cluster`, the leaves made in `apply`, the same on every node; and this node's own, every other answer.
//! Each has a thread that makes many waiting records durable with one sync ([`writer`]); files that are checked
//! whenever they are read ([`files`]) and when they are opened ([`recover`]); and a head to be anchored in Raft. Search
//! uses an index that can be deleted at any time ([`index`]). The formats are docs/spec/audit.md.
//!
//! It does not decide what is recorded, does not anchor, and does not fetch leaves from peers.

mod disk;
mod error;
mod files;
mod frame;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod index;
mod indexer;
mod log;
mod recover;
mod reserve;
mod search;
mod summary;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use audit::{Event, Head, LogName, Record, Report};
use tokio::sync::watch;
use types::NodeId;
use types::limits::{AUDIT_INDEX_BLOCK, PAGE_SIZE_MAX};

pub use error::{AuditUnavailable, OpenError, ReadError};
pub use log::Receipt;
pub use search::{OutcomeKind, Page, Query};

use disk::{Disk, RealDisk};
use index::Index;
use indexer::Indexer;
use log::Log;
use reserve::Reserve;
use writer::Writer;

/// The audit store of one node. Clones share it; the last one to go makes durable what was handed in and closes it.
#[derive(Clone)]
pub struct AuditStore {
    shared: Arc<Shared>,
}

/// Where a record of this node stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Which log.
    pub log: LogName,
    /// The number of the record.
    pub index: u64,
}

struct Shared {
    node: LogName,
    logs: Arc<BTreeMap<LogName, Log>>,
    index: Arc<Index>,
    reserve: Arc<Reserve>,
    stop: Arc<AtomicBool>,
    word: SyncSender<()>,
    indexer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl AuditStore {
    /// Opens the store in `dir`, or makes it. `anchored` are the newest heads that Raft holds of the cluster log and of
    /// this node's own; the logs have to contain them, except that the cluster log may be behind, for its missing
    /// leaves come again by replay or from peers. `reserve_bytes` of the disk are set aside for records on a full
    /// disk, [`types::limits::AUDIT_RESERVE_BYTES`] in production. Blocks while the newest files are read.
    ///
    /// # Errors
    /// When this node's log is shorter than its anchored head, or a log differs from its head, is damaged, or cannot be
    /// read or written.
    pub fn open(dir: &Path, node: NodeId, anchored: &[Head], reserve_bytes: u64) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Self::open_with(dir, node, anchored, &disk, reserve_bytes, |writer| writer)
    }

    fn open_with(
        dir: &Path,
        node: NodeId,
        anchored: &[Head],
        disk: &Arc<dyn Disk>,
        reserve_bytes: u64,
        configure: impl Fn(Writer) -> Writer,
    ) -> Result<Self, OpenError> {
        Opening::begin_with(dir, node, &newest(anchored, LogName::Cluster), disk, reserve_bytes, &configure)?
            .finish_with(anchored, &configure)
    }

    /// Records an answer of this node and returns when the record is durable. Only then may the answer leave. A caller
    /// that stops waiting leaves the record in the log.
    ///
    /// # Errors
    /// When the record is not durable: the answer must not leave.
    pub async fn append(&self, event: Event) -> Result<Position, AuditUnavailable> {
        let log = self.shared.node;
        let index = self.log_to_write(log)?.event(event).await?.recorded().await?;
        Ok(Position { log, index })
    }

    /// Hands in leaves of the cluster log, the first of them number `first`, and waits only for room in the queue, so
    /// that one caller can keep the order without waiting for syncs. Leaves that are there already are passed over,
    /// for a replayed Raft log makes them again.
    ///
    /// # Errors
    /// At once when the log is closed; by the receipt when they are not durable, or when leaves before `first` are
    /// missing (after a snapshot was installed): those between are fetched from a peer and handed in first.
    pub async fn append_cluster(&self, first: u64, leaves: Vec<Vec<u8>>) -> Result<Receipt, AuditUnavailable> {
        self.log_to_write(LogName::Cluster)?.leaves(first, leaves).await
    }

    /// The log that this node's own answers go to.
    #[must_use]
    pub fn node_log(&self) -> LogName {
        self.shared.node
    }

    /// Bytes set aside for records on a full disk that are left. At 0 the next full disk ends the node's answers: it
    /// gives up its lease.
    #[must_use]
    pub fn reserve_left_bytes(&self) -> u64 {
        self.shared.reserve.left_bytes()
    }

    /// Whether the disk is full and the reserve is spent: nothing can be recorded, so nothing may be answered.
    #[must_use]
    pub fn is_out_of_room(&self) -> bool {
        self.shared.reserve.is_spent()
    }

    /// The durable head of a log that this node holds: what may be anchored.
    #[must_use]
    pub fn head(&self, log: LogName) -> Option<Head> {
        self.shared.logs.get(&log).map(Log::head)
    }

    /// The durable head as it moves: a follower reads from its last number to the new size.
    #[must_use]
    pub fn subscribe(&self, log: LogName) -> Option<watch::Receiver<Head>> {
        self.shared.logs.get(&log).map(Log::subscribe)
    }

    /// At most `limit` (and at most a page) durable leaves from number `from` on, in order.
    ///
    /// # Errors
    /// When the log is not held here, is damaged there, or cannot be read.
    pub async fn leaves(&self, log: LogName, from: u64, limit: usize) -> Result<Vec<Vec<u8>>, ReadError> {
        self.blocking(move |shared| {
            let mut leaves = Vec::new();
            let until = from.saturating_add(limit.min(PAGE_SIZE_MAX) as u64);
            shared.log(log)?.read(from, until, |_, leaf| {
                leaves.push(leaf);
                true
            })?;
            Ok(leaves)
        })
        .await
    }

    /// The same, read.
    ///
    /// # Errors
    /// As [`AuditStore::leaves`].
    pub async fn records(&self, log: LogName, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.blocking(move |shared| {
            let mut records = Vec::new();
            let until = from.saturating_add(limit.min(PAGE_SIZE_MAX) as u64);
            shared.log(log)?.records(from, until, |record| {
                records.push(record);
                true
            })?;
            Ok(records)
        })
        .await
    }

    /// Searches the logs that this node holds, newest first.
    ///
    /// # Errors
    /// When the token is not of this query, the log is not held here, is damaged, or cannot be read.
    pub async fn search(&self, query: Query, page_size: usize, token: Option<String>) -> Result<Page, ReadError> {
        self.blocking(move |shared| {
            let logs = shared.logs.iter().map(|(name, log)| (*name, log));
            search::search(logs, &shared.index, &query, page_size, token.as_deref())
        })
        .await
    }

    /// Reads a whole log and checks it against `heads`, those that Raft and others hold, and against its own.
    ///
    /// # Errors
    /// When the log is not held here, cannot be read, or a record's frame does not verify: the error names the record.
    pub async fn verify(&self, log: LogName, heads: Vec<Head>) -> Result<Report, ReadError> {
        self.blocking(move |shared| shared.log(log)?.verify(&heads)).await
    }

    /// Takes no more records; what was handed in becomes durable. Blocks until it has.
    pub(crate) fn close(&self) {
        self.shared.logs.values().for_each(Log::close);
    }

    fn log_to_write(&self, log: LogName) -> Result<&Log, AuditUnavailable> {
        let missing = || AuditUnavailable { log, why: "this node does not hold the log".to_owned() };
        self.shared.logs.get(&log).ok_or_else(missing)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || work(&shared)).await.unwrap_or(Err(ReadError::Closing))
    }
}

/// A store of which the cluster log is open. Nothing vouches for that one when a node starts: what is missing at its end is
/// made again by replay. So it is read while Raft restores the state that holds the anchor of the other.
pub struct Opening {
    dir: PathBuf,
    node: LogName,
    disk: Arc<dyn Disk>,
    reserve: Arc<Reserve>,
    word: SyncSender<()>,
    heard: Receiver<()>,
    cluster: Log,
}

impl Opening {
    /// Opens the cluster log in `dir`, or makes it. Blocks while its newest file is read.
    ///
    /// # Errors
    /// When it is damaged, or cannot be read or written.
    pub fn begin(dir: &Path, node: NodeId, reserve_bytes: u64) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Self::begin_with(dir, node, &Head::empty(LogName::Cluster), &disk, reserve_bytes, &|writer| writer)
    }

    /// Opens this node's own log, which has to contain the newest of the heads that Raft holds of it.
    ///
    /// # Errors
    /// When it is shorter than that head, differs from it, is damaged, or cannot be read or written.
    pub fn finish(self, anchored: &[Head]) -> Result<AuditStore, OpenError> {
        self.finish_with(anchored, &|writer| writer)
    }

    fn begin_with(
        dir: &Path,
        node: NodeId,
        anchored: &Head,
        disk: &Arc<dyn Disk>,
        reserve_bytes: u64,
        configure: &impl Fn(Writer) -> Writer,
    ) -> Result<Self, OpenError> {
        let (word, heard) = sync_channel(1);
        files::make_folder(dir).map_err(OpenError::io(dir))?;
        let path = dir.join("reserve");
        let reserve = Arc::new(Reserve::open(&path, reserve_bytes).map_err(OpenError::io(&path))?);
        let cluster = open_log(dir, anchored, disk, &reserve, &word, configure)?;
        Ok(Self { dir: dir.to_owned(), node: LogName::Node(node), disk: disk.clone(), reserve, word, heard, cluster })
    }

    fn finish_with(self, anchored: &[Head], configure: &impl Fn(Writer) -> Writer) -> Result<AuditStore, OpenError> {
        let Self { dir, node, disk, reserve, word, heard, cluster } = self;
        let own = open_log(&dir, &newest(anchored, node), &disk, &reserve, &word, configure)?;
        let logs = Arc::new(BTreeMap::from([(LogName::Cluster, cluster), (node, own)]));
        let (index, stop) = (Arc::new(Index::new(&dir)), Arc::new(AtomicBool::new(false)));
        let indexer = Indexer { logs: logs.clone(), index: index.clone(), stop: stop.clone() };
        let thread = std::thread::Builder::new()
            .name("audit-index".to_owned())
            .spawn(move || indexer.run(&heard))
            .map_err(OpenError::io(&dir))?;
        let indexer = Mutex::new(Some(thread));
        Ok(AuditStore { shared: Arc::new(Shared { node, logs, index, reserve, stop, word, indexer }) })
    }
}

fn newest(anchored: &[Head], log: LogName) -> Head {
    let ours = anchored.iter().filter(|head| head.log == log).max_by_key(|head| head.size);
    ours.copied().unwrap_or_else(|| Head::empty(log))
}

fn open_log(
    dir: &Path,
    anchored: &Head,
    disk: &Arc<dyn Disk>,
    reserve: &Arc<Reserve>,
    word: &SyncSender<()>,
    configure: &impl Fn(Writer) -> Writer,
) -> Result<Log, OpenError> {
    let word = word.clone();
    // The index is made of whole blocks: most syncs end none, and a thread woken for nothing costs a request more
    // than its cipher. A word that is waiting already says the same.
    let after_sync = move |before: u64, after: u64| {
        if before / AUDIT_INDEX_BLOCK != after / AUDIT_INDEX_BLOCK {
            let _ = word.try_send(());
        }
    };
    Log::open(disk.clone(), reserve.clone(), &dir.join(anchored.log.to_string()), anchored, configure, after_sync)
}

impl Shared {
    fn log(&self, log: LogName) -> Result<&Log, ReadError> {
        self.logs.get(&log).ok_or(ReadError::UnknownLog(log))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.word.try_send(());
        self.logs.values().for_each(Log::close);
        let indexer = self.indexer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if indexer.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the audit search index had panicked");
        }
    }
}

impl std::fmt::Debug for AuditStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditStore").field("node", &self.shared.node).finish_non_exhaustive()
    }
}
