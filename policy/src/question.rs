//! What is asked: who wants to do what to which resource, and what is known about the one who asks. Borrowed, never stored.

use types::{Action, AgentName, Binding, NamespaceName, NodeId, Principal};

/// A question to [`crate::decide`].
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who asks: authenticated, and in good standing.
    pub principal: &'a Principal,
    /// What it wants to do.
    pub action: Action,
    /// To what.
    pub resource: Resource<'a>,
    /// What is known about the principal.
    pub facts: Facts<'a>,
}

/// What an action is done to: the parts of it that decisions look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Resource<'a> {
    /// The namespace it is in; none for what belongs to the cluster.
    pub namespace: Option<&'a NamespaceName>,
    /// The agent it is for: the parent of an entry whose SVID is asked for, the agent that watches or acknowledges.
    pub agent: Option<&'a AgentName>,
    /// The node it is about.
    pub node: Option<NodeId>,
}

/// What policy knows about the principal, read from applied state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Its roles. Those of others among them are passed over.
    pub bindings: &'a [&'a Binding],
}

impl<'a> Resource<'a> {
    /// Something that belongs to the cluster.
    #[must_use]
    pub const fn cluster() -> Self {
        Self { namespace: None, agent: None, node: None }
    }

    /// Something in a namespace, or the namespace itself.
    #[must_use]
    pub const fn in_namespace(namespace: &'a NamespaceName) -> Self {
        Self { namespace: Some(namespace), agent: None, node: None }
    }

    /// An entry of a namespace, or its SVID, delivered by that agent.
    #[must_use]
    pub const fn entry(namespace: &'a NamespaceName, parent: &'a AgentName) -> Self {
        Self { namespace: Some(namespace), agent: Some(parent), node: None }
    }

    /// What concerns one agent.
    #[must_use]
    pub const fn agent(name: &'a AgentName) -> Self {
        Self { namespace: None, agent: Some(name), node: None }
    }

    /// What concerns one node.
    #[must_use]
    pub const fn node(id: NodeId) -> Self {
        Self { namespace: None, agent: None, node: Some(id) }
    }
}
