//! What a request is about: the resource that is decided on, recorded, and whose revision is compared.

use state::State;
use types::{AgentName, AliasName, EntryName, KeyName, NamespaceName, OperatorName, Reason, Refusal};

use crate::wire::name::{self, KeyOrAlias};

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
    /// `namespaces/{ns}/aliases/{alias}`: the alias itself.
    Alias(NamespaceName, AliasName),
    /// The key that an alias stands for; none when there is no such alias. The decision is about the key. A refusal speaks of
    /// the name that was given: it must tell nobody which key that is, nor whether there is one (invariant 10).
    Aliased(NamespaceName, AliasName, Option<KeyName>),
}

impl Target {
    /// The key that a call names, by its own name or by an alias. This is the one place where an alias becomes a key: what it
    /// stands for in that state is decided on, used and recorded.
    ///
    /// # Errors
    /// When it is the name of neither.
    pub(crate) fn named_key(state: &State, full_name: &str) -> Result<Self, Refusal> {
        Ok(match name::key_or_alias(full_name)? {
            KeyOrAlias::Key(ns, key) => Self::Key(ns, key),
            KeyOrAlias::Alias(ns, alias) => {
                let key = state.alias(&ns, &alias).map(|row| row.key.clone());
                Self::Aliased(ns, alias, key)
            }
        })
    }

    /// The key that it is about.
    ///
    /// # Errors
    /// For an alias that there is not, in the words for a key that there is not.
    pub(crate) fn key(&self) -> Result<(NamespaceName, KeyName), Refusal> {
        match self {
            Self::Key(ns, key) | Self::Aliased(ns, _, Some(key)) => Ok((ns.clone(), key.clone())),
            Self::Aliased(_, alias, None) => Err(Refusal::not_found("key", alias)),
            _ => Err(Refusal::new(Reason::Internal, "this call is about no key")),
        }
    }

    /// The alias by which the key was named.
    pub(crate) const fn alias(&self) -> Option<&AliasName> {
        match self {
            Self::Aliased(_, alias, Some(_)) => Some(alias),
            _ => None,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Namespace(ns) => write!(f, "namespaces/{ns}"),
            Self::Key(ns, key) | Self::Aliased(ns, _, Some(key)) => write!(f, "namespaces/{ns}/keys/{key}"),
            Self::Entry(ns, entry) => write!(f, "namespaces/{ns}/entries/{entry}"),
            Self::Agent(agent) => write!(f, "agents/{agent}"),
            Self::Operator(operator) => write!(f, "operators/{operator}"),
            Self::Alias(ns, alias) | Self::Aliased(ns, alias, None) => write!(f, "namespaces/{ns}/aliases/{alias}"),
        }
    }
}
