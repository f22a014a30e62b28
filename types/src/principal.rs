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
    /// Nobody: a caller whose credential was refused. It may do nothing; refused calls are counted in its name.
    Unauthenticated,
    /// Whoever has opened a node's seal on that node: enough shares, the passphrase, the machine that holds its token. May
    /// enrol an operator when no admin is left to do it.
    Seal,
}

impl Principal {
    /// Reads the text that `Display` writes, as audit records hold it and searches name it.
    ///
    /// `None` when the text names no principal.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let principal = match text.split_once('/') {
            Some(("operators", name)) => Self::Operator(OperatorName::parse(name).ok()?),
            Some(("agents", name)) => Self::Agent(AgentName::parse(name).ok()?),
            Some(("nodes", number)) => Self::Node(NodeId(number.parse().ok()?)),
            Some(_) => Self::Workload(SpiffeId::parse(text).ok()?),
            None if text == "local-admin" => Self::LocalAdmin,
            None if text == "join-token" => Self::JoinToken,
            None if text == "unauthenticated" => Self::Unauthenticated,
            None if text == "seal" => Self::Seal,
            None => return None,
        };
        // One text form each: `nodes/01` and `SPIFFE://…` name nobody.
        (principal.to_string() == text).then_some(principal)
    }
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
            Self::Unauthenticated => f.write_str("unauthenticated"),
            Self::Seal => f.write_str("seal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_principal_reads_back_from_its_one_text_form() {
        let known = ["operators/root", "agents/dev", "nodes/3", "spiffe://td/ns/a/b"];
        for text in known.into_iter().chain(["local-admin", "join-token", "unauthenticated", "seal"]) {
            assert_eq!(Principal::parse(text).map(|p| p.to_string()).as_deref(), Some(text));
        }
        for text in ["", "root", "operators/", "operators/A", "nodes/03", "nodes/-1", "SPIFFE://td/a", "users/x"] {
            assert_eq!(Principal::parse(text), None, "{text}");
        }
    }
}
