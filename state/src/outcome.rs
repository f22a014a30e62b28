//! What `apply` hands back: the answer, the audit leaf that goes with it, and hints for whoever must act.

use types::{AgentName, KeyId, NamespaceName, NodeId, OperatorName, Principal, Refusal, SpkiHash};

use crate::command::{OpenedSeal, Reply};

/// The result of one entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What the caller is told.
    pub reply: Result<Reply, Refusal>,
    /// The leaf to append to the cluster's audit log: the same bytes on every node. Absent for what is no answer to a call:
    /// an accepted node report, and a proposal whose decision went stale (it is decided again and proposed again).
    pub record: Option<AuditLeaf>,
    /// What else the change touches.
    pub effects: Vec<Effect>,
}

/// A leaf of the cluster's audit log and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditLeaf {
    /// Its number in the log `cluster`, from 0 without gaps.
    pub index: u64,
    /// As `docs/spec/audit.md` §2.
    pub bytes: Vec<u8>,
}

/// A hint that something has changed. Losing one loses nothing: whoever acts on hints also reads the state, at start and on
/// every tick.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The leader adds the node to the Raft membership.
    NodeAdmitted(NodeId),
    /// The trust document is made and signed again.
    TrustChanged,
    /// Watching agents are sent the new bundle.
    BundleChanged,
    /// Unwrapped material and handles of that key are looked at again.
    KeyChanged(KeyId),
    /// Unwrapped material of that key is wiped: some of it was destroyed.
    KeyDestroyed {
        /// Which.
        key: KeyId,
        /// These versions.
        versions: Vec<u32>,
    },
    /// Unwrapped material of every key of the namespace is wiped, and the key that had wrapped it.
    NamespaceDestroyed(NamespaceName),
    /// Settings or bindings of the namespace have moved.
    NamespaceChanged(NamespaceName),
    /// The agent's entries have changed: its stream is sent the new list.
    EntriesChanged(AgentName),
    /// The principal's status or roles have changed: its connections and streams are looked at again.
    PrincipalChanged(Principal),
    /// The authority moved through its life.
    AuthorityChanged(SpkiHash),
    /// An admin was enrolled on proof of a seal: every node says so in its log.
    OperatorRecovered {
        /// Who.
        name: OperatorName,
        /// By which seal.
        opened: OpenedSeal,
    },
}
