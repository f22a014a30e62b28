//! What openraft calls to store and read entries and votes.
//!
//! Entries are sealed on the way in and opened on the way out. A failed write or sync is for ever: nothing that this
//! process is told afterwards counts, so the store refuses everything from then on and openraft stops the node.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use raft_log::api::raft_log_writer::RaftLogWriter;
use tokio::sync::oneshot;

use super::record::{Ballot, Flushed, Place, Sealed};
use super::wal::{self, Wal};
use super::witness::{Seen, Witness};
use crate::codec;
use crate::config::{APPLY_BATCH, BATCH_BYTES};
use crate::envelope::{Envelope, FileKind, Owner};
use crate::erase::Closed;
use crate::system::blocking;
use crate::type_config::{Entry, LogId, TypeConfig, Vote};

/// The log of this member; clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    log: Mutex<Wal>,
    witness: Mutex<(Witness, Seen)>,
    synced: Synced,
    owner: Owner,
    envelope: Arc<dyn Envelope>,
    /// Dropped after `log`, because fields are dropped in order: when it is gone, so is the lock on the folder.
    open: Arc<()>,
}

/// Tells when the last user of a log is gone and its folder may be opened again.
pub(crate) struct Released {
    open: Weak<()>,
    shared: Weak<Shared>,
}

impl Released {
    pub(crate) fn is_released(&self) -> bool {
        self.open.strong_count() == 0
    }

    /// The log, unless it was let go.
    pub(crate) fn get(&self) -> Option<LogStore> {
        self.shared.upgrade().map(|shared| LogStore { shared })
    }
}

/// What the disk has confirmed, updated by raft-log's flush thread.
#[derive(Clone, Default)]
pub(crate) struct Synced(Arc<Mutex<SyncedState>>);

#[derive(Default)]
struct SyncedState {
    highest: Option<Place>,
    failed: Option<String>,
    appended_bytes: u64,
}

impl Synced {
    /// A batch ended, with entries up to `place` in it.
    pub(crate) fn record(&self, place: Option<Place>, result: &io::Result<()>) {
        let mut state = lock(&self.0);
        match result {
            Ok(()) => state.highest = state.highest.max(place),
            Err(error) => state.failed = Some(error.to_string()),
        }
    }
}

impl LogStore {
    pub(super) fn new(log: Wal, witness: Witness, seen: Seen, owner: Owner, envelope: Arc<dyn Envelope>) -> Self {
        let state = SyncedState { highest: None, failed: None, appended_bytes: log.on_disk_size() };
        let synced = Synced(Arc::new(Mutex::new(state)));
        let shared = Shared {
            log: Mutex::new(log),
            witness: Mutex::new((witness, seen)),
            synced,
            owner,
            envelope,
            open: Arc::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Bytes appended in this process, counting what was there when it started: how much the log has grown.
    pub(crate) fn appended_bytes(&self) -> u64 {
        lock(&self.shared.synced.0).appended_bytes
    }

    /// The last entry that the log no longer holds.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.log().log_state().purged().copied().map(LogId::from)
    }

    /// Closes the file that is being written.
    pub(crate) async fn close_file(&self) -> io::Result<Closed> {
        // Before the file is looked for: this entry is in it, or in one before.
        let covers = self.last_index();
        let from = wal::open_file(&self.log());
        let store = self.clone();
        blocking(move || {
            while !wal::fill_up(&mut *store.writable()?, from)? {}
            Ok::<(), io::Error>(())
        })
        .await?;
        self.sync(|_| Ok(())).await?;
        Ok(Closed { covers, ends_by: self.last_index() })
    }

    /// The last entry of the log; 0 for none.
    pub(crate) fn last_index(&self) -> u64 {
        self.log().log_state().last().map_or(0, |place| place.index)
    }

    /// Hands what is still in memory to the system, without a sync: nobody was promised it.
    pub(crate) fn write_out(&self) {
        let written = self.writable().and_then(|mut log| log.flush(false, None));
        if let Err(error) = written {
            tracing::debug!(%error, "the hint of what is committed was not written");
        }
    }

    /// Waits until the files are gone that the last purge has freed: raft-log removes them after the purge is synced, and before
    /// whatever is synced next.
    pub(crate) async fn settle(&self) -> io::Result<()> {
        self.sync(|_| Ok(())).await?;
        self.sync(|_| Ok(())).await
    }

    /// A reference that does not keep the log open.
    pub(crate) fn released(&self) -> Released {
        Released { open: Arc::downgrade(&self.shared.open), shared: Arc::downgrade(&self.shared) }
    }

    /// Opens every entry that the log holds, and the witness; blocks.
    pub(crate) fn read_back(&self) -> io::Result<()> {
        let (mut from, end) = {
            let log = self.log();
            let state = log.log_state();
            let after = |place: Option<&Place>| place.map_or(0, |place| place.index.saturating_add(1));
            (after(state.purged()), after(state.last()))
        };
        while from < end {
            let batch = self.read(from, end.min(from.saturating_add(APPLY_BATCH)), BATCH_BYTES)?;
            // What was purged meanwhile need not be read.
            from = batch.last().map_or(end, |entry| entry.log_id.index.saturating_add(1));
        }
        let mut guard = lock(&self.shared.witness);
        guard.0.read().map(drop).map_err(io::Error::other)
    }

    /// Why writing failed, once it has.
    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.shared.synced.0).failed.clone()
    }

    /// Lets the witness follow the log; blocks. Cheap when nothing has changed.
    pub(crate) fn follow(&self) -> io::Result<()> {
        // Read under the witness's lock: a truncation holds it while it takes both back.
        self.witness(|seen| seen.synced = seen.synced.max(lock(&self.shared.synced.0).highest))
    }

    /// Changes what the witness remembers and syncs it, unless it remembers it already.
    fn witness(&self, change: impl FnOnce(&mut Seen)) -> io::Result<()> {
        let mut guard = lock(&self.shared.witness);
        let (witness, seen) = &mut *guard;
        let mut next = *seen;
        change(&mut next);
        if next == *seen {
            return Ok(());
        }
        if let Err(error) = witness.write(&next) {
            self.fail(&error);
            return Err(error);
        }
        *seen = next;
        Ok(())
    }

    fn log(&self) -> MutexGuard<'_, Wal> {
        lock(&self.shared.log)
    }

    /// The log for writing: not after a failure.
    fn writable(&self) -> io::Result<MutexGuard<'_, Wal>> {
        match self.failure() {
            None => Ok(self.log()),
            Some(failure) => Err(io::Error::other(format!("an earlier write or sync failed: {failure}"))),
        }
    }

    /// From now on nothing is written: what the disk says after a failed sync proves nothing.
    pub(crate) fn fail(&self, error: &io::Error) {
        self.shared.synced.record(None, &Err(io::Error::new(error.kind(), error.to_string())));
    }

    /// Drops the end of the log if it holds another entry than `committed` at that place, which was then never committed.
    pub(crate) async fn drop_conflicting(&mut self, committed: LogId) -> io::Result<()> {
        let held = self.read(committed.index, committed.index.saturating_add(1), 1)?;
        let Some(before) = committed.index.checked_sub(1).filter(|_| held.iter().any(|e| e.log_id != committed)) else {
            return Ok(());
        };
        let keep = self.read(before, committed.index, 1)?.first().map(|entry| entry.log_id).or(self.purged());
        self.truncate_after(keep).await
    }

    fn seal(&self, entry: &Entry) -> io::Result<(Place, Sealed)> {
        let place = Place::from(&entry.log_id);
        let plain = codec::encode_payload(&entry.payload)?;
        let aad = self.shared.owner.aad(FileKind::Log, &[place.term, place.index]);
        Ok((place, Sealed(self.shared.envelope.seal(FileKind::Log, &aad, &plain).into())))
    }

    fn open(&self, place: Place, sealed: &Sealed) -> io::Result<Entry> {
        let aad = self.shared.owner.aad(FileKind::Log, &[place.term, place.index]);
        let plain = self.shared.envelope.open(FileKind::Log, &aad, &sealed.0).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("log entry {}: {error}", place.index))
        })?;
        Ok(Entry { log_id: place.into(), payload: codec::decode_payload(&plain)? })
    }

    /// Entries from `from` up to before `to`, cut after `bytes_max` but never empty if there is one.
    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut sealed = Vec::new();
        let mut bytes = 0;
        for record in self.log().read(from, to) {
            let (place, payload) = record?;
            bytes += payload.0.len();
            sealed.push((place, payload));
            if bytes >= bytes_max {
                break;
            }
        }
        sealed.iter().map(|(place, payload)| self.open(*place, payload)).collect()
    }

    /// Flushes with a sync and waits for it.
    async fn sync(&self, write: impl FnOnce(&mut Wal) -> io::Result<()>) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        {
            let mut log = self.writable()?;
            write(&mut log)?;
            log.flush(true, Some(Flushed::Other(self.shared.synced.clone(), done)))?;
        }
        wait.await.map_err(|_| io::Error::other("the log's flush thread has stopped"))?
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + openraft::OptionalSend,
    {
        let (from, to) = bounds(&range);
        self.read(from, to, usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log().log_state().vote().map(|Ballot(vote)| *vote))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, BATCH_BYTES)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + openraft::OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + openraft::OptionalSend,
    {
        let (from, to) = bounds(&range);
        let store = self.clone();
        // A few hundred entries at a time: what a node has to catch up with may not fit in memory.
        let batches = futures::stream::unfold(Some(from), move |next| {
            let store = store.clone();
            async move {
                let from = next.filter(|from| *from < to)?;
                let read = store.read(from, to.min(from.saturating_add(APPLY_BATCH)), BATCH_BYTES);
                let (batch, next) = match read {
                    Ok(entries) => {
                        let next = entries.last().map(|entry| entry.log_id.index + 1);
                        (entries.into_iter().map(Ok).collect(), next)
                    }
                    Err(error) => (vec![Err(error)], None),
                };
                (!batch.is_empty()).then(|| (futures::stream::iter(batch), next))
            }
        });
        Box::pin(futures::StreamExt::flatten(batches))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let log = self.log();
        let state = log.log_state();
        Ok(LogState {
            last_purged_log_id: state.purged().copied().map(LogId::from),
            last_log_id: state.last().copied().map(LogId::from),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let ballot = Ballot(*vote);
        self.sync(|log| log.save_vote(ballot).map(drop)).await?;
        // After the log, so that the witness is never ahead; before the answer, so that no vote is forgotten.
        let store = self.clone();
        blocking(move || store.witness(|seen| seen.vote = Some(ballot))).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else { return Ok(()) };
        let place = Place::from(&committed);
        let mut log = self.writable()?;
        let state = log.log_state();
        // A hint for the next start: raft-log refuses one beyond its end or behind an earlier one.
        if Some(&place) > state.last() || Some(&place) < state.committed() {
            return Ok(());
        }
        // Kept in memory until something else is written, or this member stops: whoever opens with an older one is told
        // by the leader.
        log.commit(place).map(drop)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log().log_state().committed().copied().map(LogId::from))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + openraft::OptionalSend,
        I::IntoIter: openraft::OptionalSend,
    {
        let sealed = entries.into_iter().map(|entry| self.seal(&entry)).collect::<io::Result<Vec<_>>>()?;
        let Some((last, _)) = sealed.last() else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let last = *last;
        let bytes: usize = sealed.iter().map(|(_, payload)| payload.0.len() + 48).sum();
        let mut log = self.writable()?;
        log.append(sealed)?;
        lock(&self.shared.synced.0).appended_bytes += u64::try_from(bytes).unwrap_or(0);
        log.flush(true, Some(Flushed::Entries(last, self.shared.synced.clone(), callback)))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let keep = last_log_id.as_ref().map(Place::from);
        if self.log().log_state().last().copied() <= keep {
            return Ok(());
        }
        // Earlier appends report first (the flush thread keeps the order), else they would put `highest` back.
        self.sync(|_| Ok(())).await?;
        // The witness goes back before the log: between the two the log is ahead of it, which is harmless.
        let store = self.clone();
        blocking(move || {
            store.witness(|seen| {
                lock(&store.shared.synced.0).highest = keep;
                seen.synced = seen.synced.min(keep);
            })
        })
        .await?;
        self.sync(|log| log.truncate(keep.map_or(0, |place| place.index + 1)).map(drop)).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let place = Place::from(&log_id);
        self.sync(|log| log.purge(place).map(drop)).await
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    // raft-log's map panics on an inverted range.
    (from, to.max(from))
}

/// Locks; a panic elsewhere while it was held leaves data that is still whole (each change is one assignment or one
/// call into raft-log, which checks before it changes).
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
