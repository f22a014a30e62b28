//! A snapshot on its way in: one at a time, kept on the disk when the connection breaks, gone on with by whoever sends it
//! next.
//!
//! A chunk counts when its sum is right, the whole when its sum is. It does not decide whether a snapshot is wanted.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use proto::raft::v1 as wire;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use types::limits::SNAPSHOT_CHUNK_BYTES;
use wire::snapshot_part::Part;

use super::convert;
use crate::snapshot::{Incoming, Shelf, SnapshotFile, Sum, checksum};
use crate::system::blocking;
use crate::type_config::{LogId, SnapshotMeta, Vote};

/// Where a snapshot arrives; clones share it.
#[derive(Clone)]
pub(crate) struct Inbox {
    shelf: Shelf,
    slot: Arc<tokio::sync::Mutex<Option<Incoming>>>,
    /// Ends the transfer under way: a new one takes its place.
    turn: Arc<Mutex<CancellationToken>>,
}

/// The slot, held also by the thread that writes: a call that is dropped half way leaves it only when the write is done.
type Slot = OwnedMutexGuard<Option<Incoming>>;

/// A snapshot that is complete and synced, and who sent it.
pub(super) struct Received {
    pub(super) ballot: Option<Vote>,
    pub(super) file: SnapshotFile,
}

impl Inbox {
    pub(crate) fn new(shelf: Shelf) -> Self {
        Self { shelf, slot: Arc::default(), turn: Arc::default() }
    }

    /// How much of that snapshot is here. A part of another is dropped.
    pub(super) async fn held(&self, meta: SnapshotMeta) -> Result<Sum, Status> {
        let (slot, _) = self.enter().await;
        let (_, held) = self.prepare(slot, meta).await?;
        Ok(held)
    }

    /// Of which snapshot a part is here, and how much.
    pub(super) async fn partly(&self) -> Result<Option<(Option<LogId>, Sum)>, Status> {
        let (slot, _) = self.enter().await;
        let shelf = self.shelf.clone();
        let (_, found) = at_disk(slot, move |slot| {
            if slot.is_none() {
                **slot = shelf.partly_received()?;
            }
            Ok(slot.as_ref().map(|incoming| (incoming.meta().last_log_id, incoming.held())))
        })
        .await?;
        Ok(found)
    }

    /// Takes a snapshot from its head to its end. What has arrived when it breaks off stays.
    pub(super) async fn receive<S>(&self, parts: &mut S) -> Result<Received, Status>
    where
        S: Stream<Item = Result<wire::SnapshotPart, Status>> + Unpin,
    {
        let Some(Part::Head(head)) = next(parts).await? else {
            return Err(convert::missing("the head of the snapshot"));
        };
        let wire::SnapshotHead { ballot, last, members, skip, checksum } = head;
        let ballot = ballot.map(|ballot| convert::from_ballot(Some(ballot))).transpose()?;
        let meta = convert::from_snapshot_meta(last, &members)?;
        let (slot, replaced) = self.enter().await;
        let (slot, held) = self.prepare(slot, meta).await?;
        let slot = if skip == 0 && held.chunks > 0 {
            restart(slot).await?
        } else if (skip, checksum) == (held.chunks, held.checksum) {
            slot
        } else {
            return Err(Status::aborted("the sender leaves out other chunks than those that are here"));
        };
        tokio::select! {
            file = take_all(slot, parts) => Ok(Received { ballot, file: file? }),
            () = replaced.cancelled() => Err(Status::aborted("another transfer took this one's place")),
        }
    }

    /// Waits for the slot, after sending away whoever holds it.
    async fn enter(&self) -> (Slot, CancellationToken) {
        let token = CancellationToken::new();
        let before = {
            let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *turn, token.clone())
        };
        before.cancel();
        (Arc::clone(&self.slot).lock_owned().await, token)
    }

    /// Makes the slot hold that snapshot, with what is here of it.
    async fn prepare(&self, slot: Slot, meta: SnapshotMeta) -> Result<(Slot, Sum), Status> {
        let shelf = self.shelf.clone();
        at_disk(slot, move |slot| {
            let incoming = match slot.take().filter(|incoming| *incoming.meta() == meta) {
                Some(incoming) => incoming,
                None => shelf.incoming(&meta)?,
            };
            let held = incoming.held();
            **slot = Some(incoming);
            Ok(held)
        })
        .await
    }
}

async fn restart(slot: Slot) -> Result<Slot, Status> {
    let (slot, ()) = at_disk(slot, |slot| {
        let incoming = slot.take().ok_or_else(gone)?;
        **slot = Some(incoming.restart()?);
        Ok(())
    })
    .await?;
    Ok(slot)
}

/// Writes the chunks and, when the end says what the chunks say, ends the file.
async fn take_all<S>(mut slot: Slot, parts: &mut S) -> Result<SnapshotFile, Status>
where
    S: Stream<Item = Result<wire::SnapshotPart, Status>> + Unpin,
{
    loop {
        match next(parts).await? {
            Some(Part::Chunk(chunk)) => {
                let fits = (1..=SNAPSHOT_CHUNK_BYTES).contains(&chunk.data.len());
                if !fits || checksum(&chunk.data) != chunk.checksum {
                    return Err(Status::data_loss("a chunk of the snapshot is not what was sent"));
                }
                let take = move |slot: &mut Slot| slot.as_mut().ok_or_else(gone)?.take(&chunk.data);
                (slot, ()) = at_disk(slot, take).await?;
            }
            Some(Part::End(end)) => {
                let (_, file) = at_disk(slot, move |slot| finish(slot, &end)).await?;
                return Ok(file);
            }
            Some(Part::Head(_)) => return Err(Status::invalid_argument("the snapshot has two heads")),
            None => return Err(Status::data_loss("the snapshot broke off")),
        }
    }
}

fn finish(slot: &mut Slot, end: &wire::SnapshotEnd) -> io::Result<SnapshotFile> {
    let incoming = slot.take().ok_or_else(gone)?;
    let Sum { chunks, bytes, checksum } = incoming.held();
    if (chunks, bytes, checksum) != (end.chunks, end.bytes, end.checksum) {
        // Nobody knows which chunk is wrong: none of them counts.
        **slot = Some(incoming.restart()?);
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the snapshot is not the one that was announced"));
    }
    incoming.finish()
}

async fn next<S>(parts: &mut S) -> Result<Option<Part>, Status>
where
    S: Stream<Item = Result<wire::SnapshotPart, Status>> + Unpin,
{
    Ok(parts.next().await.transpose()?.and_then(|part| part.part))
}

/// Does what blocks on another thread, which holds the slot meanwhile.
async fn at_disk<T: Send + 'static>(
    mut slot: Slot,
    work: impl FnOnce(&mut Slot) -> io::Result<T> + Send + 'static,
) -> Result<(Slot, T), Status> {
    let done = blocking(move || work(&mut slot).map(|done| (slot, done))).await;
    done.map_err(|error| Status::internal(format!("the snapshot was not stored: {error}")))
}

fn gone() -> io::Error {
    io::Error::other("the transfer has ended")
}
