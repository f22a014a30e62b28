//! The folder of snapshots: at most two, named by position, the newest good one first.
//!
//! A file that does not read is set aside under another name, never deleted and never counted: the log is purged only
//! below files that were read back.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::durable;
use super::file::{Cipher, SnapshotReader, SnapshotWriter, place_of};
use crate::system::fs;
use crate::type_config::SnapshotMeta;

/// How many snapshots are kept.
const KEPT: usize = 2;

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
        let (temporaries, verified) = (AtomicU64::new(0), Mutex::default());
        Ok(Self { shared: Arc::new(Shared { folder, cipher, temporaries, verified }) })
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

    /// The newest snapshot, without reading it to its end.
    pub(crate) fn newest(&self) -> io::Result<Option<SnapshotFile>> {
        let Some(position) = self.positions()?.last().copied() else { return Ok(None) };
        let (_, meta) = self.reader_at(position)?;
        Ok(Some(SnapshotFile { path: self.path(position), meta }))
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
        durable::publish(&file.path, &path)?;
        self.mark_verified(position);
        self.trim()?;
        Ok(SnapshotFile { path, meta: file.meta.clone() })
    }

    /// Removes a temporary snapshot that will not be put.
    pub(crate) fn discard(file: &SnapshotFile) {
        if let Err(error) = fs::remove_file(&file.path) {
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
        durable::publish(&path, &path.with_extension("damaged"))
    }

    fn trim(&self) -> io::Result<()> {
        let positions = self.positions()?;
        let surplus = positions.len().saturating_sub(KEPT);
        for position in positions.into_iter().take(surplus) {
            fs::remove_file(self.path(position))?;
        }
        durable::sync_folder_of(&self.shared.folder.join("any"))
    }

    fn positions(&self) -> io::Result<Vec<Position>> {
        let mut positions = Vec::new();
        for entry in fs::read_dir(&self.shared.folder)? {
            positions.extend(Position::parse(&entry?.path()));
        }
        positions.sort_unstable();
        Ok(positions)
    }

    fn path(&self, position: Position) -> PathBuf {
        self.shared.folder.join(format!("{:020}-{:020}.snapshot", position.next_index, position.term))
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

    fn parse(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".snapshot")?;
        let (next_index, term) = name.split_once('-')?;
        Some(Self { next_index: next_index.parse().ok()?, term: term.parse().ok()? })
    }
}
