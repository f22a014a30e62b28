//! Revisions: what a decision was made on, so that `apply` can tell whether it still holds (PROTOCOLS: revisions).

use serde::{Deserialize, Serialize};

use crate::Time;

/// The log index of the entry that last changed a thing; zero for what does not exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Revision(pub u64);

impl Revision {
    /// What a thing that does not exist is at.
    pub const NONE: Self = Self(0);
}

/// What a decision was made on. `apply` compares each part and refuses with `Reason::Stale` when one has moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Basis {
    /// Bumped by operators, agents, nodes, roles and bindings of cluster scope.
    pub global: Revision,
    /// Bumped by the settings and bindings of the namespace in question; `NONE` for cluster-wide commands.
    pub namespace: Revision,
    /// The revision of the key, entry or other resource that is changed; `NONE` when it is created.
    pub resource: Revision,
    /// The decision does not bind at or after this state time.
    pub valid_until: Time,
}
