//! Who is calling: decided by `authn` from the connection, recorded in every entry and audit record.

use serde::{Deserialize, Serialize};

use crate::{AgentName, NodeId, OperatorName, SpiffeId};

/// An authenticated caller.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Principal {
    /// A person or automation with an enrolled key, `operators/{name}`.
    Operator(OperatorName),
    /// A workload agent with an enrolled key, `agents/{id}`.
    Agent(AgentName),
    /// A member of the cluster acting on its own: rotation, authorities, audit heads.
    Node(NodeId),
    /// A workload that presented an SVID; never an operator, agent or node (invariant 13).
    Workload(SpiffeId),
    /// Whoever may open the first node's local admin socket before the cluster exists; `init` only.
    LocalAdmin,
    /// The bearer of a one-time join token; may redeem it and nothing else.
    JoinToken,
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operator(name) => write!(f, "operators/{name}"),
            Self::Agent(name) => write!(f, "agents/{name}"),
            Self::Node(id) => write!(f, "nodes/{}", id.0),
            Self::Workload(id) => write!(f, "{id}"),
            Self::LocalAdmin => f.write_str("local-admin"),
            Self::JoinToken => f.write_str("join-token"),
        }
    }
}
