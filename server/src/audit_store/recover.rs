//! Opening a log after whatever happened: find its end, cut a torn write, refuse everything that is more than that.

use std::path::Path;

use audit::{Head, LogName};

use super::disk::{Disk, LogFile};
use super::error::OpenError;
use super::files::{LogFiles, Segment, path_of};
use super::frame::{Header, Tail, proves_durable};

/// A log that is ready to be appended to.
pub(super) struct Recovered {
    pub(super) files: LogFiles,
    pub(super) tail: Tail,
    /// The last file, and how long it is.
    pub(super) file: Box<dyn LogFile>,
    pub(super) len: u64,
    /// Bytes of a torn write that were cut.
    pub(super) cut_bytes: u64,
}

/// Opens or makes a log that has to contain `anchored`; the cluster log may end before it.
pub(super) fn recover(disk: &dyn Disk, dir: &Path, anchored: &Head) -> Result<Recovered, OpenError> {
    let log = anchored.log;
    let files = LogFiles::list(dir, log)?;
    let segments = files.segments();
    let Some(last) = segments.last() else {
        let tail = Tail::default();
        check_anchor(anchored, &tail, dir)?;
        let (file, len) = begin_file(disk, dir, log, &tail).map_err(OpenError::io(dir))?;
        files.push(0);
        return Ok(Recovered { files, tail, file, len, cut_bytes: 0 });
    };
    if let Some(first) = segments.first().filter(|segment| segment.first != 0) {
        let why = "the files before this one are missing";
        return Err(OpenError::Damaged { log, index: 0, file: first.path.clone(), why });
    }
    // Closed files before the anchored head are vouched for by the header after them until somebody runs `verify`; of a
    // log that may end before its anchor, all closed ones.
    let vouched = if is_only_here(log) { anchored.size } else { anchored.size.max(last.first) };
    let from = segments.partition_point(|segment| segment.first <= vouched).saturating_sub(1);
    let mut scan = Scan { anchored, dir, tail: None };
    let mut end = End { kept: 0, cut: 0 };
    for segment in segments.iter().skip(from) {
        end = scan.file(segment, segment.first == last.first)?;
    }
    let tail = scan.tail.unwrap_or_default();
    check_anchor(anchored, &tail, dir)?;
    let file = disk.open(&last.path, end.kept).map_err(OpenError::io(&last.path))?;
    Ok(Recovered { files, tail, file, len: end.kept, cut_bytes: end.cut })
}

/// Begins a file: it has its name only when its header is durable.
pub(super) fn begin_file(
    disk: &dyn Disk,
    dir: &Path,
    log: LogName,
    tail: &Tail,
) -> std::io::Result<(Box<dyn LogFile>, u64)> {
    let path = path_of(dir, tail.frontier.size());
    let temporary = path.with_extension("tmp");
    let header = Header { log, tail: tail.clone() }.to_bytes();
    let mut file = disk.create(&temporary)?;
    file.append(&header)?;
    file.sync()?;
    disk.publish(&temporary, &path)?;
    Ok((file, header.len() as u64))
}

/// Where a file's good part ends and how much follows it.
struct End {
    kept: u64,
    cut: u64,
}

struct Scan<'a> {
    anchored: &'a Head,
    dir: &'a Path,
    /// The end of everything scanned; `None` before the first file.
    tail: Option<Tail>,
}

impl Scan<'_> {
    fn file(&mut self, segment: &Segment, is_last: bool) -> Result<End, OpenError> {
        let bytes = std::fs::read(&segment.path).map_err(OpenError::io(&segment.path))?;
        let log = self.anchored.log;
        let damaged = |index, why| OpenError::Damaged { log, index, file: segment.path.clone(), why };
        let header = Header::read(&bytes).filter(|(header, _)| header.log == log);
        let Some((header, mut at)) = header else {
            return Err(damaged(segment.first, "the header of the file does not verify"));
        };
        if header.tail.frontier.size() != segment.first || self.tail.as_ref().is_some_and(|tail| *tail != header.tail) {
            return Err(damaged(segment.first, "the file does not follow on the one before it"));
        }
        let mut tail = header.tail;
        self.compare(&tail)?;
        while let Some(frame) = bytes.get(at..).and_then(|rest| tail.take(rest)) {
            at += frame.len;
            self.compare(&tail)?;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let size = tail.frontier.size();
        if !rest.is_empty() {
            if !is_last {
                return Err(damaged(size, "the record does not verify and a later file follows"));
            }
            if size < self.anchored.size && is_only_here(log) {
                return Err(damaged(size, "the record does not verify and was anchored"));
            }
            if proves_durable(&tail.chain, rest, size) {
                return Err(damaged(size, "the record does not verify and a later one says that it was durable"));
            }
        }
        self.tail = Some(tail);
        Ok(End { kept: at as u64, cut: rest.len() as u64 })
    }

    fn compare(&self, tail: &Tail) -> Result<(), OpenError> {
        if tail.frontier.size() == self.anchored.size { check_anchor(self.anchored, tail, self.dir) } else { Ok(()) }
    }
}

/// Whether nobody else has the log. The leaves of the cluster log are made again by replay, or fetched from any
/// member, and state may well be ahead of them; of a node's own log there is no other copy to be sure of.
const fn is_only_here(log: LogName) -> bool {
    matches!(log, LogName::Node(_))
}

/// A log is at least as long as its anchored head, and the same where they meet.
fn check_anchor(anchored: &Head, tail: &Tail, dir: &Path) -> Result<(), OpenError> {
    let Head { log, size, root } = *anchored;
    let held = tail.frontier.size();
    if held < size && is_only_here(log) {
        return Err(OpenError::Shorter { log, dir: dir.to_owned(), held, anchored: size });
    }
    if held == size && tail.frontier.root() != root {
        return Err(OpenError::Changed { log, anchored: size });
    }
    Ok(())
}
