//! Opening the log: trust it, cut a torn tail, or refuse.
//!
//! A log may end in a record that was being written when the power went; nobody was told that it was stored, so it may
//! be cut. A log that ends below what the witness saw synced, or whose vote is older, has lost something that others
//! were told: such a node must not vote again. raft-log on its own would cut both with a warning.

use std::io;
use std::sync::Arc;

use raft_log::{Dump, DumpApi, RaftLog, RaftLogAction, WALRecord};

use super::record::{Ballot, LogTypes, Place};
use super::store::LogStore;
use super::witness::{Seen, Witness};
use crate::config::Config;
use crate::envelope::{Envelope, Owner};
use crate::error::OpenError;
use types::limits;

/// Opens or makes the log of this member; blocks.
pub(crate) fn open(config: &Config, envelope: Arc<dyn Envelope>) -> Result<LogStore, OpenError> {
    let folder = config.log_folder();
    std::fs::create_dir_all(&folder)
        .map_err(OpenError::io(format!("cannot make the log folder `{}`", folder.display())))?;
    let owner = Owner { cluster: config.cluster, node: config.node };
    let witness = Witness::new(config.witness.clone(), owner, Arc::clone(&envelope));
    let seen = witness.read()?;

    let log = match RaftLog::open(wal_config(config, false)) {
        Ok(log) => log,
        Err(error) if is_locked(&error) => {
            return Err(OpenError::io(format!("the raft log `{}` is in use by another process", folder.display()))(
                error,
            ));
        }
        Err(error) => {
            let ends = readable(config).map_err(|why| damaged(config, format!("{error}; {why}")))?;
            check(config, seen.as_ref(), &ends)?;
            tracing::warn!(%error, folder = %folder.display(), "the log ends in a record that was never acknowledged; it is cut");
            RaftLog::open(wal_config(config, true)).map_err(|error| damaged(config, error.to_string()))?
        }
    };
    let state = log.log_state();
    let ends = Seen { vote: state.vote().copied(), synced: state.last().copied() };
    check(config, seen.as_ref(), &ends)?;

    if seen.is_none() {
        // Before the first record: from here on a missing witness, or a missing log, is noticed.
        witness
            .write(&Seen::default())
            .map_err(OpenError::io(format!("cannot write the witness `{}`", witness.path().display())))?;
    }
    Ok(LogStore::new(log, witness, seen.unwrap_or_default(), owner, envelope))
}

fn wal_config(config: &Config, cut_torn_tail: bool) -> Arc<raft_log::Config> {
    let mut settings = raft_log::Config::new(config.log_folder().display());
    settings.wal.chunk_max_size = Some(config.log_chunk_bytes);
    settings.wal.truncate_incomplete_record = Some(cut_torn_tail);
    // The default of 1 ms delays every lone append; zero turns group commit off.
    settings.wal.flush_batch_wait = Some(std::time::Duration::from_micros(5));
    settings.wal.read_buffer_size = Some(1_024 * 1_024);
    settings.log_cache_capacity = Some(limits::LOG_CACHE_BYTES);
    settings.log_cache_max_items = Some(100_000);
    Arc::new(settings)
}

/// Where the readable part of the log ends, without changing a byte.
fn readable(config: &Config) -> Result<Seen, String> {
    let dump = Dump::<LogTypes>::new(wal_config(config, false)).map_err(|error| error.to_string())?;
    let mut ends = Seen::default();
    let mut broken = false;
    let walked = dump.write_with(|_, _, record| {
        let Ok((_, record)) = record else {
            broken = true;
            return Ok(());
        };
        // A record after a broken one is not a torn tail: something in the middle is gone.
        if broken {
            return Err(io::Error::other("a record in the middle does not read"));
        }
        follow(&mut ends, record);
        Ok(())
    });
    walked.map(|()| ends).map_err(|error| error.to_string())
}

fn follow(ends: &mut Seen, record: raft_log::RaftLogRecord<LogTypes>) {
    match record {
        WALRecord::Action(RaftLogAction::SaveVote(vote)) => ends.vote = Some(vote),
        WALRecord::Action(RaftLogAction::Append(place, _)) => ends.synced = Some(place),
        WALRecord::Action(RaftLogAction::TruncateAfter(place)) => ends.synced = place,
        WALRecord::Action(RaftLogAction::PurgeUpto(place)) => ends.synced = ends.synced.max(Some(place)),
        WALRecord::Action(RaftLogAction::Commit(_)) => {}
        WALRecord::Checkpoint(state) => {
            *ends = Seen { vote: state.vote().copied(), synced: state.last().copied() };
        }
    }
}

/// Refuses a log that has forgotten.
fn check(config: &Config, seen: Option<&Seen>, ends: &Seen) -> Result<(), OpenError> {
    let Some(seen) = seen else {
        if ends.vote.is_none() && ends.synced.is_none() {
            return Ok(());
        }
        return Err(damaged(
            config,
            format!("there is a log but no witness at `{}` to vouch for its end", config.witness.display()),
        ));
    };
    if ends.synced < seen.synced {
        return Err(damaged(
            config,
            format!("it ends at {} but had been synced up to {}", place(ends.synced), place(seen.synced)),
        ));
    }
    // Votes are partially ordered: `None` from the comparison is a vote for another node in the same term.
    let kept = match (&ends.vote, &seen.vote) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(held), Some(seen)) => held >= seen,
    };
    if kept {
        return Ok(());
    }
    Err(damaged(config, format!("its vote is {} but {} had been saved", ballot(ends.vote), ballot(seen.vote))))
}

fn damaged(config: &Config, why: impl Into<String>) -> OpenError {
    OpenError::Damaged { folder: config.log_folder(), why: why.into() }
}

fn is_locked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("lock")
}

fn place(place: Option<Place>) -> String {
    place.map_or_else(|| "nothing".to_owned(), |p| format!("entry {} of term {}", p.index, p.term))
}

fn ballot(ballot: Option<Ballot>) -> String {
    ballot.map_or_else(|| "none".to_owned(), |Ballot(vote)| format!("`{vote}`"))
}
