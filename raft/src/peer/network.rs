//! What openraft calls to reach a member.
//!
//! Appends are one pipelined stream; every unary call ends within openraft's time for it. Errors are told apart only as
//! far as openraft acts on them: timed out, or unreachable (which backs off).

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::errors::{RPCError, Timeout, Unreachable};
use openraft::network::{Backoff, NetBackoff, NetStreamAppend, NetTransferLeader, NetVote, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory};
use proto::raft::v1 as wire;
use tonic::transport::Channel;
use tonic::{Code, Status};
use types::NodeId;
use wire::peer_service_client::PeerServiceClient;

use super::convert;
use super::gate::stamp;
use super::pool::Pool;
use super::vouch::Vouched;
use crate::member::Member;
use crate::snapshot::Shelf;
use crate::type_config::TypeConfig;

/// Makes a [`Network`] per member and purpose.
#[derive(Clone)]
pub(crate) struct NetworkFactory {
    pub(crate) pool: Pool,
    pub(crate) shelf: Shelf,
    /// How long a new append stream may take to open, dialling included.
    pub(crate) open_timeout: Duration,
}

/// One member, reached over one connection.
pub(crate) struct Network {
    pub(super) target: NodeId,
    channel: Channel,
    /// Votes, reads and hand-overs never queue behind entries.
    control: Channel,
    pub(super) factory: NetworkFactory,
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, node: &Member) -> Network {
        let lanes = self.pool.lanes(NodeId(target), node);
        Network { target: NodeId(target), channel: lanes.bulk, control: lanes.control, factory: self.clone() }
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Network {
        let lanes = self.pool.lanes(NodeId(target), node);
        let channel = lanes.control.clone();
        Network { target: NodeId(target), channel, control: lanes.control, factory: self.clone() }
    }
}

impl Network {
    pub(super) fn stamp<T>(&self, message: T) -> tonic::Request<T> {
        stamp(self.factory.pool.owner(), self.target, message)
    }

    fn control(&self) -> PeerServiceClient<Vouched> {
        self.factory.pool.client(self.target, self.control.clone())
    }

    pub(super) fn bulk(&self) -> PeerServiceClient<Vouched> {
        self.factory.pool.client(self.target, self.channel.clone())
    }

    /// Runs a call within all of openraft's time for it: an answer may have cost the other side two syncs, and one that
    /// comes late is an election more.
    async fn within<T>(
        &self,
        action: RPCTypes,
        option: &RPCOption,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RPCError<TypeConfig>> {
        match tokio::time::timeout(option.hard_ttl(), call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(action, option.hard_ttl(), &status)),
            Err(_) => Err(self.timed_out(action, option.hard_ttl()).into()),
        }
    }

    pub(super) fn failed(&self, action: RPCTypes, timeout: Duration, status: &Status) -> RPCError<TypeConfig> {
        match status.code() {
            Code::DeadlineExceeded => self.timed_out(action, timeout).into(),
            // Transport failures arrive as `Unknown` as well as `Unavailable`; a refusal will not go away soon either.
            _ => Unreachable::from_string(format!("{}: {}", self.target, reason(status))).into(),
        }
    }

    pub(super) fn timed_out(&self, action: RPCTypes, timeout: Duration) -> Timeout<TypeConfig> {
        Timeout { action, id: self.factory.pool.owner().node.0, target: self.target.0, timeout }
    }
}

impl NetBackoff<TypeConfig> for Network {
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

impl NetStreamAppend<TypeConfig> for Network {
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendItem>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // The input is polled before anything can fail: an error before that makes openraft skip its backoff and
            // spin on a dead member.
            let Some(first) = input.next().await else {
                return Ok(futures::stream::empty().boxed());
            };
            let requests = futures::stream::once(async move { first }).chain(input);
            // An entry that does not encode ends the stream; openraft sends it again and the log tells why.
            let requests = requests.map(|request| convert::to_append(&request)).take_while(|request| {
                if let Err(error) = request {
                    tracing::error!(%error, "an entry was not sent: it does not encode");
                }
                futures::future::ready(request.is_ok())
            });
            let request = self.stamp(requests.filter_map(|request| futures::future::ready(request.ok())));
            let mut client = self.bulk();
            let timeout = self.factory.open_timeout.max(option.soft_ttl());
            let replies = match tokio::time::timeout(timeout, client.append(request)).await {
                Ok(Ok(response)) => response.into_inner(),
                Ok(Err(status)) => return Err(self.failed(RPCTypes::AppendEntries, timeout, &status)),
                Err(_) => return Err(self.timed_out(RPCTypes::AppendEntries, timeout).into()),
            };
            let network = &*self;
            let replies = replies.map(move |reply| {
                reply
                    .and_then(convert::from_append_reply)
                    .map_err(|status| network.failed(RPCTypes::AppendEntries, timeout, &status))
            });
            Ok(replies.boxed())
        })
    }
}

type AppendItem = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

impl NetVote<TypeConfig> for Network {
    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.control();
        let call = client.vote(self.stamp(convert::to_vote(&rpc)));
        let reply = self.within(RPCTypes::Vote, &option, call).await?;
        convert::from_vote_reply(reply).map_err(|status| self.failed(RPCTypes::Vote, option.hard_ttl(), &status))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.control();
        let call = client.pre_vote(self.stamp(convert::to_vote(&rpc)));
        let reply = self.within(RPCTypes::Vote, &option, call).await?;
        convert::from_vote_reply(reply).map_err(|status| self.failed(RPCTypes::Vote, option.hard_ttl(), &status))
    }
}

impl NetTransferLeader<TypeConfig> for Network {
    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.control();
        let call = client.transfer_leader(self.stamp(convert::to_transfer(&req)));
        let reply = self.within(RPCTypes::TransferLeader, &option, call).await?;
        convert::from_transfer_reply(reply)
            .map_err(|status| self.failed(RPCTypes::TransferLeader, option.hard_ttl(), &status))
    }
}

/// A status with what lies under it: tonic says only "transport error" at the top.
fn reason(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
