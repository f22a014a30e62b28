//! raft-log's files: their settings, and a torn tail told from damage.
//!
//! raft-log on its own would cut both with a warning. Whether the readable part may be trusted is `open`'s to say.

use std::io;
use std::sync::Arc;

use raft_log::{Dump, DumpApi, RaftLog, RaftLogAction, WALRecord};
use types::limits;

use super::open::damaged;
use super::record::LogTypes;
use super::witness::Seen;
use crate::config::Config;
use crate::error::OpenError;

/// The write-ahead log.
pub(super) type Wal = RaftLog<LogTypes>;

/// Opens or makes the files. A tail that does not read is cut only after `check` has accepted what precedes it; blocks.
pub(super) fn open(config: &Config, check: impl FnOnce(&Seen) -> Result<(), OpenError>) -> Result<Wal, OpenError> {
    let folder = config.log_folder();
    match RaftLog::open(wal_config(config, false)) {
        Ok(log) => Ok(log),
        Err(error) if is_locked(&error) => {
            Err(OpenError::io(format!("the raft log `{}` is in use by another process", folder.display()))(error))
        }
        Err(error) => {
            let ends = readable(config).map_err(|why| damaged(config, format!("{error}; {why}")))?;
            check(&ends)?;
            tracing::warn!(%error, folder = %folder.display(), "the log ends in a record that was never acknowledged; it is cut");
            RaftLog::open(wal_config(config, true)).map_err(|error| damaged(config, error.to_string()))
        }
    }
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

fn is_locked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("lock")
}
