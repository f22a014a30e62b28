//! The simulated side of `log/wal.rs`: raft-log's door over a [`Disk`], with raft-log's refusals.

use std::io;

use raft_log::Segment;
use raft_log::api::raft_log_writer::RaftLogWriter;

use super::disk::{Disk, Image, Record};
use crate::config::Config;
use crate::error::OpenError;
use crate::log::{Ballot, Flushed, LogTypes, Place, Sealed, Seen};

/// The write-ahead log of one process.
pub(crate) struct Wal {
    disk: Disk,
    image: Image,
    vote: Option<Ballot>,
}

/// Opens what the disk holds. A cut leaves no torn record here, so there is never a tail to judge.
#[expect(clippy::unnecessary_wraps, reason = "the door of log/wal.rs")]
pub(crate) fn open(config: &Config, _: impl FnOnce(&Seen) -> Result<(), OpenError>) -> Result<Wal, OpenError> {
    let disk = Disk::of(config.node);
    let image = disk.image();
    Ok(Wal { disk, image, vote: None })
}

/// A record that was purged is gone at once here: there are no files.
pub(crate) type FileNumber = u64;

/// The file that is being written: there is none.
pub(crate) const fn open_file(_: &Wal) -> FileNumber {
    0
}

/// Nothing to fill up.
#[expect(clippy::unnecessary_wraps, reason = "the door of log/wal.rs")]
pub(crate) const fn fill_up(_: &mut Wal, _: FileNumber) -> io::Result<bool> {
    Ok(true)
}

impl Wal {
    pub(crate) const fn log_state(&self) -> &Image {
        &self.image
    }

    pub(crate) fn on_disk_size(&self) -> u64 {
        self.image.entries.values().map(|(_, sealed)| sealed.0.len() as u64 + 48).sum()
    }

    pub(crate) fn read(&self, from: u64, to: u64) -> impl Iterator<Item = io::Result<(Place, Sealed)>> + '_ {
        self.image.entries.range(from..to).map(|(_, entry)| Ok(entry.clone()))
    }

    fn write(&mut self, record: Record) -> io::Result<Segment> {
        self.disk.write(record.clone(), self.image.last().copied());
        self.image.follow(record);
        Ok(Segment::new(0, 0))
    }
}

impl RaftLogWriter<LogTypes> for Wal {
    fn save_user_data(&mut self, _: Option<u64>) -> io::Result<Segment> {
        Ok(Segment::new(0, 0))
    }

    fn save_vote(&mut self, vote: Ballot) -> io::Result<Segment> {
        let held = self.image.vote().copied();
        if Some(vote) >= held {
            self.vote = Some(vote);
            return self.write(Record::Vote(vote));
        }
        Err(io::Error::other(format!("the vote goes back from {held:?} to {vote:?}")))
    }

    fn append<I: IntoIterator<Item = (Place, Sealed)>>(&mut self, entries: I) -> io::Result<Segment> {
        for (place, sealed) in entries {
            let last = self.image.last().copied();
            if last.is_some_and(|last| place <= last || place.index != last.index + 1) {
                return Err(io::Error::other(format!("{place:?} does not follow {last:?}")));
            }
            self.write(Record::Append(place, sealed))?;
        }
        Ok(Segment::new(0, 0))
    }

    fn truncate(&mut self, index: u64) -> io::Result<Segment> {
        let purged = self.image.purged().copied();
        let keep = if index == purged.map_or(0, |purged| purged.index + 1) {
            purged
        } else {
            let kept = index.checked_sub(1).and_then(|last| self.image.entries.get(&last));
            let (place, _) = kept.ok_or_else(|| io::Error::other(format!("there is no entry before {index}")))?;
            Some(*place)
        };
        if keep < self.image.committed().copied() {
            return Err(io::Error::other(format!("cutting back to {keep:?} would cut off what is committed")));
        }
        self.write(Record::Truncate(keep))
    }

    fn purge(&mut self, upto: Place) -> io::Result<Segment> {
        if self.image.purged().is_some_and(|purged| upto.index <= purged.index) {
            return Ok(Segment::new(0, 0));
        }
        self.write(Record::Purge(upto))
    }

    fn commit(&mut self, place: Place) -> io::Result<Segment> {
        if Some(&place) < self.image.committed() || Some(&place) > self.image.last() {
            return Err(io::Error::other(format!("{place:?} cannot be committed")));
        }
        self.write(Record::Commit(place))
    }

    fn flush(&mut self, sync: bool, callback: Option<Flushed>) -> io::Result<()> {
        self.disk.flush(sync, self.vote.take(), callback);
        Ok(())
    }
}
