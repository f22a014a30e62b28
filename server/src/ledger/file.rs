//! The ledger on the disk (docs/spec/ledger.md §2): one writer at a time by a lock on the file, what follows the last known line
//! verified first, a torn tail cut, file and folder synced. Blocks.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use audit::{LedgerEnd, LedgerError, LedgerFact, LedgerLine, LedgerReader};
use crypto::sign::P256Signer;
use state::{State, Untold};
use types::{Generation, Millis, SpkiHash, Time};

/// How long a ledger may end with the same mark: a backup is newer than the ledger until the next.
const MARKED_EVERY: Millis = Millis::from_hours(1);

/// When the end is to be marked although there is nothing to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// Never.
    WithFacts,
    /// When the last one is old.
    WhenOld,
    /// In any case.
    Now,
}

/// Why the ledger was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerFault {
    #[error("`{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("`{}`: {source}; move it away, and restart the node: it begins one with all that the cluster remembers", path.display())]
    Unsound { path: PathBuf, source: LedgerError },
    #[error("`{}` was removed, cut or replaced by an older copy since this node wrote to it: put it back, or restart the node", path.display())]
    Cut { path: PathBuf },
    #[error("`{}` tells of generation {found} of the cluster, this node is of generation {own}: a restore has replaced it", path.display())]
    LaterLife { path: PathBuf, found: Generation, own: Generation },
    #[error("`{}` tells of entry {found} of this generation, this node has applied {own}: where that does not pass within seconds, the cluster was set back, by a copy of its disks or a restore that was made again; move the file away, keep it, and restart the node", path.display())]
    Ahead { path: PathBuf, found: u64, own: u64 },
    #[error("`{}` was not written in time", path.display())]
    Slow { path: PathBuf },
    #[error("the cluster key cannot be read")]
    Key,
}

/// A ledger and what this node knows of it.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    path: PathBuf,
    known: Option<Known>,
    /// What is in the file may never reach the disk, whatever the next sync says: a sync failed, in this process or, for all
    /// that it knows, in the one before.
    unsynced: bool,
}

/// What was read and verified: it must still be there.
#[derive(Clone, Debug)]
struct Known {
    reader: LedgerReader,
    /// Bytes of the last line, with its line break.
    last_line: u64,
    /// When the last line says that it was.
    at: Time,
}

impl LedgerFile {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, known: None, unsynced: true }
    }

    /// Has everything in the file that state knows to be gone; returns where it ends. Costs no look at the disk when this node
    /// has told all of it already.
    pub(crate) fn append(&mut self, state: &State, signer: &P256Signer, mark: Mark) -> Result<LedgerEnd, LedgerFault> {
        let here = (state.generation(), state.index());
        if let Some(known) = &self.known
            && !self.unsynced
            && known.reader.end().last <= here
            && mark != Mark::Now
            && !(mark == Mark::WhenOld && known.is_old(state))
            && state.ledger_facts(known.reader.end().marked).is_empty()
        {
            return Ok(known.reader.end());
        }
        let mut file = self.open()?;
        file.lock().map_err(|source| self.io(source))?;
        let mut known = self.read(&mut file, signer)?;
        let (own, found) = (state.generation(), known.reader.end().last.0);
        if found > own {
            return Err(LedgerFault::LaterLife { path: self.path.clone(), found, own });
        }
        if known.reader.end().last > here {
            // Another node writes to it, and has applied more: so will this one soon. What this one knows by then is told then;
            // whoever waits for an answer waits for that, for the marks beyond it say nothing of what this node has applied.
            let path = self.path.clone();
            let ahead = LedgerFault::Ahead { path, found: known.reader.end().last.1, own: here.1 };
            return if mark == Mark::WhenOld { Ok(known.reader.end()) } else { Err(ahead) };
        }
        let due = mark == Mark::Now || (mark == Mark::WhenOld && known.is_old(state));
        let text = lines(state, signer, known.reader.end(), due);
        // Read as everybody will read it, before it is there.
        known.read(text.as_bytes()).map_err(|source| LedgerFault::Unsound { path: self.path.clone(), source })?;
        let written = file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(text.as_bytes()));
        let synced = written.and_then(|()| file.sync_all()).and_then(|()| sync_folder(&self.path));
        if let Err(source) = synced {
            // What of it is there is read again by the next attempt.
            self.unsynced = true;
            return Err(self.io(source));
        }
        (self.unsynced, self.known) = (false, Some(known.clone()));
        Ok(known.reader.end())
    }

    /// A ledger that this node has written to is not begun a second time.
    fn open(&self) -> Result<File, LedgerFault> {
        let known = self.known.is_some();
        let opened = OpenOptions::new().read(true).write(true).create(!known).truncate(false).open(&self.path);
        opened.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound if known => LedgerFault::Cut { path: self.path.clone() },
            _ => self.io(source),
        })
    }

    /// Verifies what follows the last line that this node knows, which must still be there, and cuts a torn tail.
    fn read(&self, file: &mut File, signer: &P256Signer) -> Result<Known, LedgerFault> {
        let fresh = || Known {
            reader: LedgerReader::new(SpkiHash(crypto::hash::sha256(&signer.spki_der()))),
            last_line: 0,
            at: Time::EPOCH,
        };
        let mut known = self.known.clone().unwrap_or_else(fresh);
        let end = known.reader.end();
        let from = end.bytes.saturating_sub(known.last_line);
        let mut bytes = Vec::new();
        let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut bytes));
        read.map_err(|source| self.io(source))?;
        let split = usize::try_from(known.last_line).ok().and_then(|last| bytes.split_at_checked(last));
        let (last, tail) = split.ok_or_else(|| LedgerFault::Cut { path: self.path.clone() })?;
        let last = last.strip_suffix(b"\n").unwrap_or(last);
        if end.next > 0 && crypto::hash::sha256(last) != end.previous {
            return Err(LedgerFault::Cut { path: self.path.clone() });
        }
        let torn = known.read(tail);
        let torn = torn.map_err(|source| LedgerFault::Unsound { path: self.path.clone(), source })?;
        let whole = known.reader.end().bytes;
        if torn > 0 {
            tracing::warn!(path = %self.path.display(), bytes = torn, "the last write to the ledger was cut off: it is made again");
            file.set_len(whole).map_err(|source| self.io(source))?;
        }
        if self.unsynced {
            // Dirty once more, so that the next sync is one of these bytes.
            let kept = tail.len().saturating_sub(usize::try_from(torn).unwrap_or(usize::MAX));
            let again = file.seek(SeekFrom::Start(end.bytes));
            let again = again.and_then(|_| file.write_all(tail.get(..kept).unwrap_or_default()));
            again.map_err(|source| self.io(source))?;
        }
        Ok(known)
    }

    pub(crate) fn io(&self, source: io::Error) -> LedgerFault {
        LedgerFault::Io { path: self.path.clone(), source }
    }
}

impl Known {
    /// Reads on; how many bytes of a torn write are left.
    fn read(&mut self, bytes: &[u8]) -> Result<u64, LedgerError> {
        let before = self.reader.end();
        let (ledger, error) = self.reader.read(bytes);
        if let Some(error) = error {
            return Err(error);
        }
        if let Some(last) = ledger.lines.last() {
            let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            let whole = whole.get(..whole.len().saturating_sub(usize::try_from(ledger.torn).unwrap_or(0)));
            let whole = whole.unwrap_or_default();
            let whole = whole.strip_suffix(b"\n").unwrap_or(whole);
            let line = whole.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
            self.last_line = (line as u64).saturating_add(1).min(ledger.end.bytes.saturating_sub(before.bytes));
            self.at = last.at;
        }
        Ok(ledger.torn)
    }

    fn is_old(&self, state: &State) -> bool {
        state.time() >= self.at.after(MARKED_EVERY)
    }
}

/// What is to be appended: each time with a mark at its end, for only up to there a reader knows that nothing is missing.
fn lines(state: &State, signer: &P256Signer, mut end: LedgerEnd, mark: bool) -> String {
    let mut text = String::new();
    let Some(cluster) = state.cluster().map(|cluster| cluster.id) else { return text };
    let own = state.generation();
    let mut facts = state.ledger_facts(end.marked);
    if end.next == 0 {
        let fact = LedgerFact::Begun(signer.spki_der());
        facts.insert(0, Untold { generation: Generation::FIRST, index: 0, at: Time::EPOCH, fact });
    }
    if !facts.is_empty() || (mark && end.marked < (own, state.index())) {
        facts.push(Untold { generation: own, index: state.index(), at: state.time(), fact: LedgerFact::Mark });
    }
    for Untold { generation, index, at, fact } in facts {
        // What is told once more after a write that was cut off stands where the file is by now.
        let (generation, index) = (generation, index).max(end.last);
        let line = LedgerLine { number: end.next, previous: end.previous, cluster, generation, index, at, fact };
        let (body, signed) = line.to_body();
        let whole = LedgerLine::join(&body, &signer.sign(&signed));
        end = end.after(&line, &whole);
        text.push_str(&whole);
        text.push('\n');
    }
    text
}

/// The file itself may be new.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[path = "file_test.rs"]
mod tests;
