//! What a request is about: the resource that is decided on, recorded, and whose revision is compared.

use types::{AgentName, EntryName, KeyName, NamespaceName, NodeId, OperatorName};

/// A resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// The cluster as a whole.
    Cluster,
    /// `namespaces/{ns}`.
    Namespace(NamespaceName),
    /// `namespaces/{ns}/keys/{key}`.
    Key(NamespaceName, KeyName),
    /// `namespaces/{ns}/entries/{entry}`.
    Entry(NamespaceName, EntryName),
    /// `agents/{id}`.
    Agent(AgentName),
    /// `operators/{name}`.
    Operator(OperatorName),
    /// `nodes/{n}`.
    Node(NodeId),
}

impl Target {
    /// The namespace that it lies in.
    #[must_use]
    pub(crate) const fn namespace(&self) -> Option<&NamespaceName> {
        match self {
            Self::Namespace(ns) | Self::Key(ns, _) | Self::Entry(ns, _) => Some(ns),
            Self::Cluster | Self::Agent(_) | Self::Operator(_) | Self::Node(_) => None,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Namespace(ns) => write!(f, "namespaces/{ns}"),
            Self::Key(ns, key) => write!(f, "namespaces/{ns}/keys/{key}"),
            Self::Entry(ns, entry) => write!(f, "namespaces/{ns}/entries/{entry}"),
            Self::Agent(agent) => write!(f, "agents/{agent}"),
            Self::Operator(operator) => write!(f, "operators/{operator}"),
            Self::Node(node) => write!(f, "nodes/{}", node.0),
        }
    }
}
