//! How this node hands its snapshot to a member that lags: an offer, then what the member does not hold yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use openraft::errors::{ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{NetSnapshot, RPCOption};
use openraft::raft::SnapshotResponse;
use openraft::{OptionalSend, RPCTypes};
use proto::raft::v1 as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::convert;
use super::network::Network;
use super::outbox::{self, Held, PARTS_AHEAD};
use crate::snapshot::SnapshotFile;
use crate::type_config::{Snapshot, TypeConfig, Vote};

/// Once the last part was taken, the member reads the whole file back and loads it: so many times longer than a part.
const INSTALL_LIMITS: u32 = 12;

/// How far a transfer has come.
#[derive(Default)]
struct Progress {
    taken: AtomicU64,
    ended: AtomicBool,
}

impl NetSnapshot<TypeConfig> for Network {
    type SnapshotData = SnapshotFile;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let limit = option.hard_ttl();
        let file = snapshot.snapshot;
        tokio::select! {
            sent = self.offer_and_send(vote, file, limit) => sent,
            closed = cancel => Err(closed.into()),
        }
    }
}

impl Network {
    async fn offer_and_send(
        &self,
        vote: Vote,
        file: SnapshotFile,
        limit: Duration,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let unread = |error: std::io::Error| Unreachable::from_string(error);
        let bytes = file.bytes().map_err(unread)?;
        let offer = convert::to_snapshot_offer(&vote, file.meta(), bytes).map_err(unread)?;
        let mut client = self.bulk();
        let held = match tokio::time::timeout(limit, client.offer_snapshot(self.stamp(offer))).await {
            Ok(Ok(held)) => held.into_inner(),
            Ok(Err(status)) => return Err(self.failed(RPCTypes::InstallSnapshot, limit, &status).into()),
            Err(_) => return Err(self.timed_out(RPCTypes::InstallSnapshot, limit).into()),
        };
        let theirs = self.ballot(held.ballot, limit)?;
        if theirs > vote {
            return Ok(SnapshotResponse::new(theirs));
        }
        self.send(vote, file, held.into(), limit).await
    }

    async fn send(
        &self,
        vote: Vote,
        file: SnapshotFile,
        held: Held,
        limit: Duration,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (parts, receiver) = mpsc::channel(PARTS_AHEAD);
        let shelf = self.factory.shelf.clone();
        let reading = tokio::spawn(outbox::send(shelf, file, Some(vote), held, parts));
        let progress = Arc::new(Progress::default());
        let counter = Arc::clone(&progress);
        // A part that could not be read ends the stream without an end, which the member notices.
        let parts = ReceiverStream::new(receiver).filter_map(|part| futures::future::ready(part.ok()));
        let parts = parts.inspect(move |part| {
            counter.taken.fetch_add(1, Ordering::Relaxed);
            let is_end = matches!(part.part, Some(wire::snapshot_part::Part::End(_)));
            counter.ended.fetch_or(is_end, Ordering::Relaxed);
        });
        let mut client = self.bulk();
        let reply = tokio::select! {
            reply = client.install_snapshot(self.stamp(parts)) => reply,
            () = stalled(&progress, limit) => {
                return Err(self.timed_out(RPCTypes::InstallSnapshot, limit).into());
            }
        };
        let answered = reply.map_err(|status| self.failed(RPCTypes::InstallSnapshot, limit, &status).into());
        let answered = answered.and_then(|reply| self.ballot(reply.into_inner().ballot, limit));
        match (answered, reading.await) {
            (Ok(vote), _) => Ok(SnapshotResponse::new(vote)),
            // Our own file did not read: the member saw a stream that broke off.
            (Err(_), Ok(Err(error))) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Unreachable::from_string(error).into())
            }
            (Err(error), _) => Err(error),
        }
    }

    fn ballot(&self, ballot: Option<wire::Ballot>, limit: Duration) -> Result<Vote, StreamingError<TypeConfig>> {
        let failed = |status: Status| self.failed(RPCTypes::InstallSnapshot, limit, &status).into();
        convert::from_ballot(ballot).map_err(failed)
    }
}

/// Ends when no part has been taken for `limit`, or the member has not answered for several times as long after the last.
async fn stalled(progress: &Progress, limit: Duration) {
    let (mut seen, mut waited) = (0, 0);
    loop {
        tokio::time::sleep(limit).await;
        let now = progress.taken.load(Ordering::Relaxed);
        waited = if now == seen { waited + 1 } else { 0 };
        seen = now;
        let patience = if progress.ended.load(Ordering::Relaxed) { INSTALL_LIMITS } else { 1 };
        if waited >= patience {
            return;
        }
    }
}
