//! A state as bytes: row by row, so that the writer holds no more than a chunk beside the state itself, and the reader no
//! more than the rows of keys. The format is `docs/spec/state.md` §7. Sealing, files and checksums of chunks are the
//! caller's; the hash over all rows is checked here.

use std::io::{self, Read};
use std::sync::mpsc;
use std::thread;

use crate::State;
use crate::state::{RowError, write_rows};
use crate::table::TableId;

/// What every snapshot begins with; the last byte is the version.
const MAGIC: [u8; 8] = *b"CHYSTAT\x01";
/// In place of a row's length: the rows have ended.
const END: u32 = 0;
/// Longest row. A row is a few kilobytes at most; a longer one is damage.
const ROW_BYTES_MAX: u32 = 1 << 20;
/// Rows are handed over in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1_024;

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// They could not be read, or ended early.
    #[error("a snapshot could not be read: {0}")]
    Io(#[from] io::Error),
    /// They do not begin as this version of a snapshot does.
    #[error("not a state snapshot of version 1")]
    Magic,
    /// A row that is no row.
    #[error("a snapshot holds {0}")]
    Row(#[from] RowError),
    /// A length that no row has.
    #[error("a snapshot's row claims {0} bytes")]
    RowTooLong(u32),
    /// Rows are missing, repeated or changed.
    #[error("a snapshot's rows do not give the hash at its end")]
    Hash,
    /// Something follows the end.
    #[error("bytes follow the end of a snapshot")]
    Trailing,
}

/// Writes a state. `take` gets pieces of any size in order; the caller cuts them into chunks.
///
/// # Errors
/// The first error of `take`.
pub fn write_snapshot(state: &State, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = Vec::with_capacity(PIECE_BYTES * 2);
    piece.extend_from_slice(&MAGIC);
    let mut rows: u64 = 0;
    write_rows(state, &mut |row: &[u8]| {
        let length = u32::try_from(row.len()).ok().filter(|length| (1..=ROW_BYTES_MAX).contains(length));
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a row without a length"))?;
        piece.extend_from_slice(&length.to_be_bytes());
        piece.extend_from_slice(row);
        rows = rows.saturating_add(1);
        if piece.len() >= PIECE_BYTES {
            take(&piece)?;
            piece.clear();
        }
        Ok::<(), io::Error>(())
    })?;
    piece.extend_from_slice(&END.to_be_bytes());
    piece.extend_from_slice(&rows.to_be_bytes());
    piece.extend_from_slice(&state.hash());
    take(&piece)
}

/// Reads what [`write_snapshot`] wrote, to its end, and checks the hash over all rows.
///
/// # Errors
/// When it is anything else; nothing of it is to be used then.
pub fn read_snapshot(from: &mut dyn Read) -> Result<State, SnapshotError> {
    if array::<8>(from)? != MAGIC {
        return Err(SnapshotError::Magic);
    }
    let (state, rows) = thread::scope(|scope| {
        let (keys, pieces) = mpsc::channel();
        let aside =
            thread::Builder::new().name("snapshot-keys".to_owned()).spawn_scoped(scope, || read_aside(pieces))?;
        let read = read_rows(from, keys);
        let aside = aside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (mut state, rows) = read?;
        state.take_keys(aside?);
        Ok::<_, SnapshotError>((state, rows))
    })?;
    let counted = u64::from_be_bytes(array(from)?);
    let hash: [u8; 32] = array(from)?;
    if counted != rows || hash != state.hash() {
        return Err(SnapshotError::Hash);
    }
    match from.read(&mut [0; 1])? {
        0 => Ok(state),
        _ => Err(SnapshotError::Trailing),
    }
}

/// Reads the rows to their end and says how many they are; those of keys go to another thread, which shares the work
/// about evenly: a key's row is short and stands in three trees.
fn read_rows(from: &mut dyn Read, keys: mpsc::Sender<Vec<u8>>) -> Result<(State, u64), SnapshotError> {
    let mut state = State::new();
    let (mut rows, mut row, mut piece) = (0_u64, Vec::new(), Vec::with_capacity(PIECE_BYTES * 2));
    loop {
        let length = u32::from_be_bytes(array(from)?);
        if length == END {
            break;
        }
        if length > ROW_BYTES_MAX {
            return Err(SnapshotError::RowTooLong(length));
        }
        row.resize(usize::try_from(length).unwrap_or(0), 0);
        from.read_exact(&mut row)?;
        rows = rows.saturating_add(1);
        if row.first() != Some(&(TableId::Keys as u8)) {
            state.read_row(&row)?;
            continue;
        }
        piece.extend_from_slice(&length.to_be_bytes());
        piece.extend_from_slice(&row);
        if piece.len() >= PIECE_BYTES {
            // Nobody takes it: the other thread has met a row that is none, and says so itself.
            let _ = keys.send(std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES * 2)));
        }
    }
    let _ = keys.send(piece);
    Ok((state, rows))
}

/// Reads the rows of keys, in pieces as [`read_rows`] sends them.
fn read_aside(pieces: mpsc::Receiver<Vec<u8>>) -> Result<State, RowError> {
    let mut state = State::new();
    for piece in pieces {
        let mut rest = piece.as_slice();
        while let Some((length, rows)) = rest.split_first_chunk() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let (row, rows) = rows.split_at_checked(length).unwrap_or((rows, &[]));
            state.read_row(row)?;
            rest = rows;
        }
    }
    Ok(state)
}

fn array<const N: usize>(from: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
