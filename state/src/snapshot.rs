//! A state as bytes: row by row, so that neither end holds more than a chunk beside the state itself. The format is
//! `docs/spec/state.md` §7. Sealing, files and checksums of chunks are the caller's; the hash over all rows is checked
//! here.

use std::io::{self, Read};

use crate::State;
use crate::state::{RowError, write_rows};

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
    let mut state = State::new();
    let mut rows: u64 = 0;
    let mut row = Vec::new();
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
        state.read_row(&row)?;
        rows = rows.saturating_add(1);
    }
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

fn array<const N: usize>(from: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
