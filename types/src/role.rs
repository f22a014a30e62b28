//! Roles and bindings as data: what `policy::decide` reads and state stores.

use serde::{Deserialize, Serialize};

use crate::{NamespaceName, Principal};

/// A named set of rights.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Everything, everywhere; binds only cluster-wide.
    Admin,
    /// Create, rotate, enable and disable keys, and read what they are; no use of their material.
    KeyAdmin,
    /// Use keys in every way: encrypt, decrypt, generate data keys, re-encrypt, sign, verify, make and check MACs.
    KeyUser,
    /// Encrypt and generate data keys only: a producer that never reads back.
    KeyEncrypter,
    /// Register workloads: entries of the namespace.
    EntryAdmin,
    /// Read the audit log and the cluster's status; changes nothing.
    Auditor,
    /// Sign and make MACs only.
    KeySigner,
    /// Check signatures and MACs, and read public keys: whoever relies on what others signed.
    KeyVerifier,
}

/// Where a role holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Scope {
    /// The whole cluster.
    Cluster,
    /// One namespace and everything in it.
    Namespace(NamespaceName),
}

/// One grant: who, what, where. There are no denials: what nothing grants is denied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Binding {
    /// To whom; only operators and workloads are ever bound.
    pub principal: Principal,
    /// What.
    pub role: Role,
    /// Where.
    pub scope: Scope,
}

impl Role {
    /// Every role, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Admin,
        Self::KeyAdmin,
        Self::KeyUser,
        Self::KeyEncrypter,
        Self::EntryAdmin,
        Self::Auditor,
        Self::KeySigner,
        Self::KeyVerifier,
    ];

    /// The name as it is typed and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::KeyAdmin => "key-admin",
            Self::KeyUser => "key-user",
            Self::KeyEncrypter => "key-encrypter",
            Self::EntryAdmin => "entry-admin",
            Self::Auditor => "auditor",
            Self::KeySigner => "key-signer",
            Self::KeyVerifier => "key-verifier",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster => f.write_str("cluster"),
            Self::Namespace(ns) => write!(f, "namespaces/{ns}"),
        }
    }
}
