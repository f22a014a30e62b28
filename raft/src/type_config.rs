//! openraft's types, chosen once: standard Raft (one leader per term), opaque payloads, tokio.
//!
//! Written out by hand: the macro's default leader id allows several leaders per term, which we do not want.

use std::fmt;

use crate::member::{Member, Members};
use crate::system::Runtime;

/// The choice of types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

/// An entry's payload; says only its length when it is printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Vec<u8>);

/// An entry's reply; says only its length when it is printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reply(pub(crate) Vec<u8>);

pub(crate) type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;
pub(crate) type CommittedLeaderId = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type EntryPayload = openraft::EntryPayload<Payload, u64, Member>;
pub(crate) type Entry = openraft::Entry<CommittedLeaderId, EntryPayload>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, Member>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, Member>;
pub(crate) type Snapshot<D> = openraft::Snapshot<CommittedLeaderId, u64, Member, D>;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Payload;
    type R = Reply;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = EntryPayload;
    type Entry = Entry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// A position from its two numbers.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

/// A position's two numbers.
pub(crate) fn log_id_parts(id: &LogId) -> (u64, u64) {
    (**id.committed_leader_id(), id.index)
}

/// openraft's membership in our words.
pub(crate) fn members_of(membership: &Membership) -> Members {
    Members {
        all: membership.nodes().map(|(id, member)| (types::NodeId(*id), member.clone())).collect(),
        voters: membership.voter_ids().map(types::NodeId).collect(),
        changing: membership.get_joint_config().len() > 1,
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
