//! Room on the disk that holds the log: looked at several times a second, so that a disk that fills up is met with a
//! clear no and not with a write that fails, after which nothing could be trusted.
//!
//! The log file that is being written has its blocks set aside from the start, so votes and the few entries that keep a
//! cluster alive can still be stored when nothing else can. It frees nothing and decides nothing about leadership.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::config::{BATCH_BYTES, Config, PAYLOAD_BYTES_MAX};

/// A log file keeps room for one batch of entries, and as much again for votes.
const KEPT_BYTES: u64 = 2 * (BATCH_BYTES + PAYLOAD_BYTES_MAX) as u64;
/// Blocks are counted in units of so many bytes, whatever their size (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// How much a member can still store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Room {
    /// Everything.
    #[default]
    Enough,
    /// A leader takes no more changes, only what keeps the cluster alive, and hands over to a member with room.
    Low,
    /// A follower takes no entries; votes and heartbeats go on.
    None,
}

/// The bounds between them, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermarks {
    /// Below so much free space there is little room.
    pub low: u64,
    /// At so much there is enough again.
    pub enough: u64,
    /// Below so much there is none, once the log file that is being written is nearly full too.
    pub none: u64,
}

/// What was last seen, with what was taken since; clones share it.
#[derive(Clone)]
pub(crate) struct Gauge {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    log_folder: PathBuf,
    file_bytes: u64,
    kept_bytes: u64,
    marks: Watermarks,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    room: Room,
    /// Free space of the file system.
    free: u64,
    /// What the log can grow by without a write that fails.
    budget: u64,
}

impl Gauge {
    /// Looks at once, so that nothing is taken before.
    pub(crate) fn open(config: &Config) -> io::Result<Self> {
        let file_bytes = u64::try_from(config.log_chunk_bytes).map_err(io::Error::other)?;
        let shared = Shared {
            folder: config.folder.clone(),
            log_folder: config.log_folder(),
            file_bytes,
            // A log of small files, as in tests, keeps a part of one.
            kept_bytes: KEPT_BYTES.min(file_bytes / 4),
            marks: config.watermarks,
            seen: Mutex::default(),
        };
        let gauge = Self { shared: Arc::new(shared) };
        gauge.look()?;
        Ok(gauge)
    }

    /// Looks at the disk; blocks, but not for long.
    pub(crate) fn look(&self) -> io::Result<Room> {
        if cfg!(chancery_sim) {
            // Simulated disks do not fill up.
            *self.seen() = Seen { room: Room::Enough, free: u64::MAX, budget: u64::MAX };
            return Ok(Room::Enough);
        }
        let shared = &*self.shared;
        let file_left = match last_log_file(&shared.log_folder)? {
            Some(path) => set_aside(&path, shared.file_bytes)?,
            None => 0,
        };
        let stat = statvfs(&shared.folder)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let mut seen = self.seen();
        let room = judge(shared.marks, seen.room, free, file_left, shared.kept_bytes);
        if room != seen.room {
            let folder = shared.folder.display();
            match room {
                Room::Enough => tracing::info!(%folder, free, "the disk has room again"),
                Room::Low => tracing::warn!(%folder, free, "the disk is nearly full: no changes are taken"),
                Room::None => tracing::error!(%folder, free, "the disk is full: no entries are taken"),
            }
        }
        let outside = free.saturating_sub(shared.marks.none);
        *seen = Seen { room, free, budget: file_left.max(outside).saturating_sub(shared.kept_bytes) };
        Ok(room)
    }

    /// What was last seen.
    pub(crate) fn room(&self) -> Room {
        self.seen().room
    }

    /// Free space when it was last looked at.
    pub(crate) fn free(&self) -> u64 {
        self.seen().free
    }

    /// Whether so much fits beside what a log needs to grow: a snapshot is not written into the last of the room.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        self.lacks(bytes).is_none()
    }

    /// How many bytes more have to be free before so much fits.
    pub(crate) fn lacks(&self, bytes: u64) -> Option<u64> {
        let needed = bytes.saturating_add(self.shared.marks.low);
        Some(needed.saturating_sub(self.free())).filter(|lacks| *lacks > 0)
    }

    /// Takes room for entries of so many bytes; false when there is none, and then nothing is taken.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let mut seen = self.seen();
        if seen.room == Room::None || seen.budget < bytes {
            return false;
        }
        seen.budget -= bytes;
        true
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file that the log is being written to: the one with the highest name.
fn last_log_file(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut last: Option<PathBuf> = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            last = last.max(Some(path));
        }
    }
    Ok(last)
}

/// Sets blocks aside for a whole file without changing its length; how many bytes can be appended without asking the file
/// system for more.
fn set_aside(path: &Path, bytes: u64) -> io::Result<u64> {
    // Purged and removed between two steps: the next look finds the file after it.
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(0) } else { Err(error) };
    let mut held = match fs::metadata(path) {
        Ok(held) => held,
        Err(error) => return gone(error),
    };
    if held.blocks().saturating_mul(STAT_BLOCK_BYTES) < bytes {
        let file = match File::options().write(true).open(path) {
            Ok(file) => file,
            Err(error) => return gone(error),
        };
        // Without room, or on a file system that cannot do it, the log lives from the free space.
        if let Err(error) = fallocate(&file, FallocateFlags::KEEP_SIZE, 0, bytes) {
            tracing::debug!(%error, path = %path.display(), "no blocks were set aside for the log");
        }
        held = file.metadata()?;
    }
    Ok(held.blocks().saturating_mul(STAT_BLOCK_BYTES).min(bytes).saturating_sub(held.len()))
}

fn judge(marks: Watermarks, before: Room, free: u64, file_left: u64, kept: u64) -> Room {
    if free < marks.none && file_left < 2 * kept {
        return Room::None;
    }
    // Between the two marks it stays as it was, so that it does not flap.
    let low = free < marks.low || (before != Room::Enough && free < marks.enough);
    if low { Room::Low } else { Room::Enough }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Watermarks = Watermarks { low: 100, enough: 200, none: 10 };

    #[test]
    fn it_gets_low_at_one_mark_and_enough_at_a_higher_one() {
        let mut room = Room::Enough;
        for (free, expected) in
            [(150, Room::Enough), (99, Room::Low), (150, Room::Low), (200, Room::Enough), (150, Room::Enough)]
        {
            room = judge(MARKS, room, free, 50, 8);
            assert_eq!(room, expected, "{free}");
        }
    }

    #[test]
    fn there_is_none_only_when_the_open_file_is_nearly_full_too() {
        assert_eq!(judge(MARKS, Room::Low, 0, 50, 8), Room::Low);
        assert_eq!(judge(MARKS, Room::Low, 0, 15, 8), Room::None);
        assert_eq!(judge(MARKS, Room::Low, 10, 15, 8), Room::Low, "a new file can be begun");
        assert_eq!(judge(MARKS, Room::None, 150, 0, 8), Room::Low);
        assert_eq!(judge(MARKS, Room::None, 200, 0, 8), Room::Enough);
    }

    #[test]
    fn blocks_are_set_aside_and_the_length_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r-1.wal");
        fs::write(&path, [7; 100]).unwrap();
        let left = set_aside(&path, 1 << 20).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 100);
        assert_eq!(left, (1 << 20) - 100);
        assert_eq!(last_log_file(folder.path()).unwrap(), Some(path.clone()));
        fs::remove_file(&path).unwrap();
        assert_eq!(set_aside(&path, 1 << 20).unwrap(), 0);
    }
}
