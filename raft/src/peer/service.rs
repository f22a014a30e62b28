//! What members ask of this node: entries, votes, snapshots, hand-overs, read indexes.
//!
//! Each call passes the gate first. Nothing is decided here: openraft answers.

use std::io;
use std::pin::Pin;

use futures::{Stream, StreamExt};
use openraft::{Raft, ReadPolicy};
use proto::raft::v1 as wire;
use tonic::{Request, Response, Status, Streaming};
use wire::peer_service_server::PeerServiceServer;

use super::convert;
use super::gate::Gate;
use crate::apply::Applier;
use crate::config::PEER_MESSAGE_BYTES_MAX;
use crate::machine::Machine;
use crate::snapshot::{Shelf, SnapshotFile, SnapshotWriter};
use crate::system::blocking;
use crate::type_config::{Snapshot, SnapshotMeta, TypeConfig};

/// The rpc of the peer port.
pub(crate) struct PeerService<M: Machine> {
    pub(crate) raft: Raft<TypeConfig, Applier<M>>,
    pub(crate) gate: Gate,
    pub(crate) shelf: Shelf,
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
        // A request that does not convert, or a broken connection, ends the stream; what came before it counts.
        let requests = request.into_inner().map(|request| request.and_then(convert::from_append));
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
        Ok(Response::new(Box::pin(replies)))
    }

    async fn vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteReply>, Status> {
        self.gate.admit(&request)?;
        let request = convert::from_vote(request.into_inner())?;
        let response = self.raft.vote(request).await.map_err(stopped)?;
        Ok(Response::new(convert::to_vote_reply(&response)))
    }

    async fn pre_vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteReply>, Status> {
        self.gate.admit(&request)?;
        let request = convert::from_vote(request.into_inner())?;
        let response = self.raft.pre_vote(request).await.map_err(stopped)?;
        Ok(Response::new(convert::to_vote_reply(&response)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotPart>>,
    ) -> Result<Response<wire::SnapshotReply>, Status> {
        use wire::snapshot_part::Part;
        let from = self.gate.admit(&request)?;
        let mut parts = request.into_inner();
        let Some(Part::Head(head)) = parts.message().await?.and_then(|part| part.part) else {
            return Err(convert::missing("the head of the snapshot"));
        };
        let (vote, meta) = convert::from_snapshot_head(head)?;
        tracing::info!(%from, last = ?meta.last_log_id, "receiving a snapshot");
        let shelf = self.shelf.clone();
        let begun = meta.clone();
        let (writer, file) = blocking(move || shelf.begin(&begun)).await.map_err(not_stored)?;
        let received = receive(&mut parts, writer).await;
        let reply = match received {
            Ok(()) => self.install(vote, meta, file.clone()).await,
            Err(status) => Err(status),
        };
        // Installed, it has another name by now; refused or failed, it must go.
        Shelf::discard(&file);
        reply
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderReply>, Status> {
        self.gate.admit(&request)?;
        let request = convert::from_transfer(request.into_inner())?;
        let response = self.raft.handle_transfer_leader(request).await.map_err(stopped)?;
        Ok(Response::new(convert::to_transfer_reply(&response)))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexReply>, Status> {
        self.gate.admit(&request)?;
        let linearizer = self
            .raft
            .get_read_linearizer(ReadPolicy::ReadIndex)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let read = convert::to_log_id(linearizer.read_log_id().log_id());
        Ok(Response::new(wire::ReadIndexReply { read: Some(read) }))
    }
}

impl<M: Machine> PeerService<M> {
    async fn install(
        &self,
        vote: crate::type_config::Vote,
        meta: SnapshotMeta,
        file: SnapshotFile,
    ) -> Result<Response<wire::SnapshotReply>, Status> {
        let snapshot = Snapshot { meta, snapshot: file };
        let response = self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(wire::SnapshotReply { ballot: Some(convert::to_ballot(&response.vote)) }))
    }
}

/// Writes the chunks to a file and syncs it, if they are what the sender counted.
async fn receive(parts: &mut Streaming<wire::SnapshotPart>, mut writer: SnapshotWriter) -> Result<(), Status> {
    use wire::snapshot_part::Part;
    let mut received = wire::SnapshotEnd { chunks: 0, bytes: 0 };
    loop {
        match parts.message().await?.and_then(|part| part.part) {
            Some(Part::Chunk(chunk)) => {
                received.chunks += 1;
                received.bytes += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                writer = blocking(move || writer.write(&chunk).map(|()| writer)).await.map_err(not_stored)?;
            }
            Some(Part::End(announced)) if announced == received => {
                return blocking(move || writer.finish()).await.map(drop).map_err(not_stored);
            }
            Some(Part::End(_)) => return Err(Status::data_loss("the snapshot is not as long as announced")),
            Some(Part::Head(_)) => return Err(Status::invalid_argument("the snapshot has two heads")),
            None => return Err(Status::data_loss("the snapshot broke off")),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn not_stored(error: io::Error) -> Status {
    Status::internal(format!("the snapshot was not stored: {error}"))
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this node has stopped: {error}"))
}
