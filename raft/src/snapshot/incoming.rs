//! A snapshot that is being received: what has arrived is on the disk, sealed, and is gone on from after a cut.
//!
//! The file has the form of a finished snapshot without its end. After a restart it is read from the beginning: what
//! opens and follows on counts, the rest is cut off.

use std::io;
use std::path::PathBuf;

use super::file::{Cipher, SnapshotReader, SnapshotWriter, place_of};
use super::shelf::SnapshotFile;
use super::sum::{Sum, Tally};
use crate::type_config::SnapshotMeta;

/// A snapshot of which some chunks are here; all methods block.
pub(crate) struct Incoming {
    path: PathBuf,
    cipher: Cipher,
    meta: SnapshotMeta,
    writer: SnapshotWriter,
    tally: Tally,
}

impl Incoming {
    /// Goes on with what the file holds of that very snapshot, or begins it.
    pub(super) fn open(path: PathBuf, cipher: Cipher, meta: &SnapshotMeta) -> io::Result<Self> {
        match Self::resume(path.clone(), cipher.clone(), place_of(meta)) {
            Ok(found) if found.meta == *meta => Ok(found),
            Ok(_) => Self::begin(path, cipher, meta.clone()),
            Err(error) if may_begin_anew(&error) => Self::begin(path, cipher, meta.clone()),
            Err(error) => Err(error),
        }
    }

    /// Goes on with what the file holds of the snapshot of that position.
    pub(super) fn resume(path: PathBuf, cipher: Cipher, place: [u64; 2]) -> io::Result<Self> {
        let (mut reader, meta) = SnapshotReader::open(&path, cipher.clone(), place)?;
        let (mut tally, mut end) = (Tally::default(), reader.offset());
        // A chunk that does not read ends what is held, like the end of the file.
        while let Ok(Some(chunk)) = reader.next_chunk() {
            tally.add(&chunk);
            end = reader.offset();
        }
        let writer = SnapshotWriter::resume(&path, cipher.clone(), &meta, end, tally.sum())?;
        Ok(Self { path, cipher, meta, writer, tally })
    }

    fn begin(path: PathBuf, cipher: Cipher, meta: SnapshotMeta) -> io::Result<Self> {
        let writer = SnapshotWriter::create(&path, cipher.clone(), &meta)?;
        Ok(Self { path, cipher, meta, writer, tally: Tally::default() })
    }

    /// Forgets what has arrived.
    pub(crate) fn restart(self) -> io::Result<Self> {
        let Self { path, cipher, meta, writer, .. } = self;
        drop(writer);
        Self::begin(path, cipher, meta)
    }

    pub(crate) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// What is here.
    pub(crate) fn held(&self) -> Sum {
        self.tally.sum()
    }

    /// Adds the next chunk.
    pub(crate) fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.writer.chunk(chunk)?;
        self.tally.add(chunk);
        Ok(())
    }

    /// Ends the file and syncs it; it still has to be read back and put on the shelf.
    pub(crate) fn finish(self) -> io::Result<SnapshotFile> {
        self.writer.finish()?;
        Ok(SnapshotFile::new(self.path, self.meta))
    }
}

/// Whether the error says that there is nothing to go on with, and not that the disk fails.
fn may_begin_anew(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}
