//! Erasing: a member's disk made to hold nothing of before an entry (docs/spec/destroy.md §2).
//!
//! First the file of the log that holds the entry is closed: raft-log removes whole files only. Then two snapshots are taken past
//! its last entry, so that the log is purged past it and the file goes. Overwriting is left to the disk: everything in these
//! files is sealed.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::ChangeError;
use crate::handle::RaftHandle;
use crate::machine::Machine;

/// Snapshots that a member keeps: each has to be newer than what is erased.
const SNAPSHOTS: usize = 2;

/// What is asked for and what was done, between whoever asks and the member's duties.
#[derive(Debug)]
pub(crate) struct Erasing(watch::Sender<Progress>);

/// A file of the log that takes no more entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Closed {
    /// No entry up to this one is in a later file.
    pub(crate) covers: u64,
    /// No entry past this one is in it: it goes once the log is purged so far.
    pub(crate) ends_by: u64,
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Progress {
    /// Up to which entry somebody wants the disk erased.
    wanted: u64,
    /// The last file that was closed.
    closed: Option<Closed>,
    /// The last entry that nothing on the disk holds any more, as far as this process knows.
    erased: Option<u64>,
    /// Bytes that the disk lacks for a snapshot: nothing is closed and none is taken meanwhile.
    lacks: Option<u64>,
}

impl Default for Erasing {
    fn default() -> Self {
        Self(watch::channel(Progress::default()).0)
    }
}

impl Erasing {
    /// Whether somebody waits for something to be erased.
    pub(crate) fn is_wanted(&self) -> bool {
        let Progress { wanted, erased, .. } = *self.0.borrow();
        wanted > 0 && erased < Some(wanted)
    }

    /// Whether the disk has room for what an erasure writes, as it was just found.
    pub(crate) fn found_room(&self, lacks: Option<u64>) {
        self.0.send_if_modified(|progress| std::mem::replace(&mut progress.lacks, lacks) != lacks);
    }

    /// Whether the file of the log that is being written is to be closed.
    pub(crate) fn wants_closing(&self) -> bool {
        let Progress { wanted, closed, .. } = *self.0.borrow();
        wanted > 0 && closed.is_none_or(|file| file.covers < wanted)
    }

    /// It was closed.
    pub(crate) fn closed(&self, file: Closed) {
        self.0.send_modify(|progress| progress.closed = Some(file));
    }

    /// Up to which entry nothing is left once the files go that a log purged so far frees. What was appended since may stand in
    /// the file that is being written, however far the log is purged.
    pub(crate) fn goes_with(&self, purged: u64) -> Option<u64> {
        let Progress { closed, erased, .. } = *self.0.borrow();
        let file = closed.filter(|file| purged >= file.ends_by)?;
        Some(file.covers).filter(|covers| erased.is_none_or(|erased| erased < *covers))
    }

    /// They are gone.
    pub(crate) fn erased(&self, upto: u64) {
        self.0.send_modify(|progress| progress.erased = progress.erased.max(Some(upto)));
    }
}

impl<M: Machine> RaftHandle<M> {
    /// Makes this member's disk hold nothing of the entries up to `upto`; returns up to which one, that or a later one. The
    /// applied state must not hold it any more either, or the snapshots do.
    ///
    /// # Errors
    /// When it is not done in time, and when the disk has no room for a snapshot; asked again, it goes on.
    pub async fn erase(&self, upto: u64, deadline: Duration) -> Result<u64, ChangeError> {
        let by = Instant::now() + deadline;
        let mut progress = self.erasing().0.subscribe();
        self.erasing().0.send_modify(|progress| progress.wanted = progress.wanted.max(upto));
        let covers = |file: Option<Closed>| file.is_some_and(|file| file.covers >= upto);
        let closed = progress
            .wait_for(|progress| covers(progress.closed) || progress.erased >= Some(upto) || progress.lacks.is_some());
        let closed = tokio::time::timeout_at(by, closed).await.map_err(|_| ChangeError::NoQuorum)?;
        let last = {
            let progress = closed.map_err(|_| ended())?;
            has_room(&progress)?;
            progress.closed.map_or(upto, |file| file.ends_by)
        };
        let taken = usize::from(self.status().snapshot >= Some(last));
        for _ in taken..SNAPSHOTS {
            // Two snapshots of one entry are one file.
            self.await_past(last, by).await?;
            has_room(&progress.borrow())?;
            self.trigger_snapshot(by.saturating_duration_since(Instant::now())).await?;
        }
        let erased = progress.wait_for(|progress| progress.erased >= Some(upto));
        let erased = tokio::time::timeout_at(by, erased).await.map_err(|_| ChangeError::NoQuorum)?;
        Ok(erased.map_err(|_| ended())?.erased.unwrap_or(upto))
    }

    /// Waits until an entry at or past `least` was applied that the newest snapshot does not hold.
    async fn await_past(&self, least: u64, by: Instant) -> Result<(), ChangeError> {
        let mut status = self.watch_status();
        let past = status.wait_for(|status| status.applied >= Some(least) && status.applied > status.snapshot);
        match tokio::time::timeout_at(by, past).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ended()),
            Err(_) => Err(ChangeError::NoQuorum),
        }
    }
}

/// A snapshot is not written into the last of the room: what is destroyed is never served, and can wait on the disk.
fn has_room(progress: &Progress) -> Result<(), ChangeError> {
    match progress.lacks {
        Some(lacks) if progress.erased < Some(progress.wanted) => Err(ChangeError::NoRoom { lacks }),
        _ => Ok(()),
    }
}

fn ended() -> ChangeError {
    ChangeError::Fatal("the member has stopped".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log goes on while a file is closed and snapshots are taken: a purge past what came since does not take it from the file
    /// that is being written.
    #[test]
    fn only_what_the_closed_file_covers_is_erased() {
        let erasing = Erasing::default();
        erasing.0.send_modify(|progress| progress.wanted = 100);
        assert!(erasing.wants_closing());
        erasing.closed(Closed { covers: 100, ends_by: 103 });
        assert!(!erasing.wants_closing());
        assert_eq!((erasing.goes_with(102), erasing.goes_with(400)), (None, Some(100)));
        erasing.erased(100);
        assert_eq!(erasing.goes_with(400), None);
        // Something was destroyed meanwhile.
        erasing.0.send_modify(|progress| progress.wanted = 300);
        assert!(erasing.wants_closing());
        erasing.closed(Closed { covers: 400, ends_by: 400 });
        assert_eq!(erasing.goes_with(400), Some(400));
    }
}
