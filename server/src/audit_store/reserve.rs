//! Room set aside for records: on a full disk it is given back to the file system piece by piece, so that crypto goes
//! on while it lasts. It is made whole again when the disk has room.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

/// Given back in pieces of at least this size: a file system frees whole blocks.
const PIECE_BYTES: u64 = 1_024 * 1_024;
/// Records are taken again when there is so much room.
const ROOM_AGAIN_BYTES: u64 = 8 * PIECE_BYTES;
/// How often it looks whether there is room again.
const REFILL_EVERY: Duration = Duration::from_secs(10);

/// A file of allocated blocks beside the logs.
pub(super) struct Reserve {
    path: PathBuf,
    wanted_bytes: u64,
    state: Mutex<State>,
    /// A write found the disk full and nothing left to give.
    spent: AtomicBool,
}

struct State {
    file: File,
    left_bytes: u64,
    looked: Instant,
}

impl Reserve {
    /// Sets the room aside. On a disk without so much room there is no reserve, and the log says so.
    pub(super) fn open(path: &Path, wanted_bytes: u64) -> io::Result<Self> {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        let mut state = State { file, left_bytes: 0, looked: Instant::now() };
        match state.fill(wanted_bytes) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                state.file.set_len(0)?;
                tracing::warn!(path = %path.display(), wanted_bytes, "no room for the audit reserve");
            }
            other => other?,
        }
        Ok(Self { path: path.to_owned(), wanted_bytes, state: Mutex::new(state), spent: AtomicBool::new(false) })
    }

    /// Bytes that are left.
    pub(super) fn left_bytes(&self) -> u64 {
        self.lock().left_bytes
    }

    /// Gives back room for so many bytes; whether there was any left to give.
    pub(super) fn give(&self, bytes: u64) -> bool {
        let mut state = self.lock();
        let left = state.left_bytes.saturating_sub(bytes.max(PIECE_BYTES));
        if state.left_bytes == 0 || state.file.set_len(left).is_err() {
            self.spent.store(true, Ordering::Relaxed);
            return false;
        }
        state.left_bytes = left;
        tracing::warn!(path = %self.path.display(), left_bytes = left, "the disk is full: using the audit reserve");
        true
    }

    /// Whether nothing can be recorded until the disk has room: it was found full, nothing is left, and it still is.
    pub(super) fn is_spent(&self) -> bool {
        if !self.spent.load(Ordering::Relaxed) {
            return false;
        }
        let still = free_bytes(&self.lock().file) < ROOM_AGAIN_BYTES;
        self.spent.store(still, Ordering::Relaxed);
        still
    }

    /// Makes it whole when it is not and the disk has room for it twice over. Cheap to call often.
    pub(super) fn refill(&self) {
        let mut state = self.lock();
        if state.left_bytes < self.wanted_bytes && state.looked.elapsed() >= REFILL_EVERY {
            state.looked = Instant::now();
            self.refill_now(&mut state);
        }
    }

    fn refill_now(&self, state: &mut State) {
        if free_bytes(&state.file) / 2 < self.wanted_bytes {
            return;
        }
        let left_bytes = state.left_bytes;
        if let Err(error) = state.fill(self.wanted_bytes) {
            tracing::warn!(path = %self.path.display(), %error, "the audit reserve could not be refilled");
            // Blocks that the attempt got go back; what was left before is still counted.
            let _ = state.file.set_len(left_bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn free_bytes(file: &File) -> u64 {
    fstatvfs(file).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}

impl State {
    fn fill(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > 0 {
            fallocate(&self.file, FallocateFlags::empty(), 0, bytes)?;
        }
        // Another configuration may have set more aside.
        self.file.set_len(bytes)?;
        self.left_bytes = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn it_holds_blocks_gives_them_back_and_takes_them_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("reserve");
        let blocks = || std::fs::metadata(&path).expect("a file").blocks() * 512;
        let reserve = Reserve::open(&path, 3 * PIECE_BYTES).expect("opens");
        assert!(blocks() >= 3 * PIECE_BYTES, "real blocks, not a hole");
        assert!(reserve.give(1));
        assert_eq!(reserve.left_bytes(), 2 * PIECE_BYTES);
        assert!(blocks() < 3 * PIECE_BYTES);
        assert!(reserve.give(5 * PIECE_BYTES));
        assert_eq!((reserve.left_bytes(), blocks()), (0, 0));
        assert!(!reserve.give(1), "nothing left to give");
        reserve.refill_now(&mut reserve.lock());
        assert_eq!(reserve.left_bytes(), 3 * PIECE_BYTES);
        drop(reserve);
        assert_eq!(Reserve::open(&path, 2 * PIECE_BYTES).expect("opens").left_bytes(), 2 * PIECE_BYTES);
        assert_eq!(Reserve::open(&path, 0).expect("opens").left_bytes(), 0);
    }
}
