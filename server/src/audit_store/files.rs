//! The files of one log, for reading: which there are, where a record stands, records in order.
//!
//! Every frame read is checked against the chain. Who may read how far is the caller's business: only durable records.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use audit::{LogName, leaf_hash};

use super::error::{OpenError, ReadError};
use super::frame::{CHAIN_BYTES, Chain, FRAME_HEAD_BYTES, FrameHead, Header, link};

/// A position is remembered for every so many records, so that a read skips at most so many.
const MARK_EVERY: u64 = 256;

/// The files of one log.
pub(super) struct LogFiles {
    pub(super) log: LogName,
    pub(super) dir: PathBuf,
    /// In order; the last one is being written.
    segments: RwLock<Vec<Arc<Segment>>>,
}

/// One file.
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) path: PathBuf,
    /// Where records `first + i * MARK_EVERY` stand, as far as somebody has read.
    marks: Mutex<Vec<u64>>,
}

impl Segment {
    pub(super) fn new(dir: &Path, first: u64) -> Self {
        Self { first, path: path_of(dir, first), marks: Mutex::default() }
    }
}

/// The file that begins with that record.
pub(super) fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// Makes a folder whose name survives a power cut: a synced file in a folder that nobody synced is lost with it.
pub(super) fn make_folder(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

impl LogFiles {
    /// The files in a log's folder, which is made if it is not there. Files half made by a crash are removed.
    pub(super) fn list(dir: &Path, log: LogName) -> Result<Self, OpenError> {
        make_folder(dir).map_err(OpenError::io(dir))?;
        let mut firsts = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(OpenError::io(dir))? {
            let path = entry.map_err(OpenError::io(dir))?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("log") => {
                    firsts.extend(path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u64>().ok()))
                }
                Some("tmp") => std::fs::remove_file(&path).map_err(OpenError::io(&path))?,
                _ => {}
            }
        }
        firsts.sort_unstable();
        let segments = firsts.into_iter().map(|first| Arc::new(Segment::new(dir, first))).collect();
        Ok(Self { log, dir: dir.to_owned(), segments: RwLock::new(segments) })
    }

    /// The files, in order.
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A file was begun.
    pub(super) fn push(&self, first: u64) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(Segment::new(&self.dir, first)));
    }

    /// Hands the leaves from `from` on, before `until`, to `take` until it says that it has enough.
    pub(super) fn read(
        &self,
        from: u64,
        until: u64,
        mut take: impl FnMut(u64, Vec<u8>) -> bool,
    ) -> Result<(), ReadError> {
        let mut next = from;
        while next < until {
            let segments = self.segments();
            let after = segments.partition_point(|segment| segment.first <= next);
            let damaged = ReadError::Damaged { log: self.log, index: next, why: "its file is missing" };
            let Some(segment) = after.checked_sub(1).and_then(|at| segments.get(at)) else { return Err(damaged) };
            let end = segments.get(after).map_or(until, |following| following.first.min(until));
            let mut reader = SegmentReader::open(self.log, segment, next)?;
            while next < end {
                if !take(next, reader.next_leaf()?) {
                    return Ok(());
                }
                next += 1;
            }
        }
        Ok(())
    }
}

/// Reads one file from a record on.
struct SegmentReader<'a> {
    log: LogName,
    segment: &'a Segment,
    file: BufReader<File>,
    chain: Chain,
    next: u64,
    at: u64,
}

impl<'a> SegmentReader<'a> {
    fn open(log: LogName, segment: &'a Segment, index: u64) -> Result<Self, ReadError> {
        let file = File::open(&segment.path).map_err(ReadError::io(&segment.path))?;
        let mut reader =
            Self { log, segment, file: BufReader::new(file), chain: Chain::default(), next: segment.first, at: 0 };
        let mark = {
            let marks = segment.marks.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = usize::try_from((index - segment.first) / MARK_EVERY).unwrap_or(usize::MAX);
            let best = wanted.min(marks.len().saturating_sub(1));
            marks.get(best).map(|at| (best, *at))
        };
        match mark {
            Some((i, at)) if i > 0 => {
                // The hash before a frame is the last of the frame before it.
                let before =
                    at.checked_sub(CHAIN_BYTES as u64).ok_or_else(|| reader.damaged("its place is impossible"))?;
                reader.file.seek(SeekFrom::Start(before)).map_err(ReadError::io(&segment.path))?;
                reader.chain = reader.bytes()?;
                reader.next = segment.first + i as u64 * MARK_EVERY;
                reader.at = at;
            }
            _ => reader.skip_header()?,
        }
        while reader.next < index {
            reader.next_leaf()?;
        }
        Ok(reader)
    }

    fn skip_header(&mut self) -> Result<(), ReadError> {
        let io = ReadError::io(&self.segment.path);
        let mut bytes = Vec::new();
        self.file.by_ref().take(Header::BYTES_MAX as u64).read_to_end(&mut bytes).map_err(io)?;
        let read = Header::read(&bytes)
            .filter(|(header, _)| header.log == self.log && header.tail.frontier.size() == self.segment.first);
        let Some((header, len)) = read else { return Err(self.damaged("the header of its file does not verify")) };
        self.file.seek(SeekFrom::Start(len as u64)).map_err(ReadError::io(&self.segment.path))?;
        self.chain = header.tail.chain;
        self.at = len as u64;
        Ok(())
    }

    fn next_leaf(&mut self) -> Result<Vec<u8>, ReadError> {
        self.mark();
        let head: [u8; FRAME_HEAD_BYTES] = self.bytes()?;
        let Some(FrameHead { leaf_bytes, synced }) = FrameHead::read(&head) else {
            return Err(self.damaged("it does not begin as a record"));
        };
        let mut leaf = vec![0; leaf_bytes];
        self.file.read_exact(&mut leaf).map_err(|e| self.short(e))?;
        let chain: Chain = self.bytes()?;
        if link(&self.chain, synced, leaf_hash(&leaf)) != chain {
            return Err(self.damaged("its hash does not verify"));
        }
        self.chain = chain;
        self.next += 1;
        self.at += (FRAME_HEAD_BYTES + leaf_bytes + CHAIN_BYTES) as u64;
        Ok(leaf)
    }

    fn mark(&self) {
        let index = self.next - self.segment.first;
        if index.is_multiple_of(MARK_EVERY) {
            let mut marks = self.segment.marks.lock().unwrap_or_else(PoisonError::into_inner);
            if marks.len() as u64 == index / MARK_EVERY {
                marks.push(self.at);
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(|e| self.short(e))?;
        Ok(bytes)
    }

    fn short(&self, error: std::io::Error) -> ReadError {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            self.damaged("its file ends before it does")
        } else {
            ReadError::io(&self.segment.path)(error)
        }
    }

    fn damaged(&self, why: &'static str) -> ReadError {
        ReadError::Damaged { log: self.log, index: self.next, why }
    }
}
