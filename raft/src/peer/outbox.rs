//! A snapshot on its way out: read from this node's disk chunk by chunk, from where the receiver's part ends.

use std::io;

use proto::raft::v1 as wire;
use tokio::sync::mpsc;
use tonic::Status;

use super::convert;
use crate::codec;
use crate::snapshot::{Shelf, SnapshotFile, SnapshotReader, Sum, Tally, checksum};
use crate::system::blocking;
use crate::type_config::Vote;

/// Parts that wait for the connection.
pub(super) const PARTS_AHEAD: usize = 2;

/// What the receiver says that it holds.
#[derive(Clone, Copy, Default)]
pub(super) struct Held {
    pub(super) chunks: u64,
    pub(super) checksum: u32,
}

impl From<wire::SnapshotHeld> for Held {
    fn from(held: wire::SnapshotHeld) -> Self {
        Self { chunks: held.chunks, checksum: held.checksum }
    }
}

/// Where parts go; a status ends them.
pub(super) type Parts = mpsc::Sender<Result<wire::SnapshotPart, Status>>;

/// Reads a snapshot into parts, at the pace at which they are taken. A snapshot that does not read is set aside, and the
/// receiver is told that no more comes.
pub(super) async fn send(
    shelf: Shelf,
    file: SnapshotFile,
    ballot: Option<Vote>,
    held: Held,
    parts: Parts,
) -> io::Result<()> {
    let Err(error) = read(&shelf, &file, ballot, held, &parts).await else { return Ok(()) };
    if error.kind() != io::ErrorKind::BrokenPipe {
        let why = io::Error::new(error.kind(), error.to_string());
        blocking(move || shelf.give_up(&file, &why)).await?;
        // Nobody may be there to hear it.
        let _ = parts.send(Err(Status::data_loss("the sender's snapshot is damaged; ask for another"))).await;
    }
    Err(error)
}

async fn read(shelf: &Shelf, file: &SnapshotFile, ballot: Option<Vote>, held: Held, parts: &Parts) -> io::Result<()> {
    use wire::snapshot_part::Part;
    let send = async |part| {
        let part = wire::SnapshotPart { part: Some(part) };
        parts.send(Ok(part)).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    };
    let mut source = begin(shelf, file, held).await?;
    let meta = file.meta();
    send(Part::Head(wire::SnapshotHead {
        ballot: ballot.as_ref().map(convert::to_ballot),
        last: meta.last_log_id.as_ref().map(convert::to_log_id),
        members: codec::encode_membership(&meta.last_membership)?,
        skip: source.tally.sum().chunks,
        checksum: source.tally.sum().checksum,
    }))
    .await?;
    loop {
        let (chunk, rest) = blocking(move || source.next().map(|chunk| (chunk, source))).await?;
        source = rest;
        let Some(data) = chunk else { break };
        let checksum = checksum(&data);
        send(Part::Chunk(wire::SnapshotChunk { data, checksum })).await?;
    }
    let Sum { chunks, bytes, checksum } = source.tally.sum();
    send(Part::End(wire::SnapshotEnd { chunks, bytes, checksum })).await
}

/// A snapshot with what was read of it.
struct Source {
    reader: SnapshotReader,
    tally: Tally,
}

impl Source {
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let chunk = self.reader.next_chunk()?;
        if let Some(chunk) = &chunk {
            self.tally.add(chunk);
        }
        Ok(chunk)
    }
}

/// Opens the snapshot and reads what the receiver holds; anew if what it holds is not of this very snapshot.
async fn begin(shelf: &Shelf, file: &SnapshotFile, held: Held) -> io::Result<Source> {
    let (shelf, file) = (shelf.clone(), file.clone());
    blocking(move || {
        let open = || io::Result::Ok(Source { reader: shelf.reader(&file)?, tally: Tally::default() });
        let mut source = open()?;
        while source.tally.sum().chunks < held.chunks {
            if source.next()?.is_none() {
                break;
            }
        }
        let Sum { chunks, checksum, .. } = source.tally.sum();
        if (chunks, checksum) == (held.chunks, held.checksum) { Ok(source) } else { open() }
    })
    .await
}
