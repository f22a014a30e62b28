//! The folder of snapshots: at most two, named by position, the newest good one first; beside them at most one that is
//! being received.
//!
//! A file that does not read is set aside under another name, never deleted and never counted: the log is purged only
//! below files that were read back.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::durable;
use super::file::{Cipher, SnapshotReader, SnapshotWriter, place_of};
use super::incoming::Incoming;
use crate::system::fs;
use crate::type_config::SnapshotMeta;

/// How many snapshots are kept.
const KEPT: usize = 2;
/// How the names of complete snapshots end.
const COMPLETE: &str = "snapshot";
/// How the name of one that is being received ends.
const INCOMING: &str = "incoming";

/// The snapshots of this member; clones share it. All methods block.
#[derive(Clone)]
pub(crate) struct Shelf {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    cipher: Cipher,
    temporaries: AtomicU64,
    /// Positions that were read back since they were written or since this process started.
    verified: Mutex<BTreeSet<Position>>,
    /// One was set aside since somebody last asked: another is wanted.
    lost: AtomicBool,
}

/// A snapshot file that is complete and synced: on the shelf, or received and not yet installed.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    path: PathBuf,
    meta: SnapshotMeta,
}

/// Next index and term: the order of snapshots and their file name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Position {
    next_index: u64,
    term: u64,
}

impl SnapshotFile {
    pub(super) fn new(path: PathBuf, meta: SnapshotMeta) -> Self {
        Self { path, meta }
    }

    pub(crate) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(fs::metadata(&self.path)?.len())
    }
}

impl Shelf {
    /// Opens the folder, making it if absent, and removes what a crash left half written.
    pub(crate) fn open(folder: PathBuf, cipher: Cipher) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(&path)?;
            }
        }
        let (temporaries, verified, lost) = (AtomicU64::new(0), Mutex::default(), AtomicBool::new(false));
        Ok(Self { shared: Arc::new(Shared { folder, cipher, temporaries, verified, lost }) })
    }

    /// The newest snapshot that reads to its end. Newer ones that do not are set aside.
    pub(crate) fn newest_good(&self) -> io::Result<Option<SnapshotFile>> {
        for position in self.positions()?.into_iter().rev() {
            match self.verify(position) {
                Ok(file) => return Ok(Some(file)),
                Err(error) => self.set_aside(position, &error)?,
            }
        }
        Ok(None)
    }

    /// The newest snapshot, read no further than its head. Newer ones whose head does not read are set aside.
    pub(crate) fn newest(&self) -> io::Result<Option<SnapshotFile>> {
        for position in self.positions()?.into_iter().rev() {
            match self.reader_at(position) {
                Ok((_, meta)) => return Ok(Some(SnapshotFile { path: self.path(position), meta })),
                Err(error) => self.set_aside(position, &error)?,
            }
        }
        Ok(None)
    }

    /// Begins to receive that snapshot, or goes on with what has arrived of it. A part of any other is dropped: it was
    /// superseded.
    pub(crate) fn incoming(&self, meta: &SnapshotMeta) -> io::Result<Incoming> {
        let path = self.path(Position::of(meta)).with_extension(INCOMING);
        for (other, _) in self.incomings()? {
            if other != path {
                durable::remove(&other)?;
            }
        }
        Incoming::open(path, self.shared.cipher.clone(), meta)
    }

    /// What an earlier attempt to receive a snapshot has left, if it reads.
    pub(crate) fn partly_received(&self) -> io::Result<Option<Incoming>> {
        let Some((path, position)) = self.incomings()?.pop() else { return Ok(None) };
        let place = [position.term, position.next_index];
        Ok(Incoming::resume(path, self.shared.cipher.clone(), place).ok())
    }

    /// Whether a snapshot was set aside since this was last asked.
    pub(crate) fn has_lost_one(&self) -> bool {
        self.shared.lost.swap(false, Ordering::Relaxed)
    }

    /// Removes the damaged snapshots that were set aside.
    pub(crate) fn drop_damaged(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.shared.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "damaged") {
                durable::remove(&path)?;
            }
        }
        durable::sync_folder_of(&self.shared.folder.join("any"))
    }

    /// Sets a snapshot aside that did not read; without effect on one that has no place on the shelf.
    pub(crate) fn give_up(&self, file: &SnapshotFile, error: &io::Error) -> io::Result<()> {
        let position = Position::of(&file.meta);
        if self.path(position) == file.path && fs::metadata(&file.path).is_ok() {
            self.set_aside(position, error)
        } else {
            Ok(())
        }
    }

    /// Begins a snapshot under a temporary name.
    pub(crate) fn begin(&self, meta: &SnapshotMeta) -> io::Result<(SnapshotWriter, SnapshotFile)> {
        let number = self.shared.temporaries.fetch_add(1, Ordering::Relaxed);
        let path = self.shared.folder.join(format!("{number}.tmp"));
        let writer = SnapshotWriter::create(&path, self.shared.cipher.clone(), meta)?;
        Ok((writer, SnapshotFile { path, meta: meta.clone() }))
    }

    /// Puts a finished snapshot on the shelf, after reading it back, and drops all but the newest two.
    pub(crate) fn put(&self, file: &SnapshotFile) -> io::Result<SnapshotFile> {
        let position = Position::of(&file.meta);
        self.reader(file)?.verify()?;
        let path = self.path(position);
        if let Err(error) = durable::publish(&file.path, &path) {
            // It may have its name, but perhaps not durably: the log must not be purged below it.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.mark_verified(position);
        self.trim()?;
        Ok(SnapshotFile { path, meta: file.meta.clone() })
    }

    /// Removes a temporary snapshot that will not be put.
    pub(crate) fn discard(file: &SnapshotFile) {
        if let Err(error) = durable::remove(&file.path) {
            tracing::debug!(%error, path = %file.path.display(), "a temporary snapshot was not removed; the next start removes it");
        }
    }

    /// Opens a snapshot for reading.
    pub(crate) fn reader(&self, file: &SnapshotFile) -> io::Result<SnapshotReader> {
        Ok(SnapshotReader::open(&file.path, self.shared.cipher.clone(), place_of(&file.meta))?.0)
    }

    /// The last entry that both kept snapshots hold: the log may go up to there. `None` unless there are two, each of
    /// which has been read back; one that does not read is set aside.
    pub(crate) fn purgeable(&self) -> io::Result<Option<u64>> {
        let positions = self.positions()?;
        for position in &positions {
            if !self.is_verified(*position)
                && let Err(error) = self.verify(*position)
            {
                self.set_aside(*position, &error)?;
                return Ok(None);
            }
        }
        let [older, _] = positions.as_slice() else { return Ok(None) };
        Ok(older.next_index.checked_sub(1))
    }

    /// Opens every record of every snapshot that is kept.
    pub(crate) fn read_back(&self) -> io::Result<()> {
        self.positions()?.into_iter().try_for_each(|position| self.reader_at(position)?.0.verify().map(drop))
    }

    fn verify(&self, position: Position) -> io::Result<SnapshotFile> {
        let (reader, meta) = self.reader_at(position)?;
        reader.verify()?;
        self.mark_verified(position);
        Ok(SnapshotFile { path: self.path(position), meta })
    }

    fn reader_at(&self, position: Position) -> io::Result<(SnapshotReader, SnapshotMeta)> {
        let place = [position.term, position.next_index];
        SnapshotReader::open(&self.path(position), self.shared.cipher.clone(), place)
    }

    fn set_aside(&self, position: Position, error: &io::Error) -> io::Result<()> {
        let path = self.path(position);
        tracing::error!(%error, path = %path.display(), "a snapshot does not read; it is set aside as .damaged");
        self.shared.lost.store(true, Ordering::Relaxed);
        self.shared.verified.lock().unwrap_or_else(PoisonError::into_inner).remove(&position);
        durable::publish(&path, &path.with_extension("damaged"))
    }

    fn trim(&self) -> io::Result<()> {
        let positions = self.positions()?;
        let surplus = positions.len().saturating_sub(KEPT);
        for position in positions.into_iter().take(surplus) {
            // Under a name that the next start removes: half of it is gone before it is.
            let number = self.shared.temporaries.fetch_add(1, Ordering::Relaxed);
            let path = self.shared.folder.join(format!("{number}.tmp"));
            durable::publish(&self.path(position), &path)?;
            durable::remove(&path)?;
        }
        let newest = self.positions()?.last().copied();
        for (path, position) in self.incomings()? {
            if Some(position) <= newest {
                durable::remove(&path)?;
            }
        }
        durable::sync_folder_of(&self.shared.folder.join("any"))
    }

    fn positions(&self) -> io::Result<Vec<Position>> {
        let mut positions = Vec::new();
        for entry in fs::read_dir(&self.shared.folder)? {
            positions.extend(Position::parse(&entry?.path(), COMPLETE));
        }
        positions.sort_unstable();
        Ok(positions)
    }

    /// Snapshots that are being received: one, unless a crash came between two.
    fn incomings(&self) -> io::Result<Vec<(PathBuf, Position)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.shared.folder)? {
            let path = entry?.path();
            found.extend(Position::parse(&path, INCOMING).map(|position| (path, position)));
        }
        found.sort_unstable_by_key(|(_, position)| *position);
        Ok(found)
    }

    fn path(&self, position: Position) -> PathBuf {
        self.shared.folder.join(format!("{:020}-{:020}.{COMPLETE}", position.next_index, position.term))
    }

    fn mark_verified(&self, position: Position) {
        self.shared.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(position);
    }

    fn is_verified(&self, position: Position) -> bool {
        self.shared.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(&position)
    }
}

impl Position {
    fn of(meta: &SnapshotMeta) -> Self {
        let [term, next_index] = place_of(meta);
        Self { next_index, term }
    }

    fn parse(path: &Path, extension: &str) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(extension)?.strip_suffix('.')?;
        let (next_index, term) = name.split_once('-')?;
        Some(Self { next_index: next_index.parse().ok()?, term: term.parse().ok()? })
    }
}
