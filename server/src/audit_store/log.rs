//! One log with its thread: queue in front, files behind, the durable head beside it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use audit::{Event, Head, LogName, Record, Report, verify::Verifier};
use tokio::sync::{mpsc, oneshot, watch};
use types::limits::AUDIT_QUEUE_MAX;

use super::disk::Disk;
use super::error::{AuditUnavailable, OpenError, ReadError};
use super::files::LogFiles;
use super::recover::recover;
use super::reserve::Reserve;
use super::writer::{Job, Writer};

/// An open log.
pub(super) struct Log {
    name: LogName,
    files: Arc<LogFiles>,
    head: watch::Receiver<Head>,
    /// `None` once the log is closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// Resolves when what was handed in is durable.
#[must_use = "nothing is recorded until the receipt says so"]
#[derive(Debug)]
pub struct Receipt {
    log: LogName,
    done: oneshot::Receiver<Result<u64, AuditUnavailable>>,
}

impl Receipt {
    /// Waits for the sync. The number of the first record.
    ///
    /// # Errors
    /// When it failed: the answer must not leave.
    pub async fn recorded(self) -> Result<u64, AuditUnavailable> {
        self.done.await.unwrap_or_else(|_| Err(closing(self.log)))
    }
}

impl Log {
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        reserve: Arc<Reserve>,
        dir: &Path,
        anchored: &Head,
        configure: impl FnOnce(Writer) -> Writer,
        after_sync: impl Fn(u64, u64) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let recovered = recover(&*disk, dir, anchored)?;
        if recovered.cut_bytes > 0 {
            tracing::warn!(log = %anchored.log, bytes = recovered.cut_bytes, "cut a torn write off the audit log");
        }
        let (writer, files) = Writer::new(disk, reserve, recovered);
        let writer = configure(writer);
        let (head_in, head) = watch::channel(writer.head());
        let (jobs, waiting) = mpsc::channel(AUDIT_QUEUE_MAX);
        let name = anchored.log;
        let thread = std::thread::Builder::new()
            .name(format!("audit-{name}"))
            .spawn(move || writer.run(waiting, &head_in, after_sync))
            .map_err(OpenError::io(dir))?;
        Ok(Self { name, files, head, jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// The durable head.
    pub(super) fn head(&self) -> Head {
        *self.head.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }

    /// Hands an event in; waits only for room.
    pub(super) async fn event(&self, event: Event) -> Result<Receipt, AuditUnavailable> {
        self.hand_in(|done| Job::Event(Box::new(event), done)).await
    }

    /// Hands leaves in; waits only for room.
    pub(super) async fn leaves(&self, first: u64, leaves: Vec<Vec<u8>>) -> Result<Receipt, AuditUnavailable> {
        self.hand_in(|done| Job::Leaves(first, leaves, done)).await
    }

    /// The durable leaves from `from` on, in order, until `take` has enough.
    pub(super) fn read(&self, from: u64, until: u64, take: impl FnMut(u64, Vec<u8>) -> bool) -> Result<(), ReadError> {
        self.files.read(from, until.min(self.head().size), take)
    }

    /// The durable records from `from` on, in order, until `take` has enough.
    pub(super) fn records(&self, from: u64, until: u64, mut take: impl FnMut(Record) -> bool) -> Result<(), ReadError> {
        let mut broken = None;
        self.read(from, until, |index, leaf| match Record::from_leaf(&leaf) {
            Ok(record) if record.log == self.name && record.index == index => take(record),
            _ => {
                broken = Some(ReadError::Damaged { log: self.name, index, why: "it is not the record of this place" });
                false
            }
        })?;
        broken.map_or(Ok(()), Err)
    }

    /// Reads and checks everything that was durable when this began.
    pub(super) fn verify(&self, heads: &[Head]) -> Result<Report, ReadError> {
        let head = self.head();
        let mut heads = heads.to_vec();
        heads.push(head);
        let mut verifier = Verifier::new(self.name, &heads);
        self.files.read(0, head.size, |_, leaf| {
            verifier.take(&leaf);
            true
        })?;
        Ok(verifier.finish())
    }

    /// Jobs that the thread has not taken up yet.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().map_or(0, |jobs| jobs.max_capacity() - jobs.capacity())
    }

    /// Takes nothing more, makes durable what was handed in, and waits for that.
    pub(super) fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(log = %self.name, "the thread of the audit log had panicked");
        }
    }

    async fn hand_in(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<u64, AuditUnavailable>>) -> Job,
    ) -> Result<Receipt, AuditUnavailable> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (done, receipt) = oneshot::channel();
        let sent = match jobs {
            Some(jobs) => jobs.send(job(done)).await.is_ok(),
            None => false,
        };
        if sent { Ok(Receipt { log: self.name, done: receipt }) } else { Err(closing(self.name)) }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

fn closing(log: LogName) -> AuditUnavailable {
    AuditUnavailable { log, why: "the audit log is closed, or its thread has ended".to_owned() }
}
