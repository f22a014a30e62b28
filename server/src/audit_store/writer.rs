//! The one thread that appends to a log: take whatever waits, write it, sync once, then let the answers go.
//!
//! A failed sync ends the log until restart: the kernel may have dropped the pages, and would report success the next
//! time. A failed write only refuses its own batch: it is cut off again, and the log goes on when there is room.

use std::io::ErrorKind;
use std::sync::Arc;

use audit::{Event, Head, LogName};
use tokio::sync::{mpsc, oneshot, watch};
use types::limits::{AUDIT_BATCH_BYTES, AUDIT_BATCH_MAX, AUDIT_LEAF_BYTES_MAX, AUDIT_SEGMENT_BYTES};

use super::disk::{Disk, LogFile};
use super::error::AuditUnavailable;
use super::files::LogFiles;
use super::frame::Tail;
use super::recover::{Recovered, begin_file};
use super::reserve::Reserve;

/// What a caller learns when its records are durable: the number of the first of them.
pub(super) type Done = oneshot::Sender<Result<u64, AuditUnavailable>>;

/// Something to make durable.
pub(super) enum Job {
    /// An event of this node, which gets the next number.
    Event(Box<Event>, Done),
    /// Leaves made in `apply`, which have their numbers; those that are there already are passed over.
    Leaves(u64, Vec<Vec<u8>>, Done),
}

/// Appends to one log.
pub(super) struct Writer {
    log: LogName,
    disk: Arc<dyn Disk>,
    files: Arc<LogFiles>,
    file: Box<dyn LogFile>,
    /// The durable end of the log.
    tail: Tail,
    /// The durable length of the file.
    len: u64,
    segment_bytes: u64,
    reserve: Arc<Reserve>,
    /// Why nothing is recorded any more.
    broken: Option<String>,
}

/// Records on their way to the disk.
struct Batch {
    tail: Tail,
    synced: u64,
    bytes: Vec<u8>,
    waiting: Vec<(Done, u64)>,
}

impl Writer {
    pub(super) fn new(disk: Arc<dyn Disk>, reserve: Arc<Reserve>, recovered: Recovered) -> (Self, Arc<LogFiles>) {
        let Recovered { files, tail, file, len, cut_bytes: _ } = recovered;
        let (log, files) = (files.log, Arc::new(files));
        let segment_bytes = AUDIT_SEGMENT_BYTES;
        let writer = Self { log, disk, files: files.clone(), file, tail, len, segment_bytes, reserve, broken: None };
        (writer, files)
    }

    /// Begins a new file after fewer bytes.
    #[cfg(test)]
    pub(super) fn with_segment_bytes(self, segment_bytes: u64) -> Self {
        Self { segment_bytes, ..self }
    }

    /// The durable head.
    pub(super) fn head(&self) -> Head {
        self.tail.frontier.head(self.log)
    }

    /// Works until every sender is gone. `head` moves after each sync; `after_sync` is then told the
    /// sizes before and after, and must not block.
    pub(super) fn run(
        mut self,
        mut jobs: mpsc::Receiver<Job>,
        head: &watch::Sender<Head>,
        after_sync: impl Fn(u64, u64),
    ) {
        while let Some(job) = jobs.blocking_recv() {
            let mut batch = self.begin();
            let before = batch.synced;
            self.stage(&mut batch, job);
            while batch.waiting.len() < AUDIT_BATCH_MAX && batch.bytes.len() < AUDIT_BATCH_BYTES {
                let Ok(job) = jobs.try_recv() else { break };
                self.stage(&mut batch, job);
            }
            let (waiting, result) = self.commit(batch);
            if result.is_ok() {
                head.send_replace(self.head());
                after_sync(before, self.tail.frontier.size());
            }
            for (done, first) in waiting {
                // A caller that has gone away is not owed an answer; its record stays.
                let _ = done.send(result.clone().map(|()| first));
            }
        }
    }

    fn begin(&self) -> Batch {
        let tail = self.tail.clone();
        Batch { synced: tail.frontier.size(), tail, bytes: Vec::new(), waiting: Vec::new() }
    }

    fn stage(&self, batch: &mut Batch, job: Job) {
        match job {
            Job::Event(event, done) => {
                let index = batch.tail.frontier.size();
                let leaf = event.into_record(self.log, index).to_leaf();
                batch.tail.push(batch.synced, &leaf, &mut batch.bytes);
                batch.waiting.push((done, index));
            }
            Job::Leaves(first, leaves, done) => match self.stage_leaves(batch, first, &leaves) {
                Ok(()) => batch.waiting.push((done, first)),
                Err(refused) => drop(done.send(Err(refused))),
            },
        }
    }

    fn stage_leaves(&self, batch: &mut Batch, first: u64, leaves: &[Vec<u8>]) -> Result<(), AuditUnavailable> {
        let size = batch.tail.frontier.size();
        if first > size {
            return Err(self.refusal(format!(
                "record {first} was handed in where {size} is next: fetch those between from a peer"
            )));
        }
        if leaves.iter().any(|leaf| leaf.is_empty() || leaf.len() > AUDIT_LEAF_BYTES_MAX) {
            return Err(self.refusal(format!("a leaf from record {first} on is empty or too long")));
        }
        let held = usize::try_from(size - first).unwrap_or(usize::MAX);
        for leaf in leaves.iter().skip(held) {
            batch.tail.push(batch.synced, leaf, &mut batch.bytes);
        }
        Ok(())
    }

    fn commit(&mut self, batch: Batch) -> (Vec<(Done, u64)>, Result<(), AuditUnavailable>) {
        let Batch { tail, synced: _, bytes, waiting } = batch;
        let result = match &self.broken {
            Some(why) => Err(self.refusal(why.clone())),
            // Replayed leaves are durable already.
            None if bytes.is_empty() => Ok(()),
            None => self.write(&bytes),
        };
        if result.is_ok() && !bytes.is_empty() {
            self.tail = tail;
            self.len += bytes.len() as u64;
            self.roll();
            self.reserve.refill();
        }
        (waiting, result)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AuditUnavailable> {
        while let Err(error) = self.file.append(bytes) {
            let why = format!("write failed: {error}");
            if let Err(error) = self.file.cut(self.len) {
                return Err(self.end(format!("{why}, and what was written could not be cut off: {error}")));
            }
            // Each round takes from the reserve, so there is a last one.
            if error.kind() != ErrorKind::StorageFull || !self.reserve.give(bytes.len() as u64) {
                return Err(self.refusal(why));
            }
        }
        self.file
            .sync()
            .map_err(|error| self.end(format!("sync failed: {error}; restart the node when the disk is well")))
    }

    /// Begins the next file when this one is long. When that fails, this one simply grows until it succeeds.
    fn roll(&mut self) {
        if self.len < self.segment_bytes {
            return;
        }
        match begin_file(&*self.disk, &self.files.dir, self.log, &self.tail) {
            Ok((file, len)) => {
                self.files.push(self.tail.frontier.size());
                (self.file, self.len) = (file, len);
            }
            Err(error) => {
                tracing::warn!(log = %self.log, %error, "the next audit log file could not be begun; this one goes on");
                // A file that has its name but perhaps not durably would contradict what is appended here from now on.
                let path = super::files::path_of(&self.files.dir, self.tail.frontier.size());
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        self.end(format!("`{}` could not be removed: {error}", path.display()));
                    }
                    _ => {}
                }
            }
        }
    }

    fn end(&mut self, why: String) -> AuditUnavailable {
        tracing::error!(log = %self.log, why, "the audit log takes no more records");
        self.broken = Some(why.clone());
        self.refusal(why)
    }

    fn refusal(&self, why: String) -> AuditUnavailable {
        AuditUnavailable { log: self.log, why }
    }
}
