//! What a request is about: the resource that is decided on, recorded, and whose revision is compared.

use types::{AgentName, EntryName, KeyName, NamespaceName, OperatorName};

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
        }
    }
}
