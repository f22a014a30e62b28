//! Wire types to openraft's and back: the one conversion file of this crate.
//!
//! What a peer sends is checked for form only; whether it is allowed is the gate's and openraft's business.

use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use proto::raft::v1 as wire;
use tonic::Status;

use crate::codec;
use crate::type_config::{Entry, LogId, SnapshotMeta, TypeConfig, Vote, log_id, log_id_parts};

pub(super) fn to_log_id(id: &LogId) -> wire::LogId {
    let (term, index) = log_id_parts(id);
    wire::LogId { term, index }
}

pub(super) fn from_log_id(id: wire::LogId) -> LogId {
    log_id(id.term, id.index)
}

pub(super) fn to_ballot(vote: &Vote) -> wire::Ballot {
    wire::Ballot { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
}

pub(super) fn from_ballot(ballot: Option<wire::Ballot>) -> Result<Vote, Status> {
    let wire::Ballot { term, node, committed } = ballot.ok_or_else(|| missing("a ballot"))?;
    Ok(if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) })
}

pub(super) fn to_append(request: &AppendEntriesRequest<TypeConfig>) -> std::io::Result<wire::AppendRequest> {
    let entry = |entry: &Entry| {
        Ok(wire::Entry { log_id: Some(to_log_id(&entry.log_id)), payload: codec::encode_payload(&entry.payload)? })
    };
    Ok(wire::AppendRequest {
        ballot: Some(to_ballot(&request.vote)),
        previous: request.prev_log_id.as_ref().map(to_log_id),
        entries: request.entries.iter().map(entry).collect::<std::io::Result<_>>()?,
        committed: request.leader_commit.as_ref().map(to_log_id),
    })
}

pub(super) fn from_append(request: wire::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
    let wire::AppendRequest { ballot, previous, entries, committed } = request;
    let entry = |entry: wire::Entry| {
        let log_id = from_log_id(entry.log_id.ok_or_else(|| missing("an entry's position"))?);
        let payload =
            codec::decode_payload(&entry.payload).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Entry { log_id, payload })
    };
    Ok(AppendEntriesRequest {
        vote: from_ballot(ballot)?,
        prev_log_id: previous.map(from_log_id),
        entries: entries.into_iter().map(entry).collect::<Result<_, Status>>()?,
        leader_commit: committed.map(from_log_id),
    })
}

pub(super) fn to_append_reply(result: &StreamAppendResult<TypeConfig>) -> wire::AppendReply {
    use wire::append_reply::Result as R;
    let result = match result {
        Ok(last) => R::Accepted(wire::Position { log_id: last.as_ref().map(to_log_id) }),
        Err(StreamAppendError::Conflict(id)) => R::Conflict(to_log_id(id)),
        Err(StreamAppendError::HigherVote(vote)) => R::Higher(to_ballot(vote)),
    };
    wire::AppendReply { result: Some(result) }
}

pub(super) fn from_append_reply(reply: wire::AppendReply) -> Result<StreamAppendResult<TypeConfig>, Status> {
    use wire::append_reply::Result as R;
    Ok(match reply.result.ok_or_else(|| missing("a result"))? {
        R::Accepted(position) => Ok(position.log_id.map(from_log_id)),
        R::Conflict(id) => Err(StreamAppendError::Conflict(from_log_id(id))),
        R::Higher(ballot) => Err(StreamAppendError::HigherVote(from_ballot(Some(ballot))?)),
    })
}

pub(super) fn to_vote(request: &VoteRequest<TypeConfig>) -> wire::VoteRequest {
    wire::VoteRequest {
        ballot: Some(to_ballot(&request.vote)),
        last: request.last_log_id.as_ref().map(to_log_id),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn from_vote(request: wire::VoteRequest) -> Result<VoteRequest<TypeConfig>, Status> {
    let wire::VoteRequest { ballot, last, leadership_transfer } = request;
    Ok(VoteRequest { vote: from_ballot(ballot)?, last_log_id: last.map(from_log_id), leadership_transfer })
}

pub(super) fn to_vote_reply(response: &VoteResponse<TypeConfig>) -> wire::VoteReply {
    wire::VoteReply {
        ballot: Some(to_ballot(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(to_log_id),
    }
}

pub(super) fn from_vote_reply(reply: wire::VoteReply) -> Result<VoteResponse<TypeConfig>, Status> {
    let wire::VoteReply { ballot, granted, last } = reply;
    Ok(VoteResponse { vote: from_ballot(ballot)?, vote_granted: granted, last_log_id: last.map(from_log_id) })
}

pub(super) fn to_snapshot_offer(
    vote: &Vote,
    meta: &SnapshotMeta,
    disk_bytes: u64,
) -> std::io::Result<wire::SnapshotOffer> {
    Ok(wire::SnapshotOffer {
        ballot: Some(to_ballot(vote)),
        last: meta.last_log_id.as_ref().map(to_log_id),
        members: codec::encode_membership(&meta.last_membership)?,
        disk_bytes,
    })
}

pub(super) fn from_snapshot_offer(offer: wire::SnapshotOffer) -> Result<(Vote, SnapshotMeta, u64), Status> {
    let wire::SnapshotOffer { ballot, last, members, disk_bytes } = offer;
    Ok((from_ballot(ballot)?, from_snapshot_meta(last, &members)?, disk_bytes))
}

pub(super) fn from_snapshot_meta(last: Option<wire::LogId>, members: &[u8]) -> Result<SnapshotMeta, Status> {
    let last_membership =
        codec::decode_membership(members).map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(SnapshotMeta { last_log_id: last.map(from_log_id), last_membership })
}

pub(super) fn to_transfer(request: &TransferLeaderRequest<TypeConfig>) -> wire::TransferLeaderRequest {
    wire::TransferLeaderRequest {
        from: Some(to_ballot(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(to_log_id),
    }
}

pub(super) fn from_transfer(request: wire::TransferLeaderRequest) -> Result<TransferLeaderRequest<TypeConfig>, Status> {
    let wire::TransferLeaderRequest { from, to, last } = request;
    Ok(TransferLeaderRequest::new(from_ballot(from)?, to, last.map(from_log_id)))
}

pub(super) fn to_transfer_reply(response: &TransferLeaderResponse<TypeConfig>) -> wire::TransferLeaderReply {
    use wire::transfer_leader_reply::Result as R;
    let result = match response {
        Ok(()) => R::Accepted(wire::Nothing {}),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            R::VoteChanged(wire::VoteChanged { expected: Some(to_ballot(expected)), actual: Some(to_ballot(actual)) })
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => R::LogNotFlushed(wire::LogNotFlushed {
            expected: expected.as_ref().map(to_log_id),
            actual: actual.as_ref().map(to_log_id),
        }),
    };
    wire::TransferLeaderReply { result: Some(result) }
}

pub(super) fn from_transfer_reply(
    reply: wire::TransferLeaderReply,
) -> Result<TransferLeaderResponse<TypeConfig>, Status> {
    use wire::transfer_leader_reply::Result as R;
    Ok(match reply.result.ok_or_else(|| missing("a result"))? {
        R::Accepted(wire::Nothing {}) => Ok(()),
        R::VoteChanged(wire::VoteChanged { expected, actual }) => {
            Err(TransferLeaderError::VoteChanged { expected: from_ballot(expected)?, actual: from_ballot(actual)? })
        }
        R::LogNotFlushed(wire::LogNotFlushed { expected, actual }) => Err(TransferLeaderError::LogNotFlushed {
            expected: expected.map(from_log_id),
            actual: actual.map(from_log_id),
        }),
    })
}

pub(super) fn missing(what: &str) -> Status {
    Status::invalid_argument(format!("{what} is missing"))
}
