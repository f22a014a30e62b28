//! What members ask of this node: entries, votes, snapshots, hand-overs, read indexes.
//!
//! Each call passes the gate first. Nothing is decided here: openraft answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt};
use openraft::async_runtime::WatchReceiver;
use openraft::{Raft, ReadPolicy};
use proto::raft::v1 as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::peer_service_server::PeerServiceServer;

use super::convert;
use super::gate::Gate;
use super::inbox::{Inbox, Received};
use super::outbox::{self, Held, PARTS_AHEAD};
use crate::apply::Applier;
use crate::config::PEER_MESSAGE_BYTES_MAX;
use crate::machine::Machine;
use crate::room::{Gauge, Room};
use crate::snapshot::Shelf;
use crate::system::blocking;
use crate::type_config::{Snapshot, TypeConfig};

/// The rpc of the peer port.
pub(crate) struct PeerService<M: Machine> {
    pub(crate) raft: Raft<TypeConfig, Applier<M>>,
    pub(crate) gate: Gate,
    pub(crate) shelf: Shelf,
    pub(crate) inbox: Inbox,
    pub(crate) gauge: Gauge,
}

impl<M: Machine> PeerService<M> {
    /// As a tonic service.
    pub(crate) fn into_server(self) -> PeerServiceServer<Self> {
        PeerServiceServer::new(self)
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl<M: Machine> wire::peer_service_server::PeerService for PeerService<M> {
    type AppendStream = Pin<Box<dyn Stream<Item = Result<wire::AppendReply, Status>> + Send>>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let from = self.gate.admit(&request)?;
        let (gauge, full) = (self.gauge.clone(), Arc::new(AtomicBool::new(false)));
        let is_full = Arc::clone(&full);
        // A request that does not convert, or a broken connection, ends the stream; what came before it counts.
        let requests = request.into_inner().map(move |request| {
            let request = request?;
            let bytes = request.entries.iter().map(|entry| entry.payload.len() as u64).sum();
            // Heartbeats pass: a member without room still knows its leader, and votes.
            if bytes > 0 && !gauge.take(bytes) {
                full.store(true, Ordering::Relaxed);
                return Err(no_room());
            }
            convert::from_append(request)
        });
        let requests = requests.take_while(move |request| {
            if let Err(status) = request {
                tracing::debug!(%from, %status, "an append stream ended");
            }
            futures::future::ready(request.is_ok())
        });
        let requests = requests.filter_map(|request| futures::future::ready(request.ok()));
        let replies = self.raft.stream_append(requests).map(|reply| match reply {
            Ok(result) => Ok(convert::to_append_reply(&result)),
            Err(fatal) => Err(stopped(fatal)),
        });
        // The leader is told why the stream ends, else it would try again at once.
        let refusal = futures::stream::iter([()])
            .filter_map(move |()| futures::future::ready(is_full.load(Ordering::Relaxed).then(|| Err(no_room()))));
        Ok(self.gate.answer(from, Box::pin(replies.chain(refusal))))
    }

    async fn vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteReply>, Status> {
        let from = self.gate.admit(&request)?;
        let request = convert::from_vote(request.into_inner())?;
        let response = self.raft.vote(request).await.map_err(stopped)?;
        Ok(self.gate.answer(from, convert::to_vote_reply(&response)))
    }

    async fn pre_vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteReply>, Status> {
        let from = self.gate.admit(&request)?;
        let request = convert::from_vote(request.into_inner())?;
        let response = self.raft.pre_vote(request).await.map_err(stopped)?;
        Ok(self.gate.answer(from, convert::to_vote_reply(&response)))
    }

    async fn offer_snapshot(
        &self,
        request: Request<wire::SnapshotOffer>,
    ) -> Result<Response<wire::SnapshotHeld>, Status> {
        let from = self.gate.admit(&request)?;
        let (vote, meta, disk_bytes) = convert::from_snapshot_offer(request.into_inner())?;
        let own = self.raft.metrics().borrow_watched().vote;
        let ballot = Some(convert::to_ballot(&own));
        // A deposed leader must not drop what the present one has sent.
        if own > vote {
            return Ok(self.gate.answer(from, wire::SnapshotHeld { ballot, chunks: 0, checksum: 0 }));
        }
        let held = self.inbox.held(meta).await?;
        if !self.gauge.fits(disk_bytes.saturating_sub(held.bytes)) {
            return Err(no_room());
        }
        Ok(self.gate.answer(from, wire::SnapshotHeld { ballot, chunks: held.chunks, checksum: held.checksum }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotPart>>,
    ) -> Result<Response<wire::SnapshotReply>, Status> {
        let from = self.gate.admit(&request)?;
        let Received { ballot, file } = self.inbox.receive(&mut request.into_inner()).await?;
        let vote = ballot.ok_or_else(|| convert::missing("the leader's ballot"))?;
        tracing::info!(%from, last = ?file.meta().last_log_id, "installing a snapshot");
        let snapshot = Snapshot { meta: file.meta().clone(), snapshot: file.clone() };
        let response = self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped);
        // Installed, it has another name by now; refused or failed, it must go.
        Shelf::discard(&file);
        Ok(self.gate.answer(from, wire::SnapshotReply { ballot: Some(convert::to_ballot(&response?.vote)) }))
    }

    type FetchSnapshotStream = ReceiverStream<Result<wire::SnapshotPart, Status>>;

    async fn fetch_snapshot(
        &self,
        request: Request<wire::SnapshotQuery>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        let from = self.gate.admit(&request)?;
        let wire::SnapshotQuery { at_least, partly, held } = request.into_inner();
        let at_least = at_least.map(convert::from_log_id);
        let shelf = self.shelf.clone();
        let newest = blocking(move || shelf.newest()).await.map_err(unread)?;
        let Some(file) = newest.filter(|file| file.meta().last_log_id >= at_least) else {
            self.raft.trigger().snapshot().await.map_err(stopped)?;
            return Err(Status::unavailable("its newest snapshot is too old; a newer one is being written"));
        };
        tracing::info!(%from, last = ?file.meta().last_log_id, "handing out a snapshot");
        let same = partly.map(convert::from_log_id) == file.meta().last_log_id;
        let held = held.filter(|_| same).map(Held::from).unwrap_or_default();
        let (parts, receiver) = mpsc::channel(PARTS_AHEAD);
        let shelf = self.shelf.clone();
        tokio::spawn(async move {
            if let Err(error) = outbox::send(shelf, file, None, held, parts).await {
                tracing::warn!(%error, "a snapshot was not handed out");
            }
        });
        Ok(self.gate.answer(from, ReceiverStream::new(receiver)))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderReply>, Status> {
        let from = self.gate.admit(&request)?;
        let request = convert::from_transfer(request.into_inner())?;
        let response = self.raft.handle_transfer_leader(request).await.map_err(stopped)?;
        Ok(self.gate.answer(from, convert::to_transfer_reply(&response)))
    }

    async fn room(&self, request: Request<wire::RoomRequest>) -> Result<Response<wire::RoomReply>, Status> {
        let from = self.gate.admit(&request)?;
        Ok(self.gate.answer(from, wire::RoomReply { low: self.gauge.room() != Room::Enough }))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexReply>, Status> {
        let from = self.gate.admit(&request)?;
        let linearizer = self
            .raft
            .get_read_linearizer(ReadPolicy::ReadIndex)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let read = convert::to_log_id(linearizer.read_log_id().log_id());
        Ok(self.gate.answer(from, wire::ReadIndexReply { read: Some(read) }))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn unread(error: io::Error) -> Status {
    Status::internal(format!("the snapshots cannot be read: {error}"))
}

fn no_room() -> Status {
    Status::resource_exhausted("this node's disk is full: it takes no entries until there is room")
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this node has stopped: {error}"))
}
