//! raft-log's files: their settings, and a torn tail told from damage.
//!
//! raft-log on its own would cut both with a warning. Whether the readable part may be trusted is `open`'s to say.

use std::fs;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::codeq::Decode;
use raft_log::{ChunkId, Dump, DumpApi, RaftLog, RaftLogAction, RaftLogRecord, WALRecord};
use types::limits;

use super::open::damaged;
use super::record::LogTypes;
use super::witness::Seen;
use crate::config::Config;
use crate::error::OpenError;

/// Records after which a file of the log is closed.
const RECORDS_MAX: usize = 32_768;
/// Records that are written while the log is held, so that nobody waits for long.
const FILLED_BETWEEN_LOOKS: usize = 256;
const FILLED_AT_ONCE: usize = 8;

/// The write-ahead log.
pub(super) type Wal = RaftLog<LogTypes>;

/// Opens or makes the files. What does not read at the end is cut only after `check` has accepted what precedes it, and
/// what is missing at the beginning is noticed; blocks.
pub(super) fn open(config: &Config, check: impl Fn(&Seen) -> Result<(), OpenError>) -> Result<Wal, OpenError> {
    // raft-log removes a last file whose first record does not read, even where it must not cut, and cannot cope with any
    // other: so judge before it does.
    if !last_file_begins(config)? {
        check(&readable(config).map_err(|why| damaged(config, why))?)?;
    }
    let log = open_files(config, check)?;
    check_beginning(config, &log)?;
    Ok(log)
}

fn open_files(config: &Config, check: impl Fn(&Seen) -> Result<(), OpenError>) -> Result<Wal, OpenError> {
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
    settings.wal.chunk_max_records = Some(RECORDS_MAX);
    settings.wal.chunk_max_size = Some(config.log_chunk_bytes);
    settings.wal.truncate_incomplete_record = Some(cut_torn_tail);
    // The default of 1 ms delays every lone append; zero turns group commit off.
    settings.wal.flush_batch_wait = Some(std::time::Duration::from_micros(5));
    settings.wal.read_buffer_size = Some(1_024 * 1_024);
    settings.log_cache_capacity = Some(limits::LOG_CACHE_BYTES);
    settings.log_cache_max_items = Some(100_000);
    Arc::new(settings)
}

/// Closes the file that is being written, so that what was purged goes with it: raft-log removes whole files only, and closes
/// one when it has so many records. So it is filled up with checkpoints, which say nothing new, a piece at a time; returns
/// whether it is closed.
pub(super) fn fill_up(log: &mut Wal, from: ChunkId) -> io::Result<bool> {
    for _ in 0..FILLED_AT_ONCE {
        if log.stat().open_chunk.chunk_id != from {
            return Ok(true);
        }
        for _ in 0..FILLED_BETWEEN_LOOKS {
            log.save_user_data(None)?;
        }
        log.flush(false, None)?;
    }
    Ok(false)
}

/// The file that is being written.
pub(super) fn open_file(log: &Wal) -> ChunkId {
    log.stat().open_chunk.chunk_id
}

/// Whether the last file of the log begins with a record that reads, or there is no file. The others must.
fn last_file_begins(config: &Config) -> Result<bool, OpenError> {
    let folder = config.log_folder();
    let failed = |error| OpenError::io(format!("cannot read the log folder `{}`", folder.display()))(error);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            files.push(path);
        }
    }
    files.sort_unstable();
    let last = files.pop();
    for path in files {
        if !begins(&path).map_err(failed)? {
            return Err(damaged(config, format!("`{}` does not begin as it should", path.display())));
        }
    }
    last.map_or(Ok(true), |last| begins(&last).map_err(failed))
}

fn begins(path: &Path) -> io::Result<bool> {
    Ok(RaftLogRecord::<LogTypes>::decode(BufReader::new(fs::File::open(path)?)).is_ok())
}

/// Refuses a log whose first files are gone: raft-log knows from a later file where it begins, and does not look for it.
fn check_beginning(config: &Config, log: &Wal) -> Result<(), OpenError> {
    let state = log.log_state();
    if state.last() <= state.purged() {
        return Ok(());
    }
    let first = state.purged().map_or(0, |place| place.index + 1);
    match log.read(first, first.saturating_add(1)).next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(damaged(config, format!("entry {first} cannot be read: {error}"))),
        None => Err(damaged(config, format!("it should begin with entry {first}, which is missing"))),
    }
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

fn follow(ends: &mut Seen, record: RaftLogRecord<LogTypes>) {
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
