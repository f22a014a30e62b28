//! The snapshot file: magic, then sealed records, each bound to the snapshot's position and its own number
//! (docs/spec/raft-files.md). The last one is marked as such and counts the others, so that a cut is noticed.

use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use types::limits::SNAPSHOT_CHUNK_BYTES;

use super::sum::Sum;
use crate::codec;
use crate::envelope::{Envelope, FileKind, Owner};
use crate::system::fs::{File, OpenOptions};
use crate::type_config::{SnapshotMeta, log_id_parts};

/// First bytes of the file: name and version.
const MAGIC: [u8; 8] = *b"CHsnaps1";
/// A record may be this much longer than its plaintext.
const SEAL_BYTES_MAX: usize = 4_096;

/// So much is handed to the disk at once. A file of hundreds of megabytes that is synced only at its end makes every sync
/// of the log wait behind it meanwhile, because the file system orders data before the journal.
const SYNC_BYTES: usize = 1 << 20;

/// How a record is marked in its additional data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Head = 0,
    Chunk = 1,
    End = 2,
}

/// The last record.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug, Default, Clone, Copy)]
pub(crate) struct End {
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
}

/// Seals and opens the records of one snapshot.
#[derive(Clone)]
pub(crate) struct Cipher {
    pub(crate) owner: Owner,
    pub(crate) envelope: Arc<dyn Envelope>,
}

/// Writes one snapshot; blocks.
pub(crate) struct SnapshotWriter {
    out: BufWriter<File>,
    cipher: Cipher,
    /// Term and next index of the snapshot.
    place: [u64; 2],
    buffer: Vec<u8>,
    records: u64,
    /// Bytes since the last sync.
    unsynced: usize,
    end: End,
}

/// Reads one snapshot's bytes; blocks.
pub(crate) struct SnapshotReader {
    input: BufReader<File>,
    cipher: Cipher,
    place: [u64; 2],
    records: u64,
    /// Bytes of the file that have been read and opened.
    offset: u64,
    seen: End,
    /// Bytes of the current chunk that have not been read.
    current: io::Cursor<Vec<u8>>,
    done: bool,
}

/// Term and next index: what every record of a snapshot is bound to. No snapshot of an applied entry has next index 0.
pub(crate) fn place_of(meta: &SnapshotMeta) -> [u64; 2] {
    meta.last_log_id.as_ref().map_or([0, 0], |id| {
        let (term, index) = log_id_parts(id);
        [term, index + 1]
    })
}

impl Cipher {
    fn aad(&self, place: [u64; 2], number: u64, part: Part) -> Vec<u8> {
        let [term, next_index] = place;
        self.owner.aad(FileKind::Snapshot, &[term, next_index, number, part as u64])
    }
}

impl SnapshotWriter {
    /// Begins a file at `path`, which must not matter if it exists.
    pub(crate) fn create(path: &Path, cipher: Cipher, meta: &SnapshotMeta) -> io::Result<Self> {
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&MAGIC)?;
        let mut writer = Self {
            out,
            cipher,
            place: place_of(meta),
            buffer: Vec::with_capacity(SNAPSHOT_CHUNK_BYTES),
            records: 0,
            unsynced: 0,
            end: End::default(),
        };
        writer.record(Part::Head, &codec::encode_membership(&meta.last_membership)?)?;
        Ok(writer)
    }

    /// Goes on with a file whose first `length` bytes hold the head and these chunks; what follows them is cut off.
    pub(super) fn resume(path: &Path, cipher: Cipher, meta: &SnapshotMeta, length: u64, held: Sum) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Self {
            out: BufWriter::new(file),
            cipher,
            place: place_of(meta),
            buffer: Vec::new(),
            // The head is record 0.
            records: held.chunks + 1,
            unsynced: 0,
            end: End { chunks: held.chunks, bytes: held.bytes },
        })
    }

    /// Adds bytes of the state.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = SNAPSHOT_CHUNK_BYTES - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == SNAPSHOT_CHUNK_BYTES {
                self.buffered_chunk()?;
            }
        }
        Ok(())
    }

    /// Ends the file and syncs it. It still has to be given its name.
    pub(crate) fn finish(mut self) -> io::Result<End> {
        if !self.buffer.is_empty() {
            self.buffered_chunk()?;
        }
        let end = postcard::to_stdvec(&self.end).map_err(io::Error::other)?;
        self.record(Part::End, &end)?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        Ok(self.end)
    }

    /// Adds one chunk as it is, at most [`SNAPSHOT_CHUNK_BYTES`].
    pub(crate) fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.record(Part::Chunk, chunk)?;
        self.end.chunks += 1;
        self.end.bytes += u64::try_from(chunk.len()).map_err(io::Error::other)?;
        Ok(())
    }

    fn buffered_chunk(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.buffer);
        self.chunk(&chunk)?;
        self.buffer = chunk;
        self.buffer.clear();
        Ok(())
    }

    fn record(&mut self, part: Part, plain: &[u8]) -> io::Result<()> {
        let aad = self.cipher.aad(self.place, self.records, part);
        let sealed = self.cipher.envelope.seal(FileKind::Snapshot, &aad, plain);
        let length = u32::try_from(sealed.len()).map_err(io::Error::other)?;
        self.out.write_all(&[part as u8])?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&sealed)?;
        self.records += 1;
        self.unsynced += sealed.len();
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.out.flush()?;
            self.out.get_ref().sync_data()?;
        }
        Ok(())
    }
}

impl SnapshotReader {
    /// Opens the snapshot of that position and reads its head.
    pub(crate) fn open(path: &Path, cipher: Cipher, place: [u64; 2]) -> io::Result<(Self, SnapshotMeta)> {
        let mut input = BufReader::new(File::open(path)?);
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(damaged("it is not a snapshot of version 1"));
        }
        let mut reader = Self {
            input,
            cipher,
            place,
            records: 0,
            offset: MAGIC.len() as u64,
            seen: End::default(),
            current: io::Cursor::default(),
            done: false,
        };
        let (part, head) = reader.record()?;
        if part != Part::Head {
            return Err(damaged("it does not start with a head"));
        }
        let [term, next_index] = place;
        let meta = SnapshotMeta {
            last_log_id: next_index.checked_sub(1).map(|index| crate::type_config::log_id(term, index)),
            last_membership: codec::decode_membership(&head)?,
        };
        Ok((reader, meta))
    }

    /// The next bytes of the state, at most [`SNAPSHOT_CHUNK_BYTES`]; `None` at the end, which has been checked then.
    pub(crate) fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.done {
            return Ok(None);
        }
        let (part, bytes) = self.record()?;
        match part {
            Part::Chunk => {
                self.seen.chunks += 1;
                self.seen.bytes += u64::try_from(bytes.len()).map_err(io::Error::other)?;
                Ok(Some(bytes))
            }
            Part::End => {
                let end: End = postcard::from_bytes(&bytes).map_err(io::Error::other)?;
                if end != self.seen || self.input.read(&mut [0])? != 0 {
                    return Err(damaged("its end does not fit what precedes or follows it"));
                }
                self.done = true;
                Ok(None)
            }
            Part::Head => Err(damaged("it has two heads")),
        }
    }

    /// Where the last record that was read ends in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads to the end; an error means that the file must not be relied on.
    pub(crate) fn verify(mut self) -> io::Result<End> {
        while self.next_chunk()?.is_some() {}
        Ok(self.seen)
    }

    fn record(&mut self) -> io::Result<(Part, Vec<u8>)> {
        let mut frame = [0; 5];
        self.input.read_exact(&mut frame)?;
        let [kind, length @ ..] = frame;
        let part = match kind {
            0 => Part::Head,
            1 => Part::Chunk,
            2 => Part::End,
            _ => return Err(damaged("a record of unknown kind")),
        };
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
        if length > SNAPSHOT_CHUNK_BYTES + SEAL_BYTES_MAX {
            return Err(damaged("a record is too long"));
        }
        let mut sealed = vec![0; length];
        self.input.read_exact(&mut sealed)?;
        let aad = self.cipher.aad(self.place, self.records, part);
        let plain = self.cipher.envelope.open(FileKind::Snapshot, &aad, &sealed).map_err(damaged)?;
        self.records += 1;
        self.offset += u64::try_from(frame.len() + sealed.len()).map_err(io::Error::other)?;
        Ok((part, plain))
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.current.read(out)?;
            if read > 0 || out.is_empty() {
                return Ok(read);
            }
            match self.next_chunk()? {
                Some(chunk) => self.current = io::Cursor::new(chunk),
                None => return Ok(0),
            }
        }
    }
}

fn damaged(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the snapshot is damaged: {why}"))
}
