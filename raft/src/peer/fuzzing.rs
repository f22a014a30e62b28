//! Doors for `fuzz/` to what members send each other: each message is turned into openraft's and back. Only with `--cfg fuzzing`.

use proto::raft::v1 as wire;

use super::convert;

/// Entries for a follower.
#[must_use]
pub fn append(message: wire::AppendRequest) -> Option<wire::AppendRequest> {
    convert::to_append(&convert::from_append(message).ok()?).ok()
}

/// Its answer.
#[must_use]
pub fn append_reply(message: wire::AppendReply) -> Option<wire::AppendReply> {
    convert::from_append_reply(message).ok().map(|reply| convert::to_append_reply(&reply))
}

/// Somebody wants to lead.
#[must_use]
pub fn vote(message: wire::VoteRequest) -> Option<wire::VoteRequest> {
    convert::from_vote(message).ok().map(|request| convert::to_vote(&request))
}

/// May it.
#[must_use]
pub fn vote_reply(message: wire::VoteReply) -> Option<wire::VoteReply> {
    convert::from_vote_reply(message).ok().map(|reply| convert::to_vote_reply(&reply))
}

/// A snapshot is offered.
#[must_use]
pub fn snapshot_offer(message: wire::SnapshotOffer) -> Option<wire::SnapshotOffer> {
    let (vote, meta, bytes) = convert::from_snapshot_offer(message).ok()?;
    convert::to_snapshot_offer(&vote, &meta, bytes).ok()
}

/// Leadership is handed on.
#[must_use]
pub fn transfer(message: wire::TransferLeaderRequest) -> Option<wire::TransferLeaderRequest> {
    convert::from_transfer(message).ok().map(|request| convert::to_transfer(&request))
}

/// Its answer.
#[must_use]
pub fn transfer_reply(message: wire::TransferLeaderReply) -> Option<wire::TransferLeaderReply> {
    convert::from_transfer_reply(message).ok().map(|reply| convert::to_transfer_reply(&reply))
}
